"""Deploying: every refusal before anything is copied, and what counts as success.

The Raspberry Pi is played by programs `ssh` and `scp` on PATH that answer from
files and write down what they were asked.
"""

import os
from pathlib import Path

import pytest

from deploy.deploy import check_system, install, main, read_probe, wait_for_audio
from deploy.errors import DeployError
from deploy.remote import Remote, RemoteCommandError

PI = {
    "machine": "aarch64",
    "packages": "arm64",
    "system": "debian",
    "version": "13",
    "root": "yes",
}

SSH = """#!/bin/bash
# The last argument is the command; the answers to a kind of command lie in a file, used in turn.
command="${@: -1}"
case " $* " in *" -O exit "*) exit 0 ;; esac
printf '%s\\n' "$command" >> "$PI_FOLDER/asked"
case "$command" in
*"uname -m"*) kind=probe ;;
*"systemctl show"*) kind=state ;;
*"apt-get"*" update "*) kind=update ;;
*"apt-get"*) kind=install ;;
*"systemctl restart"*) kind=restart ;;
*mktemp*) kind=mktemp ;;
*) kind=other ;;
esac
count=$(cat "$PI_FOLDER/$kind.count" 2>/dev/null || echo 0)
echo $((count + 1)) > "$PI_FOLDER/$kind.count"
answer="$PI_FOLDER/$kind.$count"
[ -e "$answer" ] || answer="$PI_FOLDER/$kind"
[ ! -e "$answer" ] || cat "$answer"
[ ! -e "$answer.status" ] || exit "$(cat "$answer.status")"
"""

SCP = """#!/bin/bash
printf 'scp %s\\n' "${*: -2}" >> "$PI_FOLDER/asked"
"""


