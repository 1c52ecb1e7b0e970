"""`make e2e`: upgrades, whole and cut off, downgrade, what is put back, removal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from target import OWN_SETTINGS, ROOT, Target, emulated

from deploy import build_deb
from device import __version__
from device.model import default_manifest

NEXT = "99.0"
STATE = "dpkg-query -W -f '${db:Status-Abbrev} ${Version}' kws-pi"
Note = Callable[[str, object], None]


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package under a higher version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_deb, "__version__", NEXT)
        return build_deb.build(default_manifest(), tmp_path_factory.mktemp("later"))


def apt(pi: Target, package: Path) -> None:
    pi.machine.copy(package, "/tmp/kws-pi.deb")
    pi.root(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --allow-downgrades /tmp/kws-pi.deb "
        "</dev/null",
    )


@emulated
def test_upgrade_and_downgrade(pi: Target, later: Path) -> None:
    """Neither asks anything, and what was tuned here stays."""
    before = pi.health()
    pi.root(f"echo '[detection]\nthreshold = 0.77' >{OWN_SETTINGS}; chmod 644 {OWN_SETTINGS}")
    try:
        apt(pi, later)
        assert pi.run(STATE).split() == ["ii", NEXT]
        new = pi.wait_until_it_hears()
        assert new["pid"] != before["pid"]
        assert new["threshold"] == 0.77
        apt(pi, ROOT / "build" / f"kws-pi_{__version__}_all.deb")
        assert pi.run(STATE).split() == ["ii", __version__]
        assert pi.wait_until_it_hears()["threshold"] == 0.77
    finally:
        pi.root(f"rm -f {OWN_SETTINGS}; systemctl reload-or-restart kws-pi")


@emulated
def test_a_deployment_that_does_not_hear_is_taken_back(pi: Target, tmp_path: Path) -> None:
    config = tmp_path / "deaf.toml"
    config.write_text('[microphone]\ndevice = "plughw:CARD=Nothing,DEV=0"\n')
    said = pi.fleet("deploy", "--config", str(config), fails=True)
    assert f"version {__version__} was put back, and listens" in said
    assert pi.root(f"cat {OWN_SETTINGS} 2>/dev/null", check=False) == ""


@emulated
@pytest.mark.parametrize("state", ["half-installed", "unpacked", "half-configured"])
def test_power_cut_in_the_middle_of_an_upgrade(
    pi: Target, later: Path, state: str, record_property: Note
) -> None:
    """At the moment that dpkg writes this state into its log."""
    pi.machine.copy(later, "/home/pi/later.deb")
    pi.root(
        "sync; touch /var/log/dpkg.log; lines=$(wc -l </var/log/dpkg.log); "
        "dpkg -i --force-confold /home/pi/later.deb >/dev/null 2>&1 & "
        "until tail -n +$((lines + 1)) /var/log/dpkg.log | grep -q "
        f"'status {state} kws-pi'; do sleep 0.1; done"
    )
    pi.machine.cut_power()
    pi.machine.wait()
    pi.wait_until_it_hears()
    record_property("dpkg says", pi.run(STATE).strip())


def test_an_interrupted_upgrade_is_finished_by_the_next(pi: Target) -> None:
    assert "kws-pi listens on" in pi.fleet("deploy")
    assert pi.run(STATE).split() == ["ii", __version__]


@emulated
@pytest.mark.removed
def test_undeploy_leaves_nothing(pi: Target) -> None:
    pi.fleet("undeploy", "--purge")
    assert pi.health() == {}
    assert not re.search("kws-pi", pi.run("ls /usr/lib /usr/bin /var/lib /etc /run /usr/share"))
    assert pi.led() != "hi"
    assert pi.root("systemctl is-enabled kws-pi 2>/dev/null", check=False).strip() in (
        "",
        "not-found",
    )
