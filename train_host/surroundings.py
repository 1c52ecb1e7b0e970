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

NOISY = 0.7
"""Share of the scenes that have noise in them; ..."""
RATIO_DB = (-6.0, 25.0)
"""... what is said has this much more power than it, pauses counted."""
MIXED = 0.3
"""Share of the noises that are two recordings at once."""
TALK = 0.2
"""Share of the noises that are somebody else's speech."""
HIDDEN = 2
"""Where a scene is hidden in part: twice as many bands ..."""
HIDDEN_BANDS = 6
"""... at most, and ..."""
HIDDEN_FRAMES = 8
"""... as many frames."""
SPECTRUM_OF_HISS = np.float32(100.0)
"""White noise of power p has about 100 p in a mel band of 400 Hann-windowed points."""


class Surroundings:
    """Draws them from `rng`.

    `noise`: long recordings, None for hiss alone. `talk`: running speech, which
    is heard as noise behind what is said; None for none.
    """

    def __init__(
        self,
        noise: FeatureStore | None,
        front_end: FrontEnd,
        rng: np.random.Generator,
        talk: FeatureStore | None = None,
    ) -> None:
        self.noise = noise
        self.talk = talk
        self.bands = front_end.mel_bands
        self.rng = rng

    def colour(self, track: Array) -> Array:
        """Gain, and a random smooth filter, as another microphone would have."""
        return self._filtered(track, self.rng.uniform(-25, 10))

    def background(self, track: Array, frames: int) -> Array:
        """Adds noise at a random ratio to the speech, or nearly none."""
        rng, noise = self.rng, self.noise
        hiss = 10 ** rng.uniform(-7.5, -4.5) * rng.exponential(1, track.shape)
        power = track + hiss.astype(np.float32) * SPECTRUM_OF_HISS
        if noise is not None and (rng.random() < NOISY or not track.any()):
            sound = self._noise(noise, frames)
            if track.any():
                wanted = track.mean() / 10 ** (rng.uniform(*RATIO_DB) / 10)
            else:
                wanted = 10 ** rng.uniform(-6, 1.5)
            power += sound * np.float32(wanted / (sound.mean() + 1e-9))
        return power

    def _noise(self, noise: FeatureStore, frames: int) -> Array:
        """One recording, two, or somebody who talks, each through a filter of its own."""
        rng = self.rng
        if self.talk is not None and rng.random() < TALK:
            return self._sound(self.talk, frames)
        sound = self._sound(noise, frames)
        if rng.random() < MIXED:
            other = self._sound(noise, frames)
            louder = 10 ** (rng.uniform(-10, 10) / 10)
            sound += other * np.float32(louder * sound.mean() / (other.mean() + 1e-9))
        return sound

    def _sound(self, store: FeatureStore, frames: int) -> Array:
        return self._filtered(power_of(crop(self.rng, store, frames)), 0.0)

    def _filtered(self, power: Array, gain_db: float) -> Array:
        """Through a random smooth filter, and louder by so much."""
        knots = self.rng.normal(0, 4 if self.rng.random() < 0.5 else 1.5, 6)
        tilt = np.interp(np.linspace(0, 5, self.bands), np.arange(6), knots)
        return power * (10 ** ((tilt + gain_db) / 10)).astype(np.float32)

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
    return cut(store, int(rng.integers(0, max(1, len(store.frames) - frames))), frames)


def cut(store: FeatureStore, start: int, frames: int) -> npt.NDArray[np.float16]:
    """`frames` frames of a store from `start` on; again from there where it ends before."""
    found = store.frames[start : start + frames]
    if len(found) < frames:
        found = np.resize(found, (frames, found.shape[1]))
    return found
