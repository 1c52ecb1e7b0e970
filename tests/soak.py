"""Hours of sound through the daemon's own parts, faster than real time: `make soak`.

    python tests/soak.py [--hours 24] [--model MODEL.json] [--sound FILE] [--json FILE]

A process writes sound into a pipe, which the real ALSA library reads as a
microphone; microphone, supervisor and spotter are those of the daemon. Each
hour ends in five minutes of quiet noise. Toward the end of the quiet, memory
and the keyword's probability are noted: both have to be what they were after
the first hour.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from device_kit import RATE, ROOT, fake_microphone
from numpy.typing import NDArray

from device import microphone
from device.actions import Action
from device.audiofile import AudioFile
from device.errors import MicrophoneError
from device.health import Health
from device.microphone import PERIOD_S, Microphone
from device.model import default_manifest, load_model
from device.notify import WARNING, Event
from device.report import Reporter
from device.spotter import Hit, Spotter
from device.supervisor import Setup, Supervisor

QUIET_S = 300.0
QUIET = 2.5 / 32768
MEMORY_KIB = 1024
"""Memory may grow by so much after the first hour: the allocator is never quite still."""
DRIFT = 1e-4
"""The probability may differ by so much at the same place of the same quiet noise."""
PIECE = 5 * 2 * round(PERIOD_S * RATE)
"""Bytes of five of the microphone's periods; the kernel passes on up to 4096 in one piece."""


@dataclass(frozen=True)
class Mark:
    """What is noted toward the end of an hour."""

    audio_h: float
    memory_kib: int
    probability: float
    """The largest of the last 30 s of quiet."""
    detections: int
    gaps: int
    """The start is one."""


class Probe(Action):
    """Notes a mark in each stretch of quiet, and ends the run after the last."""

    def __init__(self, spotter: Spotter, hours: float, quiet_s: float) -> None:
        self.marks: list[Mark] = []
        self.supervisor: Supervisor
        self._spotter = spotter
        self._hours = hours
        self._quiet_s = quiet_s
        self._samples = self._quiet = self._detections = self._gaps = 0
        self._largest = 0.0

    def detected(self, hit: Hit, now: float) -> None:
        self._detections += 1

    def heard(self, samples: NDArray[np.float32], after_gap: bool) -> None:
        self._gaps += after_gap
        self._samples += len(samples)
        before = self._quiet
        self._quiet = self._quiet + len(samples) if np.abs(samples).max() <= QUIET else 0
        end = round(0.8 * self._quiet_s * RATE)
        if self._quiet < end - 30 * RATE:
            self._largest = 0.0
        self._largest = max(self._largest, self._spotter.probability)
        if before < end <= self._quiet:
            hours = self._samples / RATE / 3600
            self.marks.append(
                Mark(hours, memory_kib(), self._largest, self._detections, self._gaps)
            )
            print(json.dumps(asdict(self.marks[-1])), flush=True)
            if len(self.marks) >= self._hours:
                self.supervisor.stop()


def memory_kib() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not tell the memory in use")


def write_hours(pipe: Path, sound: NDArray[np.float32], hour_s: float, quiet_s: float) -> None:
    """The sound device's side: the recording again and again at changing level and noise."""
    rng = np.random.default_rng(0)
    end = os.open(pipe, os.O_WRONLY)

    def write(part: NDArray[np.int16]) -> None:
        # What is written at a time is read at a time, and never in part, which ALSA
        # would fill up with old samples: whole periods, few enough for one piece.
        content = memoryview(part.tobytes())
        for start in range(0, len(content), PIECE):
            try:
                os.write(end, content[start : start + PIECE])
            except BrokenPipeError:
                os._exit(0)  # all was heard

    while True:
        left = round((hour_s - quiet_s) * RATE)
        while left:
            part = sound[:left] * 10 ** rng.uniform(-1.5, 0.2)
            part = part + rng.standard_normal(len(part)) * 10 ** rng.uniform(-4.5, -2)
            write((np.clip(part, -1, 0.9999) * 32768).astype(np.int16))
            left -= len(part)
        same = np.random.default_rng(1)
        for _ in range(round(quiet_s)):
            write(np.rint(same.uniform(-1.5, 1.5, RATE)).astype(np.int16))


