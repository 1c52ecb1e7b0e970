"""Deploying for real, but for the machine: Ansible logs in to an ssh server on this one.

On PATH there stand programs that play apt, dpkg, systemctl and kws-pi: what they are asked is
written down, and files say what they answer. What they stand for is tried on a real system by
`make e2e`.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_kit import LOUD

from deploy import fleet
from deploy.errors import DeployError
from deploy.playbook import program

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")

PLAYED = """#!/bin/bash
# Plays {name}: takes the answer to it from a file, if there is one.
printf '%s\\n' "{name} $*" >> "$PI_FOLDER/asked"
[ ! -e "$PI_FOLDER/{name}.answer" ] || . "$PI_FOLDER/{name}.answer"
"""
PROGRAMS = ("apt-get", "dpkg", "dpkg-query", "systemctl", "kws-pi", "journalctl", "sync", "df")

SUDO = """#!/bin/bash
# Plays sudo: with sudo.password in its folder it asks for it, as sudo does, on stderr.
while [ "${1#-}" != "$1" ]; do
	case $1 in
	-n) never=yes; shift ;;
	-p) prompt=$2; shift 2 ;;
	-u) shift 2 ;;
	*) shift ;;
	esac
done
if [ -e "$PI_FOLDER/sudo.password" ]; then
	[ -z "$never" ] || { echo "sudo: a password is required" >&2; exit 1; }
	printf '%s' "$prompt" >&2
	read -r given
	[ "$given" = "$(cat "$PI_FOLDER/sudo.password")" ] ||
		{ echo "Sorry, try again." >&2; exit 1; }
fi
exec "$@"
"""

SYSTEMCTL = r"""case "$*" in *MainPID*) echo 42 ;; *StatusText*)
printf "ActiveState=active\nSubState=running\nStatusText={status}\n" ;; esac"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Pi:
    """An ssh server of its own, and what it was asked and answers."""

    def __init__(self, folder: Path, key: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.state = folder / "state"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name in PROGRAMS:
            (programs / name).write_text(PLAYED.format(name=name))
        (programs / "sudo").write_text(SUDO)
        for path in programs.iterdir():
            path.chmod(0o755)
        self.answer("dpkg", 'case "$*" in *print-arch*) echo arm64 ;; esac')
        self.answer("dpkg-query", 'case "$*" in *Status*) exit 1 ;; *Version*) echo 1.0 ;; esac')
        self.answer("systemctl", SYSTEMCTL.format(status="listening; up 9 s"))
        self.answer("df", "printf 'x\\nx 0 0 9000000 0 /\\n'")
        host_key = folder / "host_key"
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", host_key], check=True)
        path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nUsePAM no\n"
            f"PidFile none\nStrictModes no\nAuthorizedKeysFile {key}.pub\nMaxSessions 50\n"
            f"SetEnv PATH={path} PI_FOLDER={folder} KWS_PI_STATE={self.state}\n"
            "Subsystem sftp internal-sftp\n"
        )
        assert SSHD is not None
        self.server = subprocess.Popen(
            [SSHD, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"]
        )

    def answer(self, name: str, shell: str) -> None:
        (self.folder / f"{name}.answer").write_text(shell + "\n")

    @property
    def asked(self) -> str:
        path = self.folder / "asked"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def pis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Pi]]:
    """Three Pis and the inventory `fleet.ini`."""
    try:
        program("ansible-playbook")
    except DeployError:
        pytest.skip("needs Ansible (train_host/setup.sh deploy)")
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs an ssh server that can be started (Debian: openssh-server)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key], check=True)
    started = [Pi(tmp_path / name, key) for name in ("one", "two", "three")]
    rows = [f"{pi.folder.name} ansible_port={pi.port}" for pi in started]
    (tmp_path / "fleet.ini").write_text(
        "\n".join(["[pis]", *rows, "[pis:vars]", "ansible_host=127.0.0.1"])
        # No user is named, so that sudo is asked for even where it is root who runs the tests.
        + f"\nansible_ssh_private_key_file={key}\n"
        "ansible_ssh_common_args=-o UserKnownHostsFile=/dev/null -F /dev/null\n"
    )
    package = tmp_path / "kws-pi_1_all.deb"
    package.write_bytes(b"deb")
    monkeypatch.setattr(fleet, "BUILD", tmp_path / "build")
    monkeypatch.setattr(fleet, "build", lambda *_: package)
    monkeypatch.setattr(fleet, "PATIENCE_S", 40)
    monkeypatch.setattr("deploy.system._package", lambda _: ("all", 1000))
    answers = "kws-pi system debian\nkws-pi version 13\n"
    monkeypatch.setattr(
        fleet, "read_answers", lambda text: read(text + (answers if "machine" in text else ""))
    )
    for pi in started:
        wait_for(pi.port)
    yield started
    for pi in started:
        pi.server.terminate()
        pi.server.wait()


read = fleet.read_answers


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the ssh server did not start")


def run(folder: Path, command: str, *arguments: str) -> int:
    return fleet.main([command, "--inventory", str(folder / "fleet.ini"), *arguments])


