"""Scenes: what a microphone may hear in a few seconds, composed of stored features.

Every batch is made afresh in the mel domain. Sounds are added as powers (the
cross term of two independent sounds is zero on average); gain and the
colouration of a microphone are offsets of the logarithm. Four kinds of scene:

* clip: one clip from the very start of a stream, then quiet noise, as
  `kws-pi score` plays a file;
* sequence: several clips in a row, with pauses;
* speech: running speech, with the keyword spliced in or without it;
* noise: noise or near silence alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from device.manifest import FrontEnd
from train_host.features import FeatureStore
from train_host.fit import Drawn
from train_host.network import Network
from train_host.phrase import WINDOW, around, clip_frames
from train_host.surroundings import Surroundings, crop, cut, power_of

Array = npt.NDArray[np.float32]

SCENE_STEPS = 36
"""Length of a scene: 2.88 s, and more for a phrase that is longer than a second."""
LATE_FRAMES = 24
"""The keyword may be reported until this long after its end (0.24 s) ..."""
FADE_STEPS = 14
"""... and the probability may stay high for so many steps more."""
WARPED = 0.7
"""Share of the clips that are said faster or slower, by another vocal tract ..."""
TEMPO = (0.75, 1.4)
"""... at this tempo, relative to the recording ..."""
VOCAL_TRACT = (0.8, 1.25)
"""... and of this length, which ..."""
DRIFT, DRIFT_KNOTS = 1.12, 4
"""... drifts by up to this factor while it speaks, from one of so many moments to the next: people
say a vowel further forward or back than programs do, and glide through it in their own way."""
HURRIED = 0.4
"""Share of the clips in which a moment passes more quickly, as a sound does in a hurry, ..."""
MOMENT = (8, 25)
"""... of so many frames, half of the word at most, ..."""
HURRY = (1.5, 4.0)
"""... by this factor (docs/decisions/0046-alignments.md)."""
MOST_REAL = 0.5
"""Recordings of the keyword get this share of its draws at most ..."""
ENOUGH_REAL = 300
"""... and get it when there are so many, augmented forms counted: a few are not to be learned by
heart, and none may be how a network tells voices of programs from voices of people."""


@dataclass(frozen=True)
class Batch:
    """B scenes of K steps."""

    mel: Tensor
    """(B, frames, bands), log-mel."""
    positive: Tensor
    """(B,) bool: the focus is the keyword."""
    focus: Tensor
    """(B, K) bool: the steps at which the focus (keyword or other word) may be reported."""
    quiet: Tensor
    """(B, K) bool: the steps at which nothing may be reported."""
    window: Tensor
    """(B, `clip_frames`, bands): what is around the focus, for a network that judges clips."""
    has_focus: Tensor
    """(B,) bool: false for scenes of noise or running speech alone."""


@dataclass(frozen=True)
class Material:
    """What scenes are made of. Stores of one split."""

    keyword: Sequence[FeatureStore]
    """The keyword: one store, or recordings first and synthetic voices second."""
    others: Sequence[FeatureStore]
    """Other words; each store gets the same share of the scenes."""
    speech: FeatureStore | None
    """Running speech, long recordings."""
    noise: FeatureStore | None
    """Noise, long recordings."""
    window: int = WINDOW
    """Steps that the keyword may take, as `phrase_steps` measures them."""


@dataclass(frozen=True)
class Hard:
    """What of the material a network takes for the keyword (`train_host/mining.py`)."""

    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Frames of its running speech, at which such a place ends; ..."""
    share: float = 0.0
    """... so much of what is heard of the speech without the keyword holds one; 0 without any."""
    words: tuple[npt.NDArray[np.int64], ...] = ()
    """Of each store of its other words which clips; ..."""
    words_share: float = 0.0
    """... so many of the other words are among them."""


