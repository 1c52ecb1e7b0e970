"""Names of sound cards, and who holds one."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from device import soundcard
from device.soundcard import holder, lasting_name, listed_devices


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """The cards that are plugged in: their IDs by number."""
    present = {0: "vc4hdmi0", 2: "Device"}
    module = SimpleNamespace(
        card_indexes=lambda: list(present), cards=lambda: list(present.values())
    )
    monkeypatch.setattr(soundcard, "alsa", lambda: module)
    return present


def test_one_name_for_each_device() -> None:
    names = [
        *("null", "speex", "pipewire", "sysdefault:CARD=Device", "front:CARD=Device,DEV=0"),
        *("hw:CARD=Device,DEV=0", "plughw:CARD=Device,DEV=0", "hw:CARD=Loopback,DEV=1"),
    ]
    assert listed_devices(names) == [
        "plughw:CARD=Device,DEV=0",
        "plughw:CARD=Loopback,DEV=1",
        "pipewire",
    ]


@pytest.mark.parametrize(
    ("name", "lasting"),
    [
        ("plughw:2", "plughw:CARD=Device,DEV=0"),
        ("hw:2,1", "hw:CARD=Device,DEV=1"),
        ("hw:2,1,3", "hw:CARD=Device,DEV=1,3"),
        ("plughw:CARD=2,DEV=0", "plughw:CARD=Device,DEV=0"),
        ("dsnoop:CARD=2", "dsnoop:CARD=Device,DEV=0"),
        ("plughw:1", "plughw:1"),
        ("plughw:CARD=Device,DEV=0", "plughw:CARD=Device,DEV=0"),
        ("default", "default"),
        ("", ""),
        ("plug:'hw:2,0'", "plug:'hw:2,0'"),
    ],
)
def test_a_number_becomes_the_cards_id(cards: dict[int, str], name: str, lasting: str) -> None:
    assert lasting_name(name) == lasting


def test_a_card_under_another_number_is_found_again(cards: dict[int, str]) -> None:
    name = lasting_name("plughw:2,0")
    del cards[2]
    assert lasting_name(name) == name
    cards[3] = "Device"
    assert lasting_name(name) == "plughw:CARD=Device,DEV=0"


def processes(folder: Path, owner: str = "") -> Path:
    """/proc with a process of two threads, and card 1 "Device", whose stream a thread owns."""
    for number, leader, name in (("812", "812", "arecord"), ("813", "812", "reader")):
        (folder / number).mkdir(parents=True)
        (folder / number / "comm").write_text(f"{name}\n")
        (folder / number / "status").write_text(f"Name:\t{name}\nTgid:\t{leader}\n")
    stream = folder / "asound" / "card1" / "pcm0c" / "sub0"
    stream.mkdir(parents=True)
    (folder / "asound" / "Device").symlink_to("card1")
    (stream / "status").write_text(
        f"state: RUNNING\nowner_pid   : {owner}\n" if owner else "closed\n"
    )
    return folder


@pytest.mark.parametrize(
    "device", ["plughw:CARD=Device,DEV=0", "hw:1", "plughw:1,0", "hw:CARD=Device", "default"]
)
def test_the_driver_names_the_holder(tmp_path: Path, device: str) -> None:
    assert holder(device, processes(tmp_path, "813"), tmp_path) == "arecord (process 812)"


@pytest.mark.parametrize("device", ["hw:CARD=Other", "hw:2", "hw:1,1"])
def test_the_holder_of_another_device_is_not_named(tmp_path: Path, device: str) -> None:
    assert holder(device, processes(tmp_path, "813"), tmp_path) == ""


def test_an_unknown_holder_is_not_guessed(tmp_path: Path) -> None:
    assert holder("hw:1", processes(tmp_path), tmp_path) == ""
    assert holder("hw:1", processes(tmp_path / "gone", "99"), tmp_path) == ""
    assert holder("default", tmp_path / "nothing", tmp_path) == ""


def test_a_real_process_is_found_by_its_open_file(tmp_path: Path) -> None:
    for name in ("pcmC1D0c", "pcmC1D0p"):
        (tmp_path / name).touch()
    code = "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    for name, found in (("pcmC1D0c", True), ("pcmC1D0p", False)):
        with subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout and process.stdin
            process.stdout.readline()
            comm = Path(f"/proc/{process.pid}/comm").read_text().strip()
            said = holder("hw:1,0", nodes=tmp_path)
            assert said == (f"{comm} (process {process.pid})" if found else "")
            assert holder("hw:2,0", nodes=tmp_path) == ""
            process.stdin.close()
