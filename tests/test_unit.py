"""What systemd and udev are given."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"


def unit() -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(SYSTEMD / "kws-pi.service")
    return parser


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    # The program that the unit starts must exist for systemd-analyze.
    text = (SYSTEMD / "kws-pi.service").read_text()
    copy = tmp_path / "kws-pi.service"
    copy.write_text(text.replace("/usr/bin/kws-pi", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "kws-pi" in line]
    assert (done.returncode, complaints) == (0, [])


def test_systemd_finds_a_mistake(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    copy = tmp_path / "kws-pi.service"
    copy.write_text((SYSTEMD / "kws-pi.service").read_text())  # /usr/bin/kws-pi is not there
    if Path("/usr/bin/kws-pi").exists():
        pytest.skip("kws-pi is installed on this machine")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, check=False
    )
    assert done.returncode != 0


def test_the_service_never_gives_up() -> None:
    parsed = unit()
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    service = parsed["Service"]
    assert service["Type"] == "notify"
    assert service["Restart"] == "always"
    assert int(service["WatchdogSec"]) > 0


def test_users_and_groups_agree() -> None:
    service = unit()["Service"]
    rows = [line.split() for line in (SYSTEMD / "kws-pi.sysusers").read_text().splitlines()]
    groups = {row[1] for row in rows if row and row[0] == "g"}
    users = {row[1] for row in rows if row and row[0] == "u"}
    assert service["User"] in users
    assert set(service["SupplementaryGroups"].split()) == groups
    assert 'GROUP="gpio"' in (SYSTEMD / "60-kws-pi.rules").read_text()


def test_sound_cards_are_allowed_before_any_driver_of_theirs_is_loaded() -> None:
    """By number: the name "char-alsa" is unknown to the kernel, and so to systemd, until then."""
    text = (SYSTEMD / "kws-pi.service").read_text()
    allowed = set(re.findall(r"^DeviceAllow=(\S+) rw$", text, re.MULTILINE))
    assert allowed == {"char-116", "char-gpiochip"}
    for line in Path("/proc/devices").read_text().partition("Block")[0].splitlines():
        number, _, name = line.strip().partition(" ")
        assert (number == "116") is (name == "alsa")


def test_the_working_directory_can_be_written() -> None:
    service = unit()["Service"]
    assert service["WorkingDirectory"] == f"/run/{service['RuntimeDirectory']}"


def test_sysusers_accepts_the_rows(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("needs systemd-sysusers (Debian: systemd)")
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "kws-pi.sysusers")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "denied" in done.stderr:
        pytest.skip("systemd-sysusers needs root to write a user")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc" / "passwd").read_text().startswith("kws-pi:")
    assert "gpio:" in (tmp_path / "etc" / "group").read_text()


DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))


def exposure(folder: Path, *drop_ins: Path) -> float:
    """What systemd says of the unit with these drop-ins, out of 10."""
    text = (SYSTEMD / "kws-pi.service").read_text()
    (folder / "kws-pi.service").write_text(text.replace("/usr/bin/kws-pi", "/bin/true"))
    (folder / "kws-pi.service.d").mkdir(exist_ok=True)
    for drop_in in drop_ins:
        shutil.copy(drop_in, folder / "kws-pi.service.d")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(folder / "kws-pi.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not [line for line in verified.stderr.splitlines() if "kws-pi" in line]
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, str(folder / "kws-pi.service")], capture_output=True, text=True, check=False
    )
    match = re.search(r"Overall exposure level for kws-pi.service: ([0-9.]+)", done.stdout)
    assert match, done.stdout + done.stderr
    return float(match[1])


def test_the_unit_is_closed_but_for_processes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    assert exposure(tmp_path) <= 1.0
    service = unit()["Service"]
    # It names the process that uses the microphone, so it has to see processes.
    assert service["ProtectProc"] == "default"
    assert service["ProcSubset"] == "all"


def test_the_offline_threshold_counts_tenfold(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    for threshold, status in (("15", 0), ("1", 1)):
        done = subprocess.run(
            [*command, f"--threshold={threshold}", str(SYSTEMD / "kws-pi.service")],
            capture_output=True,
            check=False,
        )
        assert done.returncode == status


def test_a_daemon_that_was_killed_has_its_led_put_out() -> None:
    assert unit()["Service"]["ExecStopPost"] == "-/usr/bin/kws-pi off"


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_a_drop_in_states_its_exposure(drop_in: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    stated = re.search(r"^# Exposure: at most ([0-9.]+)", drop_in.read_text(), re.MULTILINE)
    assert stated
    # Versions of systemd differ by a tenth or two; a stated figure far too high is none.
    assert float(stated[1]) - 0.5 <= exposure(tmp_path, drop_in) <= float(stated[1])


def test_drop_ins_may_be_combined(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    assert len(DROP_INS) >= 3
    assert exposure(tmp_path, *DROP_INS) < 3


def test_a_drop_in_names_its_own_path() -> None:
    for drop_in in DROP_INS:
        assert f"/usr/share/kws-pi/drop-ins/{drop_in.name}\n" in drop_in.read_text()