class Composer(Drawn):
    """Makes batches of scenes."""

    def __init__(
        self, material: Material, frames_per_step: int, front_end: FrontEnd, seed: int
    ) -> None:
        super().__init__(seed)
        self.material = material
        self.step = frames_per_step
        self.bands = bands = front_end.mel_bands
        self.floor = np.float32(front_end.floor)
        # The bands' centres, evenly spaced on the HTK mel scale.
        highest = 2595 * np.log10(1 + front_end.sample_rate / 2 / 700)
        self.mel_of_band = highest * (np.arange(bands) + 1) / (bands + 1)
        self.surroundings = Surroundings(material.noise, front_end, self.rng, material.speech)
        self.dwell(Hard())
        recordings = len(material.keyword[0])
        self.real_share = min(MOST_REAL, recordings / (recordings + ENOUGH_REAL))
        longer = material.window - WINDOW
        self.steps = SCENE_STEPS + 2 * longer
        self.fade_steps = FADE_STEPS + longer
        self.clip_frames = clip_frames(material.window, frames_per_step)

    def dwell(self, hard: Hard) -> None:
        """From now on so much of what is not the keyword is hard."""
        self.hard = hard

    def batch(self, size: int, keyword_share: float = 0.4) -> Batch:
        """A batch of `size` scenes, `keyword_share` of them with the keyword."""
        frames = self.steps * self.step
        power = np.zeros((size, frames, self.bands), np.float32)
        positive = np.zeros(size, bool)
        spans = np.full((size, 2), -1)
        for row in range(size):
            is_keyword = row < size * keyword_share
            positive[row] = is_keyword
            track, span = self._foreground(is_keyword, frames)
            power[row] = self.surroundings.background(track, frames)
            if span:
                spans[row] = span
        log_mel = np.log(np.maximum(power, self.floor))
        mask = self._masks(positive, spans)
        window = np.stack(
            [around(log_mel[row], spans[row], self.clip_frames) for row in range(size)]
        )
        for row in range(size):
            self.surroundings.hide(log_mel[row])
        return Batch(
            torch.from_numpy(log_mel),
            torch.from_numpy(positive),
            torch.from_numpy(mask[0]),
            torch.from_numpy(mask[1]),
            torch.from_numpy(window),
            torch.from_numpy(spans[:, 0] >= 0),
        )

    def _foreground(self, keyword: bool, frames: int) -> tuple[Array, tuple[int, int] | None]:
        """Power of the speech, (frames, bands), and the focus's first and last frame."""
        rng, track = self.rng, np.zeros((frames, self.bands), np.float32)
        speech = self.material.speech
        kind = rng.random()
        if kind < 0.4:
            clip, (begin, end) = self._clip(keyword)
            at = 0 if rng.random() < 0.5 else int(rng.integers(0, 60))
            length = min(len(clip), frames - at)
            track[at : at + length] = clip[:length]
            return self.surroundings.colour(track), (at + begin, min(at + end, frames))
        if kind < 0.65 or speech is None:
            if not keyword and kind > 0.62:
                return track, None
            return self._sequence(keyword, track)
        if not keyword and kind > 0.95:
            return track, None
        alone = not keyword and rng.random() < 0.75
        heard = self._hard(speech, frames) if alone else crop(rng, speech, frames)
        track[:] = power_of(heard) * _gain(rng, -12, 12)
        if alone:
            return self.surroundings.colour(track), None
        clip, (begin, end) = self._clip(keyword)
        begin, end = max(0, begin - 3), min(len(clip), end + 3)
        word = clip[begin:end][:frames]
        at = int(rng.integers(0, frames - len(word) + 1))
        # As loud as the speech around it, give or take.
        loudness = (track.mean() + 1e-12) / (word.mean() + 1e-12)
        track[at : at + len(word)] = word * loudness * _gain(rng, -6, 9)
        return self.surroundings.colour(track), (at, at + len(word))

    def _hard(self, speech: FeatureStore, frames: int) -> npt.NDArray[np.float16]:
        """Running speech, now and then with a place to dwell on, which ends in its later part."""
        if self.rng.random() >= self.hard.share:
            return crop(self.rng, speech, frames)
        place = int(self.rng.choice(self.hard.places))
        start = place - int(self.rng.integers(frames // 3, frames + 1))
        return cut(speech, max(0, min(start, len(speech.frames) - frames)), frames)

    def _sequence(self, keyword: bool, track: Array) -> tuple[Array, tuple[int, int] | None]:
        """Clips in a row; one of them, the focus, is the keyword or a word of its own."""
        rng, frames = self.rng, len(track)
        before = int(rng.integers(0, 3))
        at, index, focus = int(rng.integers(0, 30)), 0, None
        while at < frames - 20:
            is_focus = index == before
            clip, (begin, end) = self._clip(keyword and is_focus)
            begin, end = max(0, begin - 3), min(len(clip), end + 3)
            if is_focus and at + end - begin > frames:
                at = frames - (end - begin)
                if at < 0:
                    at, end = 0, begin + frames
            length = min(end - begin, frames - at)
            track[at : at + length] = clip[begin : begin + length] * _gain(rng, -5, 5)
            if is_focus:
                focus = (at, at + length)
            at += length + int(rng.integers(0, 40))
            index += 1
            if is_focus and at > frames - 60:
                break
        if focus is None:  # the clips before it were too long: start again with it
            track[:] = 0
            clip, (begin, end) = self._clip(keyword)
            length = min(end - begin, frames)
            track[:length] = clip[begin : begin + length]
            focus = (0, length)
        return self.surroundings.colour(track), focus

    def _clip(self, keyword: bool) -> tuple[Array, tuple[int, int]]:
        rng = self.rng
        stores = self.material.keyword if keyword else self.material.others
        chosen = int(rng.integers(len(stores)))
        if keyword and len(stores) == 2:
            chosen = int(rng.random() > self.real_share)
        store = stores[chosen]
        index = int(rng.integers(len(store)))
        if not keyword and self.hard.words and rng.random() < self.hard.words_share:
            index = int(rng.choice(self.hard.words[chosen]))
        begin, end = store.active[index]
        log_mel = store[index].astype(np.float32)
        if rng.random() < WARPED:
            tempo = rng.uniform(*TEMPO)
            log_mel = warp(log_mel, tempo, self._vocal_tract(), self.mel_of_band)
            begin, end = int(begin / tempo), min(int(np.ceil(end / tempo)), len(log_mel))
        if rng.random() < HURRIED:
            run = min(int(rng.integers(*MOMENT)), int(end - begin) // 2)
            at = int(rng.integers(begin, end - run + 1))
            quick = hurry(log_mel, at, run, np.exp(rng.uniform(*np.log(HURRY))))
            log_mel, end = quick, end - (len(log_mel) - len(quick))
        return np.exp(log_mel), (int(begin), int(end))

    def _vocal_tract(self) -> npt.NDArray[np.floating]:
        """Its length at `DRIFT_KNOTS` moments from a clip's first frame to its last."""
        most = np.log(DRIFT)
        drift = np.exp(self.rng.uniform(-most, most, DRIFT_KNOTS))
        return np.asarray(self.rng.uniform(*VOCAL_TRACT) * drift)

    def _masks(
        self, positive: npt.NDArray[np.bool_], spans: npt.NDArray[np.int_]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        ends = (np.arange(self.steps) + 1) * self.step
        begin, end = spans[:, :1], spans[:, 1:]
        known = begin >= 0
        focus = known & (ends > (begin + end) / 2) & (ends <= end + LATE_FRAMES + self.step)
        # A focus that ends with the scene is reported at its last step at the latest.
        focus[:, -1] |= (known & (ends[-1] < end + LATE_FRAMES))[:, 0]
        after = end + LATE_FRAMES + self.fade_steps * self.step
        quiet = ~positive[:, None] | (ends <= begin) | (ends > after)
        return focus, quiet


class Recording:
    """Batches of a composer, composed once and kept on disk, to train many networks on.

    Behaves as a composer does. Each `seed` plays the batches in an order of its
    own, and begins again when all have been played. Log-mel is kept as float16.
    """

    PARTS = ("mel", "positive", "focus", "quiet", "window", "has_focus")

    def __init__(self, folder: Path, seed: int) -> None:
        self.parts = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in self.PARTS}
        self.seed, self.position = seed, 0

    @staticmethod
    def make(
        composer: Composer, size: int, count: int, folder: Path, progress: Callable[[], None]
    ) -> None:
        """Writes `count` batches of `size` scenes, unless the folder already holds them."""
        if folder.exists():
            return
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        kept: dict[str, npt.NDArray[Any]] = {}
        for index in range(count):
            batch = composer.batch(size)
            for name in Recording.PARTS:
                value = getattr(batch, name).numpy()
                if name not in kept:
                    kept[name] = np.lib.format.open_memmap(
                        partial / f"{name}.npy",
                        "w+",
                        np.float16 if value.dtype == np.float32 else value.dtype,
                        (count, *value.shape),
                    )
                kept[name][index] = value
            progress()
        for array in kept.values():
            array.flush()  # type: ignore[attr-defined]
        partial.rename(folder)

    @property
    def state(self) -> dict[str, Any]:
        return {"seed": self.seed, "position": self.position}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.seed, self.position = state["seed"], state["position"]

    def batch(self, size: int) -> Batch:
        """The next batch. Raises ValueError when it was recorded with another size."""
        count = len(self.parts["mel"])
        order = np.random.default_rng([self.seed, self.position // count]).permutation(count)
        index = order[self.position % count]
        self.position += 1
        parts = [torch.from_numpy(np.array(self.parts[name][index])) for name in self.PARTS]
        if len(parts[0]) != size:
            raise ValueError(f"the recording has batches of {len(parts[0])} scenes, not {size}")
        return Batch(*(p.float() if p.is_floating_point() else p for p in parts))


def _gain(rng: np.random.Generator, low_db: float, high_db: float) -> np.float32:
    return np.float32(10 ** (rng.uniform(low_db, high_db) / 10))


def warp(
    log_mel: Array,
    tempo: float,
    sizes: npt.NDArray[np.floating],
    mel_of_band: npt.NDArray[np.floating],
) -> Array:
    """The clip said `tempo` times as fast by a vocal tract `sizes` times as long.

    (frames, bands) -> (frames / tempo, bands), by linear interpolation.
    `sizes`: the length at moments spread evenly over the clip, one or more. The
    vocal tract after Jaitly and Hinton, "Vocal tract length perturbation
    improves speech recognition", ICML WDLASL 2013.
    """
    frames = np.arange(max(1, int(len(log_mel) / tempo))) * tempo
    moments = np.linspace(0, max(1.0, float(frames[-1])), len(sizes))
    size = np.interp(frames, moments, sizes)[:, None]
    hertz = 700 * (10 ** (mel_of_band / 2595) - 1)
    wanted = 2595 * np.log10(1 + hertz * size / 700)
    bands = np.interp(wanted, mel_of_band, np.arange(len(mel_of_band)))
    slower = _between(log_mel, frames)
    below, above, share = _neighbours(bands, slower.shape[1])
    shifted: Array = (
        np.take_along_axis(slower, below, 1) * (1 - share)
        + np.take_along_axis(slower, above, 1) * share
    )
    return shifted


def hurry(log_mel: Array, at: int, run: int, faster: float) -> Array:
    """The clip with `run` frames from `at` on passing so many times `faster`.

    (frames, bands) -> (fewer frames, bands), by linear interpolation; at least one is left.
    """
    count = max(1, round(run / faster)) if run else 0
    places = at + (np.arange(count) + 0.5) * run / max(1, count) - 0.5
    return np.concatenate([log_mel[:at], _between(log_mel, places), log_mel[at + run :]])


def _between(log_mel: Array, places: npt.NDArray[np.floating]) -> Array:
    """The frames at fractional places, (places, bands)."""
    below, above, share = _neighbours(places, len(log_mel))
    found: Array = log_mel[below] * (1 - share[:, None]) + log_mel[above] * share[:, None]
    return found


def _neighbours(
    positions: npt.NDArray[np.floating], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Of each fractional position the index below, the one above, and the share of the latter."""
    below = np.minimum(positions.astype(np.int64), count - 1)
    above = np.minimum(below + 1, count - 1)
    return below, above, (positions - below).astype(np.float32)


def composer_for(material: Material, network: Network, seed: int) -> Composer:
    """A composer of scenes for a network's front end and step."""
    return Composer(material, network.shape.stride[1], network.front_end, seed)
