"""The daemon's health: what it counts while it runs, and the figures that come of it."""

from __future__ import annotations

import enum
import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device import __version__

if TYPE_CHECKING:  # `kws-pi status` does without numpy
    import numpy as np
    from numpy.typing import NDArray

WINDOW_S = 5.0
"""Level, CPU share and latency are those of the last window of so many seconds."""
ZEROS_S = 5.0
"""So many seconds of nothing but zeros are no quiet room, but a microphone that is off."""
UNITS = ("d", "h", "min", "s")
SILENCE_DBFS = -120.0
"""What stands for the level of zeros, in place of minus infinity."""


class State(enum.StrEnum):
    """What the daemon is doing."""

    STARTING = "starting"
    WAITING = "waiting for microphone"
    LISTENING = "listening"
    REOPENING = "microphone is silent, opening it again"
    STUCK = "microphone driver is stuck"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Figures:
    """The daemon's health at one moment. Counts begin with the daemon."""

    state: str
    """One of State's values."""
    version: str
    pid: int
    at_s: float
    """The moment, on the machine's monotonic clock, which all its processes share."""
    uptime_s: float
    keyword: str
    threshold: float
    device: str
    """ALSA name of the microphone that was last opened; empty before the first."""
    rate: int
    """Samples a second that it gives."""
    audio_s: float
    """Seconds of sound heard."""
    heard_s_ago: float | None
    """Seconds since the last sound came; None before the first."""
    level_dbfs: float
    """Root mean square of the input; 0 is that of a full-scale square wave."""
    only_zeros: bool
    """The microphone is open and delivers zeros alone."""
    openings: int
    """How often a microphone was opened."""
    reopenings: int
    """How often it had to be opened again after an error."""
    overruns: int
    """How often samples were lost because the device was not read in time."""
    late: int
    """How often samples were passed over because the network was slower than the sound."""
    detections: int
    reloads: int
    """How often new settings came into force."""
    cpu_share: float
    """CPU time per second of time; 1 is one core."""
    latency_ms: float
    """The longest way from the sound device to a decision."""


class Health:
    """Counts what happens. Times are of the monotonic clock."""

    def __init__(self, keyword: str, threshold: float) -> None:
        self.keyword = keyword
        self.threshold = threshold
        self.state = State.STARTING
        self.device = ""
        self.rate = 0
        self.openings = 0
        self.reopenings = 0
        self.overruns = 0
        self.late = 0
        self.detections = 0
        self.reloads = 0
        self.only_zeros = False
        self._audio_s = 0.0
        self._started_at = time.monotonic()
        self._heard_at: float | None = None
        self._zeros_s = 0.0
        self._window = _Window(self._started_at)
        self._last = self._window

    def opened(self, device: str, rate: int) -> None:
        """A microphone was opened."""
        self.device, self.rate = device, rate
        self.openings += 1
        self._zeros_s, self.only_zeros = 0.0, False

    def heard(self, samples: NDArray[np.float32], sample_rate: int, latency_s: float) -> None:
        """Sound was taken and decided upon. `samples`: float32 (any number,), mono."""
        now = time.monotonic()
        energy = float(samples.dot(samples))
        seconds = len(samples) / sample_rate
        self._audio_s += seconds
        self._heard_at = now
        self._zeros_s = 0.0 if energy else self._zeros_s + seconds
        self.only_zeros = self._zeros_s >= ZEROS_S
        self._window.add(energy, len(samples), latency_s)

    def figures(self) -> Figures:
        """The figures of this moment."""
        now = time.monotonic()
        if now - self._window.began_at >= WINDOW_S:
            self._window.end(now)
            self._last, self._window = self._window, _Window(now)
        elif self._last is self._window:
            self._window.end(now)  # the first, as far as it has come
        return Figures(
            state=self.state.value,
            version=__version__,
            pid=os.getpid(),
            at_s=round(now, 3),
            uptime_s=round(now - self._started_at, 3),
            keyword=self.keyword,
            threshold=self.threshold,
            device=self.device,
            rate=self.rate,
            audio_s=round(self._audio_s, 3),
            heard_s_ago=None if self._heard_at is None else round(now - self._heard_at, 3),
            level_dbfs=self._last.level_dbfs,
            only_zeros=self.only_zeros,
            openings=self.openings,
            reopenings=self.reopenings,
            overruns=self.overruns,
            late=self.late,
            detections=self.detections,
            reloads=self.reloads,
            cpu_share=self._last.cpu_share,
            latency_ms=self._last.latency_ms,
        )


class _Window:
    """What is measured over some seconds."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.level_dbfs = SILENCE_DBFS
        self.cpu_share = 0.0
        self.latency_ms = 0.0
        self._cpu_s = time.process_time()
        self._energy = 0.0
        self._samples = 0
        self._latency_s = 0.0

    def add(self, energy: float, samples: int, latency_s: float) -> None:
        self._energy += energy
        self._samples += samples
        self._latency_s = max(self._latency_s, latency_s)

    def end(self, now: float) -> None:
        """Works out the figures."""
        power = self._energy / self._samples if self._samples else 0.0
        level = 10 * math.log10(power) if power else SILENCE_DBFS
        self.level_dbfs = round(max(level, SILENCE_DBFS), 1)
        share = (time.process_time() - self._cpu_s) / max(now - self.began_at, 1e-9)
        self.cpu_share = round(share, 4)
        self.latency_ms = round(1000 * self._latency_s, 2)


def status_line(figures: Figures) -> str:
    """The figures as one line; it begins with the state."""
    state = figures.state
    if figures.only_zeros:
        state += " to nothing but zeros (is the microphone switched off or muted?)"
    input_level = (
        f"input {figures.level_dbfs:.0f} dB, latency {figures.latency_ms:.0f} ms, "
        if figures.state == State.LISTENING
        else ""
    )
    return (
        f"{state}; up {duration(figures.uptime_s)}, {input_level}"
        f"CPU {100 * figures.cpu_share:.1f} %, {figures.detections} detections, "
        f"{figures.overruns} overruns, {figures.late} late, {figures.reopenings} reopenings"
    )


def duration(seconds: float) -> str:
    """3 d 4 h, 4 h 12 min, 12 min 5 s, or 5 s."""
    whole = int(seconds)
    counts = (whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60)
    parts = [f"{count} {unit}" for count, unit in zip(counts, UNITS, strict=True)]
    first = next((i for i, count in enumerate(counts) if count), len(counts) - 1)
    return " ".join(parts[first : first + 2])
