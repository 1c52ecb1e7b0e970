"""`make e2e`: deploys to the emulated Raspberry Pi as to a real one, and tries its faults.

    python -m pytest -q tests/lab/acceptance.py             # starts the emulated Pi, ends it after
    PI=pi@raspberrypi.local python -m pytest ...            # a real one: what needs no emulation

After every fault the service must listen again without a hand on it and the LED must be dark. The
tests run in this order, each on what the one before left. A real Pi keeps its own microphone, so
that a person says the word and the faults of the sound card are left out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from machine import Machine, start  # noqa: E402

from device.audiofile import AudioFile  # noqa: E402
from device.model import default_manifest, load_model  # noqa: E402
from device.notify import Event  # noqa: E402
from device.spotter import Spotter  # noqa: E402

PI = os.environ.get("PI", "")
TAPE = ROOT / "demo" / "tape.opus"
RATE = 16000
CARD = "plughw:CARD=Loopback"
"""Sound played into its device 1 comes out of its device 0, which is the daemon's microphone."""
BEFORE_S, AFTER_S = 6.0, 0.1
"""The part of the tape that is played: so long before the word's end, and after it."""
GPIO = "/sys/kernel/debug/gpio"
HEARS_S = 240
"""An emulated Pi on a busy machine needs its time to come back."""
emulated = pytest.mark.skipif(bool(PI), reason="needs the emulated Pi")


