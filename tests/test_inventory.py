"""Which hosts are meant by PI= and INVENTORY=."""

from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.inventory import hosts_of, write_inventory
from deploy.playbook import program


def test_several_hosts_in_one_variable() -> None:
    hosts = hosts_of("pi@one.local, two pi@one.local pi@[fe80::1%eth0]", None)
    assert [host.name for host in hosts] == ["pi@one.local", "two", "pi@[fe80::1%eth0]"]
    assert [host.address for host in hosts] == ["pi@one.local", "two", "pi@fe80::1%eth0"]


@pytest.mark.parametrize(
    "addresses", ["", " , ", "-oProxyCommand=x", "pi@home;reboot", "pi@$(x)", "a@-b", "pi[1:3]/x"]
)
def test_wrong_addresses_are_refused(addresses: str) -> None:
    with pytest.raises(DeployError, match=r"PI=pi@raspberrypi\.local"):
        hosts_of(addresses, None)


def test_both_ways_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="not both"):
        hosts_of("pi@one", tmp_path / "fleet.ini")


def test_a_missing_inventory_is_said(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no such inventory"):
        hosts_of("", tmp_path / "fleet.ini")


@pytest.fixture
def ansible() -> None:
    try:
        program("ansible-inventory")
    except DeployError:
        pytest.skip("needs Ansible (train_host/setup.sh deploy)")


@pytest.mark.usefixtures("ansible")
def test_groups_and_their_variables(tmp_path: Path) -> None:
    path = tmp_path / "fleet.ini"
    path.write_text(
        "[kitchen]\none ansible_host=10.0.0.1\n[house:children]\nkitchen\n[house]\ntwo\n"
        "[house:vars]\nansible_user=pi\nkws_pi_pin=4\n[kitchen:vars]\nkws_pi_threshold=0.7\n"
    )
    hosts = {host.name: host for host in hosts_of("", path)}
    assert sorted(hosts) == ["one", "two"]
    assert hosts["one"].address == "pi@10.0.0.1"
    assert hosts["one"].variables["kws_pi_threshold"] == 0.7
    assert hosts["two"].variables["kws_pi_pin"] == 4
    # And what is written down for the playbooks reads back the same.
    again = hosts_of("", write_inventory(list(hosts.values()), tmp_path / "own.json"))
    assert {host.name: host.variables for host in again} == {
        name: host.variables for name, host in hosts.items()
    }


@pytest.mark.usefixtures("ansible")
@pytest.mark.parametrize("text", ["[pis\n", "[pis]\none kws_pi_pin\n"])
def test_a_broken_inventory_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fleet.ini"
    path.write_text(text)
    with pytest.raises(DeployError, match="not an inventory that Ansible can read") as caught:
        hosts_of("", path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("ansible")
def test_an_empty_inventory_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "fleet.ini"
    path.write_text("[pis]\n")
    with pytest.raises(DeployError, match="names no host"):
        hosts_of("", path)
