"""The Raspberry Pi of the acceptance, emulated or real, as its checks see it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import Machine

from device.audiofile import AudioFile
from device.model import default_manifest, load_model
from device.notify import Event
from device.spotter import Spotter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PI = os.environ.get("PI", "")
emulated = pytest.mark.skipif(bool(PI), reason="needs the emulated Pi")

TAPE = ROOT / "demo" / "tape.opus"
RATE = 16000
CARD = "Loopback"
"""Sound played into its device 1 comes out of its device 0, which is the daemon's microphone."""
BEFORE_S, AFTER_S = 6.0, 0.1
"""The part of the tape that is played: so long before the word's end, and after it."""
OWN_SETTINGS = "/var/lib/kws-pi/config.toml"
HEARS_S = 120
"""So long may it take, in the Pi's own time, until what is waited for has come."""


@dataclass(frozen=True)
class Word:
    """A recording that ends with the keyword."""

    path: Path
    end_s: float
    """Where the keyword ends."""


@dataclass(frozen=True)
class Heard:
    """What came of a recording that was played."""

    record: dict[str, Any]
    """The journal's record of the detection."""
    states: list[str]
    """The LED's line, as the kernel showed it: hi, lo, or empty while nobody drove it."""
    late_s: float
    """From the keyword's end until the kernel saw the line high."""


class Target:
    """The Pi, emulated or real."""

    def __init__(self) -> None:
        self.machine = Machine()

    def run(self, command: str, check: bool = True) -> str:
        """What a shell command prints there."""
        if not PI:
            return self.machine.run(command, check).stdout
        done = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", PI, command],
            capture_output=True,
            text=True,
            check=check,
        )
        return done.stdout

    def root(self, script: str, check: bool = True) -> str:
        """What a shell script prints that root runs there."""
        return self.run(f"sudo sh -c {shlex.quote(script)}", check)

    def fleet(self, command: str, *arguments: str, fails: bool = False) -> str:
        """What `make deploy` and its like print."""
        target = ["--pi", PI] if PI else ["--inventory", str(self.machine.inventory)]
        patience = ["--patience", str(HEARS_S)] if command == "deploy" else []
        done = subprocess.run(
            [sys.executable, "-m", "deploy.fleet", command, *target, *patience, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.returncode) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def until(self, script: str, otherwise: str) -> str:
        """What a script of root's prints when it first succeeds, tried again and again.

        Raises AssertionError, with what `otherwise` prints, when it never does. The time is the
        Pi's own, which an emulated one has less of than the world around it.
        """
        loop = (
            f"read now rest </proc/uptime; end=$((${{now%.*}} + {HEARS_S})); "
            'while [ "${now%.*}" -lt $end ]; do '
            f'if found=$({script}); then printf "%s" "found:$found"; exit; fi; '
            "sleep 1; read now rest </proc/uptime; done"
        )
        shown = self.root(loop)
        if not shown.startswith("found:"):
            raise AssertionError(self.root(otherwise, check=False))
        return shown.removeprefix("found:")

    def health(self) -> dict[str, Any]:
        """The figures of `kws-pi status`; empty when no daemon runs."""
        text = self.run("kws-pi status --json", check=False)
        return dict(json.loads(text)) if text.startswith("{") else {}

    def wait_until_it_hears(self) -> dict[str, Any]:
        """Returns its figures when sound advances. Nothing is done to help it."""
        script = (ROOT / "deploy/ansible/scripts/hear.sh").read_text()
        self.run(f"sudo sh -s {HEARS_S} <<'END'\n{script}\nEND", check=False)
        health = self.health()
        if not health.get("healthy"):
            shown = "systemctl status --no-pager -l kws-pi; kws-pi status"
            raise AssertionError(self.root(shown, check=False))
        return health

    def led(self) -> str:
        """The kernel's view of the LED's line: `hi` or `lo`; empty when nobody drives it."""
        lines = self.root("cat /sys/kernel/debug/gpio")
        found = re.search(r"GPIO17\b.*\bout (hi|lo)", lines)
        return found.group(1) if found else ""

    def now(self) -> str:
        """A point in the journal: the records after it are the later ones."""
        shown = self.root("journalctl -n 1 --show-cursor -q -o cat")
        found = re.search(r"^-- cursor: (.*)$", shown, re.MULTILINE)
        assert found, shown
        return found[1]

    def wait_for_record(self, event: Event, since: str, words: str = "") -> dict[str, Any]:
        """The first record of an event that says `words`."""
        after = f"--after-cursor {shlex.quote(since)}"
        found = self.until(
            f"journalctl -q -o json {after} MESSAGE_ID={event.value} | "
            f"grep -m 1 -F {shlex.quote(words)}",
            otherwise=f"journalctl -u kws-pi {after}",
        )
        return dict(json.loads(found))

    def play(self, word: Word, rest_s: int = 10) -> Heard:
        """Plays the word, and waits for the journal's record of it."""
        since = self.now()
        self.machine.copy(word.path, "/tmp/word.wav")
        self.machine.copy(HERE / "watch.py", "/tmp/watch.py")
        command = f"python3 /tmp/watch.py /tmp/word.wav {CARD} {rest_s}"
        seen = json.loads(self.root(command))
        record = self.wait_for_record(Event.DETECTED, since)
        highs = [at for at, state in seen["line"] if state == "hi"]
        assert highs, f"the kernel never saw the line high: {seen}"
        late_s = highs[0] - seen["started"] - word.end_s
        return Heard(record, [state for _, state in seen["line"]], late_s)

    @contextmanager
    def settings(self, text: str) -> Iterator[None]:
        """The service with these settings of its own, reloaded; at the end, with those before."""
        self.root(
            f"cp {OWN_SETTINGS} /root/own.toml 2>/dev/null; printf %s {shlex.quote(text)} "
            f">{OWN_SETTINGS}; chmod 644 {OWN_SETTINGS}; systemctl reload kws-pi"
        )
        try:
            yield
        finally:
            self.root(
                f"mv /root/own.toml {OWN_SETTINGS} 2>/dev/null || rm -f {OWN_SETTINGS}; "
                "systemctl reload-or-restart kws-pi"
            )


def find_word(path: Path) -> Word:
    """Cuts a part of the demo's tape that ends with a keyword the model finds, here on the host."""
    with AudioFile(TAPE, RATE, RATE) as recording:
        samples = np.concatenate(list(recording))
    rows = [line.split(",") for line in TAPE.with_suffix(".csv").read_text().splitlines()[1:]]
    for end in (float(row[1]) for row in rows if row[-1] == "1"):
        begin = max(0.0, end - BEFORE_S)
        part = samples[int(begin * RATE) : int((end + AFTER_S) * RATE)]
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((32767 * part.clip(-1, 1)).astype("<i2").tobytes())
        if _hits_in(path) == 1:
            return Word(path, end - begin)
    raise AssertionError("the shipped model finds no keyword on the tape")


def _hits_in(path: Path) -> int:
    """So often is the keyword found in a recording, and the silence after it."""
    spotter = Spotter(load_model(default_manifest()))
    hits = 0
    with AudioFile(path, RATE, spotter.step_samples) as recording:
        for block in recording:
            hits += len(spotter.push(block, 0.0))
    return hits + len(spotter.push(np.zeros(RATE, np.float32), 0.0))