class FakePi:
    """What the Raspberry Pi answers, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer("mktemp", "/tmp/tmp.x\n")

    def answer(self, kind: str, text: str, status: int = 0) -> None:
        (self.folder / kind).write_text(text)
        if status:
            (self.folder / f"{kind}.status").write_text(str(status))

    def probe(self, **changes: str) -> None:
        lines = [f"kws-pi {key} {value}" for key, value in {**PI, **changes}.items()]
        self.answer("probe", "Welcome!\n" + "\n".join(lines) + "\n")

    @property
    def asked(self) -> str:
        path = self.folder / "asked"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePi:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("scp", SCP)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    answers = tmp_path / "answers"
    answers.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PI_FOLDER", str(answers))
    return FakePi(answers)


def test_a_good_system_passes() -> None:
    check_system("pi", PI)
    check_system("pi", {**PI, "version": "13.2"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"packages": "armhf"}, "32-bit"),
        ({"machine": "armv7l", "packages": "armhf", "system": "raspbian"}, "32-bit"),
        ({"machine": "armv6l", "packages": "none"}, "32-bit"),
        ({"machine": "x86_64", "packages": "amd64"}, "no 64-bit Raspberry Pi"),
        ({"packages": "none"}, "no 64-bit Raspberry Pi"),
        ({"version": "12"}, "runs debian 12"),
        ({"version": ""}, "of unknown version"),
        ({"system": "ubuntu", "version": "24.04"}, "runs ubuntu 24.04"),
        ({"root": "no"}, "become root"),
    ],
)
def test_refusals_are_one_line(changes: dict[str, str], words: str) -> None:
    with pytest.raises(DeployError, match=words) as caught:
        check_system("pi@home", {**PI, **changes})
    assert "\n" not in str(caught.value)
    assert "pi@home" in str(caught.value)


def test_the_probe_is_read_among_other_lines() -> None:
    text = "motd\nkws-pi machine aarch64\nkws-pi version\nkws-pi system debian\n"
    assert read_probe(text) == {"machine": "aarch64", "system": "debian"}


def test_nothing_is_copied_to_an_old_system(pi: FakePi, capsys: pytest.CaptureFixture[str]) -> None:
    pi.probe(packages="armhf")
    loud = Path(__file__).resolve().parent / "loud" / "loud.json"
    assert main(["--pi", "pi@home", "--model", str(loud)]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"model      {loud}")
    assert "32-bit" in shown.err
    assert shown.err.count("\n") == 1
    assert "scp" not in pi.asked
    assert "apt-get" not in pi.asked


def test_an_unreachable_pi_is_one_sentence(pi: FakePi, capsys: pytest.CaptureFixture[str]) -> None:
    pi.answer("probe", "", status=255)
    loud = Path(__file__).resolve().parent / "loud" / "loud.json"
    assert main(["--pi", "pi@home", "--model", str(loud)]) == 1
    assert "cannot be reached by ssh" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "-oProxyCommand=x", "pi@home; reboot"])
def test_a_wrong_address_is_refused(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--pi={address}"]) == 1
    assert "PI=pi@raspberrypi.local" in capsys.readouterr().err


def test_missing_ssh_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="openssh-client"):
        Remote("pi@home")


def test_wrong_settings_stop_before_the_pi_is_asked(
    pi: FakePi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[indicator]\npni = 4\n")
    loud = Path(__file__).resolve().parent / "loud" / "loud.json"
    assert main(["--pi", "pi@home", "--model", str(loud), "--config", str(config)]) == 1
    assert "pni" in capsys.readouterr().err
    assert pi.asked == ""


def test_install_keeps_the_settings_of_the_pi(pi: FakePi, tmp_path: Path) -> None:
    package = tmp_path / "kws-pi_1_arm64.deb"
    package.write_bytes(b"deb")
    with Remote("pi@home") as remote:
        install(remote, package, None)
    asked = pi.asked
    assert "scp" in asked
    assert "--force-confold" in asked
    assert "config.toml" not in asked
    assert "systemctl enable" in asked
    assert asked.index("rm -rf /tmp/tmp.x") > asked.index("apt-get")


def test_install_puts_the_named_settings_in_place_before_the_start(
    pi: FakePi, tmp_path: Path
) -> None:
    package, config = tmp_path / "kws-pi_1_arm64.deb", tmp_path / "my.toml"
    package.write_bytes(b"deb")
    config.write_text("")
    with Remote("pi@home") as remote:
        install(remote, package, config)
    asked = pi.asked
    assert f"scp {config} pi@home:/tmp/tmp.x/config.toml" in asked
    assert asked.index("/etc/kws-pi/config.toml") < asked.index("systemctl restart")


def test_install_updates_the_package_lists_only_when_needed(pi: FakePi, tmp_path: Path) -> None:
    package = tmp_path / "kws-pi_1_arm64.deb"
    package.write_bytes(b"deb")
    pi.answer("install.0", "", status=100)
    with Remote("pi@home") as remote:
        install(remote, package, None)
    assert " update && " in pi.asked


def test_install_that_fails_leaves_no_files_behind(pi: FakePi, tmp_path: Path) -> None:
    package = tmp_path / "kws-pi_1_arm64.deb"
    package.write_bytes(b"deb")
    pi.answer("install", "", status=100)
    pi.answer("update", "", status=100)
    with Remote("pi@home") as remote, pytest.raises(RemoteCommandError):
        install(remote, package, None)
    assert "rm -rf /tmp/tmp.x" in pi.asked


def test_a_service_that_does_not_start_is_said(pi: FakePi, tmp_path: Path) -> None:
    package = tmp_path / "kws-pi_1_arm64.deb"
    package.write_bytes(b"deb")
    pi.answer("restart", "", status=1)
    with Remote("pi@home") as remote, pytest.raises(DeployError, match="does not start"):
        install(remote, package, None)


def state(active: str, status: str, stamp: int) -> str:
    return f"ActiveState={active}\nStatusText={status}\nWatchdogTimestampMonotonic={stamp}\n"


def wait(patience_s: float = 0.5) -> None:
    with Remote("pi@home") as remote:
        wait_for_audio(remote, patience_s, pause_s=0.01)


def test_audio_that_advances_is_success(pi: FakePi) -> None:
    for number in range(9):
        pi.answer(f"state.{number}", state("active", "listening", 1000 + number))
    wait(patience_s=10)


def test_listening_without_audio_is_no_success(pi: FakePi) -> None:
    pi.answer("state", state("active", "listening", 1000))
    with pytest.raises(DeployError, match="hears no audio"):
        wait()


def test_a_missing_microphone_is_named(pi: FakePi) -> None:
    for number in range(90):  # the watchdog is fed while waiting, too
        pi.answer(f"state.{number}", state("active", "waiting for microphone", 1000 + number))
    pi.answer("state", state("active", "waiting for microphone", 2000))
    with pytest.raises(DeployError, match="no microphone that it can use"):
        wait()


def test_a_service_that_restarts_again_and_again_is_no_success(pi: FakePi) -> None:
    pi.answer("state", state("activating", "", 0))
    with pytest.raises(DeployError, match="it is activating"):
        wait()