class Target:
    """The Pi, emulated or real."""

    def __init__(self) -> None:
        self.machine = Machine()

    def run(self, command: str, check: bool = True, timeout_s: float = 300) -> str:
        """What a shell command prints there."""
        if not PI:
            return self.machine.run(command, check, timeout_s).stdout
        done = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", PI, command],
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout_s,
        )
        return done.stdout

    def fleet(self, command: str, *arguments: str) -> str:
        """What `make deploy` and its like print."""
        target = ["--pi", PI] if PI else ["--inventory", str(self.machine.inventory)]
        done = subprocess.run(
            [sys.executable, "-m", "deploy.fleet", command, *target, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def health(self) -> dict[str, Any]:
        """The figures of `kws-pi status`; empty when no daemon runs."""
        text = self.run("sudo kws-pi status --json", check=False)
        return dict(json.loads(text)) if text.startswith("{") else {}

    def wait_until_it_hears(self) -> dict[str, Any]:
        """Returns its figures when sound advances. Nothing is done to help it."""
        end = time.monotonic() + HEARS_S
        seen: dict[str, Any] = {}
        while time.monotonic() < end:
            now = self.health()
            same = now.get("pid") == seen.get("pid")
            if now.get("healthy") and same and now["audio_s"] > seen["audio_s"]:
                return now
            seen = now if now.get("healthy") else {}
            time.sleep(2)
        raise AssertionError(self.run("sudo systemctl status --no-pager -l kws-pi", check=False))

    def led(self) -> str:
        """The kernel's view of the LED's line: `hi` or `lo`; empty when nobody drives it."""
        found = re.search(r"GPIO17\b.*\bout (hi|lo)", self.run(f"sudo cat {GPIO}", check=False))
        return found.group(1) if found else ""

    def records(self, event: Event, since: float) -> list[dict[str, Any]]:
        """The journal's records of an event since a moment of the Pi's clock."""
        command = f"sudo journalctl -o json --since @{since:.0f} MESSAGE_ID={event.value}"
        return [json.loads(line) for line in self.run(command).splitlines()]

    def wait_for_record(self, event: Event, since: float, words: str = "") -> dict[str, Any]:
        """The first record of an event that says `words`."""
        end = time.monotonic() + HEARS_S
        while time.monotonic() < end:
            for record in self.records(event, since):
                if words in record["MESSAGE"]:
                    return record
            time.sleep(2)
        raise AssertionError(self.run(f"sudo journalctl -u kws-pi --since @{since:.0f}"))

    def now(self) -> float:
        """The Pi's clock, in seconds."""
        return float(self.run("date +%s.%N"))


@pytest.fixture(scope="module")
def pi() -> Iterator[Target]:
    target = Target()
    if PI:
        yield target
        return
    started = start(target.machine, keep=False)
    yield target
    if started:
        target.machine.shut_down()


@pytest.fixture(scope="module")
def word(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the demo's tape that ends with a keyword the model finds, here on the host."""
    with AudioFile(TAPE, RATE, RATE) as recording:
        samples = np.concatenate(list(recording))
    rows = [line.split(",") for line in TAPE.with_suffix(".csv").read_text().splitlines()[1:]]
    path = tmp_path_factory.mktemp("word") / "word.wav"
    for end in (float(row[1]) for row in rows if row[-1] == "1"):
        part = samples[int(max(0, end - BEFORE_S) * RATE) : int((end + AFTER_S) * RATE)]
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((32767 * part.clip(-1, 1)).astype("<i2").tobytes())
        if hits_in(path) == 1:
            return path
    raise AssertionError("the shipped model finds no keyword on the tape")


def hits_in(path: Path) -> int:
    """So often is the keyword found in a recording, and the silence after it."""
    spotter = Spotter(load_model(default_manifest()))
    hits = 0
    with AudioFile(path, RATE, spotter.step_samples) as recording:
        for block in recording:
            hits += len(spotter.push(block, 0.0))
    return hits + len(spotter.push(np.zeros(RATE, np.float32), 0.0))


PLAY = """
set -e
sudo sh -c 'while sleep 0.05; do
  read up rest </proc/uptime; echo $up $(grep -o "GPIO17.*" $0); done' {gpio} >/tmp/led &
watch=$!
aplay -q -D {card},DEV=1 /tmp/word.wav
cut -d " " -f 1 /proc/uptime
sleep {rest}
sudo kill $watch 2>/dev/null || true
sudo pkill -P $watch 2>/dev/null || true
cat /tmp/led
"""


def play(pi: Target, word: Path, rest_s: int = 8) -> tuple[float, list[tuple[float, str]]]:
    """Plays the word; returns when it ended and the LED's line over time, on the Pi's uptime."""
    pi.machine.copy(word, "/tmp/word.wav")
    lines = pi.run(PLAY.format(card=CARD, rest=rest_s, gpio=GPIO)).splitlines()
    line = [(float(row.split()[0]), "hi" if "out hi" in row else "lo") for row in lines[1:] if row]
    return float(lines[0]), line


def test_deploy(pi: Target) -> None:
    shown = pi.fleet("deploy")
    assert "kws-pi listens on" in shown
    pi.wait_until_it_hears()
    assert pi.led() in ("", "lo")


@emulated
def test_a_played_keyword_lights_the_led_within_a_second(pi: Target, word: Path) -> None:
    before = pi.now()
    ended, line = play(pi, word)
    record = pi.wait_for_record(Event.DETECTED, before - 1)
    assert record["KEYWORD"] == load_model(default_manifest()).manifest.keyword
    assert 0 < float(record["PROBABILITY"]) <= 1
    assert float(record["LATENCY_MS"]) < 1000
    highs = [at for at, state in line if state == "hi"]
    assert highs, "the kernel never saw the line high"
    late = highs[0] - (ended - AFTER_S)
    print(f"high {late:.2f} s after the word, {record['LATENCY_MS']} ms from sound to decision")
    assert late < 1.0
    assert line[-1][1] == "lo"


@emulated
def test_it_starts_by_itself_after_a_reboot(pi: Target, word: Path) -> None:
    pi.machine.reboot()
    pi.wait_until_it_hears()
    before = pi.now()
    play(pi, word)
    pi.wait_for_record(Event.DETECTED, before - 1)


@emulated
def test_a_microphone_unplugged_and_plugged_back_under_another_number(pi: Target) -> None:
    before, driver = pi.now(), "/sys/bus/platform/drivers/snd_aloop"
    number = pi.run("cat /proc/asound/Loopback/id; readlink /proc/asound/Loopback").split()[-1]
    # It returns when the daemon has let go of the card.
    pi.run(f"echo snd_aloop.0 | sudo tee {driver}/unbind >/dev/null", timeout_s=120)
    pi.wait_for_record(Event.MICROPHONE, before - 1)
    assert pi.health().get("state") == "waiting for microphone"
    assert pi.led() in ("", "lo")
    # Another card takes the number; it records nothing, so it is no microphone.
    pi.run("sudo modprobe snd-dummy index=0 pcm_devs=0")
    pi.run(f"echo snd_aloop.0 | sudo tee {driver}/bind >/dev/null")
    pi.wait_until_it_hears()
    assert pi.run("readlink /proc/asound/Loopback").strip() != number
    pi.run(f"echo snd_aloop.0 | sudo tee {driver}/unbind >/dev/null; sudo modprobe -r snd-dummy")
    pi.run(f"echo snd_aloop.0 | sudo tee {driver}/bind >/dev/null")
    assert pi.wait_until_it_hears()["reopenings"] >= 1


@emulated
def test_a_busy_microphone_names_its_user(pi: Target) -> None:
    before = pi.now()
    pi.run(
        "sudo systemctl stop kws-pi; nohup arecord -q -D hw:Loopback,0,0 -f S16_LE -r 16000 "
        "/dev/null >/dev/null 2>&1 & for card in 1 2 3 4 5 6 7; do nohup arecord -q -D "
        "hw:Loopback,0,$card -f S16_LE -r 16000 /dev/null >/dev/null 2>&1 & done; sleep 3; "
        "sudo systemctl start --no-block kws-pi"
    )
    pi.wait_for_record(Event.MICROPHONE, before - 1, "arecord")
    pi.run("pkill arecord")
    pi.wait_until_it_hears()


def test_sigkill(pi: Target) -> None:
    before = pi.wait_until_it_hears()
    pi.run("sudo systemctl kill --kill-whom=main --signal=KILL kws-pi")
    assert pi.wait_until_it_hears()["pid"] != before["pid"]
    assert pi.led() in ("", "lo")


def test_sighup_with_a_bad_file_keeps_the_old_settings(pi: Target) -> None:
    before, old = pi.now(), pi.wait_until_it_hears()
    own = "/var/lib/kws-pi/config.toml"
    pi.run(f"sudo sh -c 'cp {own} /tmp/own.toml 2>/dev/null; echo volume = 3 >{own}'")
    pi.run("sudo systemctl reload kws-pi")
    pi.wait_for_record(Event.REFUSED, before - 1, "volume")
    new = pi.wait_until_it_hears()
    assert (new["pid"], new["threshold"]) == (old["pid"], old["threshold"])
    pi.run(f"sudo sh -c 'mv /tmp/own.toml {own} 2>/dev/null || rm {own}'")
    pi.run("sudo systemctl reload kws-pi")
    pi.wait_for_record(Event.RELOADED, before - 1)


def test_a_daemon_that_was_held_up_counts_what_it_lost(pi: Target) -> None:
    before = pi.wait_until_it_hears()
    pi.run(f"sudo kill -STOP {before['pid']}; sleep 5; sudo kill -CONT {before['pid']}")
    after = pi.wait_until_it_hears()
    assert after["pid"] == before["pid"]
    assert after["overruns"] + after["late"] > before["overruns"] + before["late"]


def test_the_clock_jumps(pi: Target) -> None:
    before = pi.wait_until_it_hears()
    pi.run("sudo date -s '+3 hours' >/dev/null")
    pi.wait_until_it_hears()
    pi.run("sudo date -s '-3 hours' >/dev/null")
    assert pi.wait_until_it_hears()["pid"] == before["pid"]


@emulated
def test_a_busy_pin_is_taken_when_it_is_free(pi: Target, word: Path) -> None:
    pi.run("sudo systemctl stop kws-pi; nohup sudo gpioset -c gpiochip0 17=0 >/dev/null 2>&1 &")
    before = pi.now()
    pi.run("sudo systemctl start kws-pi")
    pi.wait_for_record(Event.ACTION, before - 1)
    pi.wait_until_it_hears()
    pi.run("sudo pkill gpioset")
    _, line = play(pi, word)
    assert "hi" in {state for _, state in line}
    assert line[-1][1] == "lo"


def test_a_read_only_root(pi: Target) -> None:
    pi.run("sudo mount -o remount,ro / || sudo fuser -vm /", check=False)
    mounted = "ro," in pi.run("grep ' / ' /proc/mounts")
    if mounted:
        pi.run("sudo systemctl restart kws-pi")
        pi.wait_until_it_hears()
    pi.run("sudo mount -o remount,rw /")
    if not mounted:
        pytest.skip("this root file system cannot be mounted read-only while it is in use")


@emulated
@pytest.mark.parametrize("after_s", [1, 4, 9])
def test_power_cut_in_the_middle_of_an_upgrade(pi: Target, after_s: int) -> None:
    (package,) = sorted((ROOT / "build").glob("kws-pi_*.deb"))[-1:]
    pi.machine.copy(package, "/home/pi/new.deb")
    pi.run("sync")
    command = shlex.quote("dpkg -i /home/pi/new.deb")
    pi.run(f"nohup sudo sh -c {command} >/dev/null 2>&1 & sleep {after_s}")
    pi.machine.cut_power()
    pi.machine.power_on()
    pi.machine.wait()
    pi.wait_until_it_hears()
    print(f"after {after_s} s:", pi.run("dpkg-query -W -f '${db:Status-Abbrev}' kws-pi"))


def test_an_interrupted_upgrade_is_finished_by_the_next(pi: Target) -> None:
    assert "kws-pi listens on" in pi.fleet("deploy")
    assert pi.run("dpkg-query -W -f '${db:Status-Abbrev}' kws-pi").strip() == "ii"


@emulated
def test_undeploy_leaves_nothing_running(pi: Target) -> None:
    pi.fleet("undeploy", "--purge")
    assert pi.health() == {}
    assert pi.run("ls /usr/lib/kws-pi /var/lib/kws-pi /etc/kws-pi 2>/dev/null", check=False) == ""
    assert pi.led() in ("", "lo")
