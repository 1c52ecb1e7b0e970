"""Rooms that were never built: impulse responses for augmentation and for the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile


def write_rooms(folder: Path, count: int, rate: int, seed: int) -> Path:
    """Writes `count` room impulse responses as WAV files and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        response = room(rng, rate)
        soundfile.write(folder / f"room_{index:02d}.wav", response / np.abs(response).max(), rate)
    return folder


def room(rng: np.random.Generator, rate: int) -> npt.NDArray[np.float64]:
    """The impulse response of a room, its direct sound first.

    Exponentially decaying noise behind a direct sound (Polack's model, see
    Jot et al., "Analysis and synthesis of room reverberation based on a
    statistical time-frequency model", AES 1997), reverberation times 0.15 to
    0.9 s, direct sound 0 to 12 dB above the tail.
    """
    decay_s = rng.uniform(0.15, 0.9)
    time = np.arange(int(0.8 * decay_s * rate)) / rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay_s)
    delay = int(rng.uniform(0.001, 0.01) * rate)
    tail[:delay] = 0
    tail /= np.sqrt(np.sum(tail**2))
    response = tail * 10 ** (-rng.uniform(0, 12) / 20)
    response[0] = 1
    return np.asarray(response)
