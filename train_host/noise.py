"""Noise made by rule, for a corpus that needs no recording.

Each kind is a function of a length and a random generator; `make_noise`
brings it to a standard loudness. All at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 16000
LOUDNESS_DB = -30.0
"""RMS of a piece of noise, relative to full scale."""

Floats = NDArray[np.float64]
Kind = Callable[[int, np.random.Generator], Floats]


def coloured(exponent: float) -> Kind:
    """Noise whose power falls as frequency ** exponent: 0 is white, 1 pink, 2 brown."""

    def kind(length: int, rng: np.random.Generator) -> Floats:
        spectrum = np.fft.rfft(rng.standard_normal(length))
        hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0)
        return np.asarray(np.fft.irfft(spectrum * hertz ** (-exponent / 2), length))

    return kind


def hum(length: int, rng: np.random.Generator) -> Floats:
    """Mains hum: 50 or 60 Hz with harmonics that fade, and a little hiss."""
    t = np.arange(length) / RATE
    base = rng.choice([50.0, 60.0])
    tones = [
        rng.uniform(0.2, 1.0) / n * np.sin(2 * np.pi * (base * n * t + rng.random()))
        for n in range(1, 12)
    ]
    return sum(tones, 0.02 * rng.standard_normal(length))


def fan(length: int, rng: np.random.Generator) -> Floats:
    """Air noise that swells with the blades: pink, modulated at 5 to 30 Hz."""
    t = np.arange(length) / RATE
    swell = 1 + rng.uniform(0.1, 0.6) * np.sin(2 * np.pi * rng.uniform(5, 30) * t)
    return coloured(rng.uniform(0.7, 1.6))(length, rng) * swell


def clicks(length: int, rng: np.random.Generator) -> Floats:
    """Knocks, keys and crackle: short decaying resonances at random moments."""
    out = 0.002 * rng.standard_normal(length)
    for _ in range(max(1, int(length / RATE * rng.uniform(2, 15)))):
        size = int(rng.uniform(0.005, 0.08) * RATE)
        t = np.arange(size) / RATE
        tone = np.sin(2 * np.pi * rng.uniform(150, 6000) * t) + rng.standard_normal(size)
        knock = rng.exponential(1.0) * tone * np.exp(-t * rng.uniform(50, 600))
        at = int(rng.integers(max(1, length - size)))
        out[at : at + size] += knock[: length - at]
    return out


def tones(length: int, rng: np.random.Generator) -> Floats:
    """Beeps and melodies: notes of a scale with harmonics, as music or an alarm has."""
    out = 0.002 * rng.standard_normal(length)
    at = 0
    while at < length:
        size = int(rng.uniform(0.1, 0.6) * RATE)
        t = np.arange(size) / RATE
        hertz = 110 * 2 ** (rng.integers(0, 37) / 12)
        note = sum(rng.random() / n * np.sin(2 * np.pi * hertz * n * t) for n in range(1, 7))
        faded = note * np.exp(-t * rng.uniform(0.5, 8)) * np.minimum(1, t * 200)
        out[at : at + size] += faded[: length - at]
        at += int(size * rng.uniform(0.4, 1.3))
    return out


def babble(voices: Sequence[NDArray[np.float32]]) -> Kind:
    """Several people who talk at once, none of whom can be understood."""

    def kind(length: int, rng: np.random.Generator) -> Floats:
        out = 0.001 * rng.standard_normal(length)
        for _ in range(int(rng.integers(5, 9))):
            at = -int(rng.integers(RATE))
            level = rng.uniform(0.5, 1.0)
            while at < length:
                speech = voices[int(rng.integers(len(voices)))]
                start, stop = max(0, at), min(length, at + len(speech))
                if stop > start:
                    out[start:stop] += level * speech[start - at : stop - at]
                at += len(speech) + int(rng.integers(RATE // 4))
        return out

    return kind


KINDS: dict[str, Kind] = {
    "white": coloured(0.0),
    "pink": coloured(1.0),
    "brown": coloured(2.0),
    "hum": hum,
    "fan": fan,
    "clicks": clicks,
    "tones": tones,
}


def make_noise(kind: Kind, seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A piece of noise, float32 (samples,), at the standard loudness."""
    sound = kind(int(seconds * RATE), rng)
    sound = sound * (10 ** (LOUDNESS_DB / 20) / np.sqrt(np.mean(np.square(sound))))
    return np.asarray(np.clip(sound, -0.98, 0.98), np.float32)
