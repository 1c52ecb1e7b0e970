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

Samples = npt.NDArray[np.float32]


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
