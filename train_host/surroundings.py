"""What lies between a voice and a recording of it, in the mel domain: room for noise, a microphone.

Sounds are added as powers (the cross term of two independent sounds is zero on
average); gain and the colouration of a microphone are offsets of the logarithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from device.manifest import FrontEnd
from train_host.features import FeatureStore

Array = npt.NDArray[np.float32]

HIDDEN = 2
"""Where a scene is hidden in part: twice as many bands ..."""
HIDDEN_BANDS = 6
"""... at most, and ..."""
HIDDEN_FRAMES = 8
"""... as many frames."""
SPECTRUM_OF_HISS = np.float32(100.0)
"""White noise of power p has about 100 p in a mel band of 400 Hann-windowed points."""


class Surroundings:
    """Draws them from `rng`. `noise`: long recordings, None for hiss alone."""

    def __init__(
        self, noise: FeatureStore | None, front_end: FrontEnd, rng: np.random.Generator
    ) -> None:
        self.noise = noise
        self.bands = front_end.mel_bands
        self.rng = rng

    def colour(self, track: Array) -> Array:
        """Gain, and a random smooth filter, as another microphone would have."""
        rng = self.rng
        knots = rng.normal(0, 4 if rng.random() < 0.5 else 1.5, 6)
        tilt = np.interp(np.linspace(0, 5, self.bands), np.arange(6), knots)
        level = rng.uniform(-25, 10)
        return track * (10 ** ((tilt + level) / 10)).astype(np.float32)

    def background(self, track: Array, frames: int) -> Array:
        """Adds noise at a random ratio to the speech, or nearly none."""
        rng, noise = self.rng, self.noise
        hiss = 10 ** rng.uniform(-7.5, -4.5) * rng.exponential(1, track.shape)
        power = track + hiss.astype(np.float32) * SPECTRUM_OF_HISS
        if noise is not None and (rng.random() < 0.6 or not track.any()):
            sound = power_of(crop(rng, noise, frames))
            ratio = 10 ** (rng.uniform(-3, 30) / 10)
            reference = track.mean() if track.any() else 10 ** rng.uniform(-3, 1.5)
            power += sound * np.float32(reference / (sound.mean() + 1e-9) / ratio)
        return power

    def hide(self, log_mel: Array) -> None:
        """Silences some bands for the whole scene and some moments in all bands, in place.

        So that no single band and no single moment decides: D. S. Park et al.,
        "SpecAugment", Interspeech 2019 (arXiv 1904.08779). Half the scenes stay whole.
        """
        rng, frames = self.rng, len(log_mel)
        if rng.random() < 0.5:
            return
        quiet = log_mel.min()
        for _ in range(HIDDEN):
            width = int(rng.integers(0, HIDDEN_BANDS + 1))
            band = int(rng.integers(0, self.bands - width + 1))
            log_mel[:, band : band + width] = quiet
            length = int(rng.integers(0, HIDDEN_FRAMES + 1))
            at = int(rng.integers(0, frames - length + 1))
            log_mel[at : at + length] = quiet


def power_of(log_mel: npt.NDArray[np.floating]) -> Array:
    """The powers whose logarithm this is."""
    return np.exp(log_mel.astype(np.float32))


def crop(rng: np.random.Generator, store: FeatureStore, frames: int) -> npt.NDArray[np.float16]:
    """`frames` frames from anywhere in a store of long recordings, across their borders."""
    start = int(rng.integers(0, max(1, len(store.frames) - frames)))
    found = store.frames[start : start + frames]
    if len(found) < frames:
        found = np.resize(found, (frames, found.shape[1]))
    return found
