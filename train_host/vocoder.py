"""Changes who speaks and how: pitch, intonation, formants, tempo and breath.

Speech is taken apart and put together again by WORLD: M. Morise, F. Yokomori,
K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system for
real-time applications", IEICE Trans. Inf. & Syst., 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import SetupError

RATE = 16000
FRAME_MS = 5.0
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Another speaker, or another way to say it. Curves are sampled at even distances."""

    pitch: float = 1.0
    """Factor on the mean fundamental frequency."""
    intonation: float = 1.0
    """How far the pitch moves around its mean: 0 is a monotone, above 1 is lively."""
    drift: tuple[float, ...] = (0.0, 0.0)
    """Semitones added to the pitch in the course of the speech."""
    size: float = 1.0
    """Above 1 is a longer vocal tract: formants sink by this factor, the pitch stays."""
    formants: tuple[float, ...] = (1.0, 1.0)
    """Further factors on the spectrum's frequencies, from 0 Hz to half the rate."""
    tempo: tuple[float, ...] = (1.0, 1.0)
    """In the course of the speech; above 1 is faster."""
    breath: float = 1.0
    """Above 1 is breathier, below 1 clearer."""


def random_change(rng: np.random.Generator) -> Change:
    """A speaker drawn as far from the one who spoke as words stay words."""

    def around_one(most: float) -> float:
        return float(np.exp(rng.uniform(-np.log(most), np.log(most))))

    pace = around_one(1.3)
    return Change(
        pitch=around_one(1.5),
        intonation=float(rng.uniform(0.4, 1.7)),
        drift=tuple(rng.uniform(-1.5, 1.5, 4)),
        size=around_one(1.18),
        formants=(1.0, *(around_one(1.07) for _ in range(4)), 1.0),
        tempo=tuple(pace * around_one(1.25) for _ in range(4)),
        breath=around_one(1.5),
    )


@dataclass(frozen=True)
class Analysis:
    """Speech as WORLD sees it, a row for every 5 ms."""

    pitch: Floats
    """(frames,), Hz; 0 where there is no voice."""
    envelope: Floats
    """(frames, bins), power."""
    noise: Floats
    """(frames, bins), the share that is noise, 0 to 1."""


def analyse(samples: NDArray[np.float32]) -> Analysis:
    """Takes speech apart, float32 (samples,) at 16 kHz.

    Raises SetupError when pyworld is not installed.
    """
    world = _world()
    sound = samples.astype(np.float64)
    pitch, times = world.harvest(
        sound, RATE, f0_floor=LOWEST_HZ, f0_ceil=HIGHEST_HZ, frame_period=FRAME_MS
    )
    return Analysis(
        pitch, world.cheaptrick(sound, pitch, times, RATE), world.d4c(sound, pitch, times, RATE)
    )


def speak_again(speech: Analysis, change: Change) -> NDArray[np.float32]:
    """The speech put together with a change: float32 (samples,) at 16 kHz."""
    at = _times(len(speech.pitch), change.tempo)
    pitch = _new_pitch(speech.pitch, change)
    # A pitch between a voiced frame and one without voice means nothing: take the nearest.
    pitch = pitch[np.round(at).astype(int)]
    bins = _bins(speech.envelope.shape[1], change)
    envelope = np.exp(_warped(np.log(speech.envelope + 1e-16), at, bins))
    noise = np.clip(_warped(speech.noise, at, bins) ** (1 / change.breath), 0.0, 1.0)
    sound: Floats = _world().synthesize(pitch, envelope, noise, RATE, FRAME_MS)
    return np.asarray(sound, np.float32)


def _new_pitch(pitch: Floats, change: Change) -> Floats:
    voiced = pitch > 0
    if not voiced.any():
        return pitch
    logs = np.log(pitch, where=voiced, out=np.zeros_like(pitch))
    mean = logs[voiced].mean()
    semitones = _curve(change.drift, len(pitch))
    moved = (
        mean + np.log(change.pitch) + change.intonation * (logs - mean) + np.log(2) / 12 * semitones
    )
    return np.where(voiced, np.clip(np.exp(moved), LOWEST_HZ, HIGHEST_HZ), 0.0)


def _times(frames: int, tempo: tuple[float, ...]) -> Floats:
    """Which frame, in fractions, is heard at each of the new frames."""
    heard_until = np.concatenate([[0.0], np.cumsum(1 / _curve(tempo, max(1, frames - 1)))])
    return np.interp(np.arange(int(heard_until[-1]) + 1), heard_until, np.arange(len(heard_until)))


def _bins(count: int, change: Change) -> Floats:
    """Which bin of the old spectrum each of the new one takes its value from."""
    bins = np.arange(count) * change.size / _curve(change.formants, count)
    return np.clip(bins, 0, count - 1)


def _warped(values: Floats, rows: Floats, columns: Floats) -> Floats:
    """Values at fractional rows and columns, by linear interpolation."""
    for places in (rows, columns):
        below = np.minimum(places.astype(int), len(values) - 1)
        above = np.minimum(below + 1, len(values) - 1)
        share = (places - below)[:, None]
        values = (values[below] * (1 - share) + values[above] * share).T
    return np.ascontiguousarray(values)


def _curve(knots: tuple[float, ...], count: int) -> Floats:
    return np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots)


def _world() -> Any:
    try:
        import pyworld
    except ImportError as error:
        raise SetupError(
            "voices are varied by WORLD, which is not installed; run `make setup SYNTH=1`, "
            "or pip install pyworld-prebuilt"
        ) from error
    return pyworld