class Quiet:
    """In the place of journal and notifier: only what is wrong is told."""

    def record(
        self, message: str, priority: int = 6, event: Event | None = None, **fields: str
    ) -> None:
        if priority <= WARNING:
            print(message, file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def soak(
    manifest: Path, sound: NDArray[np.float32], marks: int, hour_s: float, quiet_s: float
) -> tuple[list[Mark], Health]:
    """Runs until so many marks are noted. `sound`: float32 (any number,) at RATE."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "sound"
        os.mkfifo(pipe)
        (Path(folder) / "asoundrc").write_text(fake_microphone(pipe))
        usual = "/usr/share/alsa/alsa.conf"
        os.environ["ALSA_CONFIG_PATH"] = f"{usual}:{folder}/asoundrc"
        writer = multiprocessing.get_context("fork").Process(
            target=write_hours, args=(pipe, sound, hour_s, quiet_s), daemon=True
        )
        writer.start()
        spotter = Spotter(load_model(manifest))
        probe = Probe(spotter, marks, quiet_s)
        health = Health(spotter.keyword, spotter.detection.threshold)
        told: Any = Quiet()

        # Sound that comes faster than real time may wait for a second on a busy machine.
        microphone.LATE_S = float("inf")

        def open_microphone() -> Microphone:
            return Microphone("fake", deadline_s=30.0)

        def read_anew() -> Setup:
            raise MicrophoneError("the settings do not change")

        supervisor = Supervisor(
            Setup(spotter, open_microphone, [probe]),
            read_anew,
            health,
            Reporter(health, told, Path(folder)),
            told,
            told,
        )
        probe.supervisor = supervisor
        try:
            supervisor.run()
        finally:
            writer.kill()
            writer.join()
        return probe.marks, health


def complaints(marks: list[Mark]) -> list[str]:
    """What is not as it was after the first hour."""
    first, wrong = marks[0], []
    grown = max(mark.memory_kib for mark in marks) - first.memory_kib
    if grown > MEMORY_KIB:
        wrong.append(f"memory has grown by {grown} KiB since the first hour")
    drift = max(abs(mark.probability - first.probability) for mark in marks)
    if drift > DRIFT:
        wrong.append(f"the probability in quiet has drifted by {drift:.4f}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Hours of sound through the daemon's parts.")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--hour-s", type=float, default=3600.0, help="length of an hour")
    parser.add_argument("--quiet-s", type=float, default=QUIET_S, help="quiet at its end")
    parser.add_argument("--model", type=Path, help="manifest (default: the shipped one)")
    parser.add_argument("--sound", type=Path, default=ROOT / "demo" / "tape.opus")
    parser.add_argument("--json", type=Path, help="writes the marks into this file")
    options = parser.parse_args()
    with AudioFile(options.sound, RATE, RATE) as recording:
        sound = np.concatenate(list(recording))
    sound = sound[: len(sound) // RATE * RATE]  # whole periods
    began = time.monotonic()
    marks, health = soak(
        options.model or default_manifest(), sound, options.hours, options.hour_s, options.quiet_s
    )
    took = time.monotonic() - began
    wrong = complaints(marks)
    audio_s = marks[-1].audio_h * 3600
    print(
        f"{audio_s / 3600:.2f} h of sound in {took:.0f} s ({audio_s / took:.0f} times real time), "
        f"{marks[-1].detections} detections, {health.overruns} overruns, {health.late} late, "
        f"{health.reopenings} reopenings; memory {marks[0].memory_kib} KiB after the first hour, "
        f"{marks[-1].memory_kib} KiB at the end; probability in quiet "
        f"{min(m.probability for m in marks):.6f} to {max(m.probability for m in marks):.6f}"
    )
    if options.json:
        options.json.write_text(json.dumps([asdict(mark) for mark in marks], indent=1) + "\n")
    for text in wrong:
        print(f"soak: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