def test_a_fleet_is_deployed_to(
    pis: list[Pi], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "fleet.ini").open("a") as inventory:
        inventory.write("[low]\ntwo\n[low:vars]\nkws_pi_threshold=0.25\n")
    assert run(tmp_path, "deploy", "--model", str(LOUD), "--batch", "3") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"model      {LOUD}")
    for pi in pis:
        assert "install --reinstall --allow-downgrades" in pi.asked
        assert "--force-confold" in pi.asked
        assert pi.asked.index("systemctl enable") > pi.asked.index("apt-get")
        assert f"kws-pi listens on {pi.folder.name}." in shown.out
    assert [pi.state.exists() for pi in pis] == [False, True, False]
    assert "threshold = 0.25" in (pis[1].state / "config.toml").read_text()
    # The log has Ansible's own output, of which the user sees none.
    assert "PLAY RECAP" in (tmp_path / "build/deploy.log").read_text()
    assert "PLAY" not in shown.out + shown.err


def test_a_pi_that_hears_nothing_is_put_back_and_the_rest_left_alone(
    pis: list[Pi],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "PATIENCE_S", 10)
    first = pis[0]
    first.state.mkdir()
    (first.state / "config.toml").write_text("# as it was\n")
    first.answer(
        "dpkg-query",
        'case "$*" in *Status*) echo installed ;; *Version*) echo 0.9 ;; -L*) ;;\n'
        '-s*) printf "Package: kws-pi\\nStatus: install ok installed\\nVersion: 0.9\\n'
        'Architecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n" ;; esac',
    )
    # The new version is deaf; what was installed before hears.
    first.answer("kws-pi", 'grep -q previous.deb "$PI_FOLDER/asked"')
    first.answer("systemctl", SYSTEMCTL.format(status="waiting for microphone; up 9 s"))
    config = tmp_path / "new.toml"
    config.write_text("[indicator]\npin = 4\n")
    assert run(tmp_path, "deploy", "--model", str(LOUD), "--config", str(config)) == 1
    said = capsys.readouterr().err.splitlines()
    assert "no microphone that it can use" in said[0]
    assert said[0].endswith("version 0.9 was put back, and listens")
    assert said[1:] == ["deploy: not touched, since another failed first: two, three"]
    assert (first.state / "config.toml").read_text() == "# as it was\n"
    assert all("apt-get" not in pi.asked for pi in pis[1:])


def test_nothing_is_copied_anywhere_when_one_pi_cannot_take_it(
    pis: list[Pi], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pis[0].answer("df", "printf 'x\\nx 0 0 5000 0 /\\n'")
    (pis[1].folder / "sudo.password").write_text("raspberry\n")
    pis[2].server.terminate()
    pis[2].server.wait()
    with (tmp_path / "fleet.ini").open("a") as inventory:
        stranger = tmp_path / "stranger"
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", stranger], check=True)
        inventory.write(
            f"[strange]\nfour ansible_port={pis[0].port} ansible_ssh_private_key_file={stranger}\n"
            # By another name, since a connection that is open is used again.
            "[strange:vars]\nansible_host=localhost\nansible_ssh_common_args="
            "-o UserKnownHostsFile=/dev/null -F /dev/null -o IdentitiesOnly=yes\n"
        )
    assert run(tmp_path, "deploy", "--model", str(LOUD)) == 1
    said = capsys.readouterr().err
    assert "one: its disk is full (4 MiB free" in said
    assert "two: its sudo asks for a password; run this again with ASK_PASS=1" in said
    assert "three: it takes no ssh connections" in said
    assert "four: it accepts no ssh key of this machine" in said
    assert said.count("\n") == 5  # one sentence each, and that nothing was changed
    assert all("apt-get" not in pi.asked for pi in pis)


def test_a_password_and_a_removal(
    pis: list[Pi],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "fleet.ini").write_text(
        "\n".join(
            line
            for line in (tmp_path / "fleet.ini").read_text().splitlines()
            if not line.startswith(("two", "three"))
        )
    )
    (pis[0].folder / "sudo.password").write_text("raspberry\n")
    monkeypatch.setattr(fleet.getpass, "getpass", lambda _: "apple")
    assert run(tmp_path, "undeploy", "--ask-pass", "--purge") == 1
    assert "does not take this password" in capsys.readouterr().err
    monkeypatch.setattr(fleet.getpass, "getpass", lambda _: "raspberry")
    pis[0].answer("dpkg-query", "echo ok")
    assert run(tmp_path, "undeploy", "--ask-pass", "--purge") == 0
    assert "one: removed" in capsys.readouterr().out
    assert " purge kws-pi" in pis[0].asked


def test_a_pi_that_lost_power_during_an_upgrade(pis: list[Pi], tmp_path: Path) -> None:
    """apt refuses a package that is half unpacked (tests/test_package.py), so dpkg goes first."""
    for pi in pis:
        pi.answer(
            "dpkg-query",
            'case "$*" in *Eflag*) echo reinstreq ;; *Status*) exit 1 ;; *Version*) echo 1.0 ;; '
            "esac",
        )
    assert run(tmp_path, "deploy", "--model", str(LOUD), "--batch", "3") == 0
    assert run(tmp_path, "undeploy") == 0
    for pi in pis:
        unpacked = re.search(r"dpkg --install --force-confold \S+/kws-pi\.deb", pi.asked)
        assert unpacked
        assert unpacked.start() < pi.asked.index("apt-get")
        assert "dpkg --force-remove-reinstreq --remove kws-pi" in pi.asked


def test_wrong_settings_stop_before_any_pi_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[indicator]\npni = 4\n")
    arguments = ["deploy", "--pi", "pi@nowhere.invalid", "--model", str(LOUD)]
    assert fleet.main([*arguments, "--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert "pni" in said
    assert said.count("\n") == 1
