"""Augmentation of waveforms: speed, pitch, rooms, microphones.

What can be done exactly on log-mel features (gain, colouration by a filter
that is smooth in frequency) or nearly so (added noise, shifts by whole
frames) happens later and afresh for every batch, in `scenes.py`; what cannot
happens here, a few times a clip, before the features are stored.
"""

from __future__ import annotations

import random
from pathlib import Path

import audiomentations as am
import numpy as np
import numpy.typing as npt
import soundfile as sf

Samples = npt.NDArray[np.float32]


def write_rooms(folder: Path, count: int, rate: int, seed: int) -> Path:
    """Writes `count` room impulse responses as WAV files and returns the folder.

    Exponentially decaying noise behind a direct sound (Polack's model, see
    Jot et al., "Analysis and synthesis of room reverberation based on a
    statistical time-frequency model", AES 1997), reverberation times 0.15 to
    0.9 s, direct sound 0 to 12 dB above the tail.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        decay_s = rng.uniform(0.15, 0.9)
        time = np.arange(int(0.8 * decay_s * rate)) / rate
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay_s)
        delay = int(rng.uniform(0.001, 0.01) * rate)
        tail[:delay] = 0
        tail /= np.sqrt(np.sum(tail**2))
        response = tail * 10 ** (-rng.uniform(0, 12) / 20)
        response[0] = 1
        sf.write(folder / f"room_{index:02d}.wav", response / np.abs(response).max(), rate)
    return folder


class Augmenter:
    """Varies one clip; the same seed gives the same variations in the same order."""

    def __init__(self, rate: int, rooms: Path, seed: int) -> None:
        self.rate = rate
        # audiomentations draws from the global generators.
        random.seed(seed)
        np.random.seed(seed)
        self.chain = am.Compose(
            [
                am.TimeStretch(0.8, 1.25, leave_length_unchanged=False, p=0.6),
                am.PitchShift(-3.5, 3.5, p=0.5),
                am.ApplyImpulseResponse(str(rooms), leave_length_unchanged=True, p=0.4),
                am.ClippingDistortion(0, 10, p=0.05),
            ]
        )

    def __call__(self, samples: Samples) -> Samples:
        """float32 (n,) -> float32 (m,), with m between 0.8 n and 1.25 n."""
        return np.asarray(self.chain(samples, self.rate), dtype=np.float32)
