"""Hard negatives: what a network comes nearest to hearing the keyword in.

Most of an hour of speech is easy, and what sets a model's threshold is a handful
of phrases in it; most words are as easy, and a few differ from the keyword by one
sound. So a network is asked which they are, and then trains on them more often
(`Composer.dwell`).

Source: K.-K. Sung and T. Poggio, "Example-based learning for view-based human face
detection", IEEE PAMI 20, 1998, section 2.5, where it is called bootstrapping.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from train_host.evaluate import alone, played
from train_host.features import FeatureStore
from train_host.objectives import Streamed, margin_of
from train_host.scenes import Hard, Material

APART = 12
"""One place at most in so many steps, about a second."""
PLACES_PER_HOUR = 120
STEPS_PER_HOUR = 45_000
HARDEST = 0.05
"""Share of a store's clips that count as hard."""


def hard_negatives(
    model: Streamed, material: Material, stride: int, share: float, words_share: float
) -> Hard:
    """What of the material excites a network most, and how much of scenes it is to be.

    Of running speech and of other words; what is not asked for is not looked for.
    """
    places = np.empty(0, np.int64)
    words: tuple[npt.NDArray[np.int64], ...] = ()
    if share and material.speech is not None:
        places = hard_places(model, material.speech, stride)
    if words_share:
        words = tuple(hard_words(model, store, stride) for store in material.others)
    return Hard(places, share if len(places) else 0.0, words, words_share)


@torch.no_grad()
def hard_places(model: Streamed, speech: FeatureStore, stride: int) -> npt.NDArray[np.int64]:
    """The frames at which the steps end that excite a network most, as a stream hears them.

    `speech`: recordings without the keyword, one stream; `stride`: frames of a
    step. At least one place, PLACES_PER_HOUR of them; none where the speech
    does not last for APART steps.
    """
    state, found = model.initial_state(1), []
    for frames in played(speech, stride):
        trace = model.trace(frames, state)
        state = trace.state
        found.append(margin_of(trace.logits)[0].numpy())
    margins = np.concatenate([np.empty(0, np.float32), *found])
    windows = margins[: len(margins) // APART * APART].reshape(-1, APART)
    count = max(1, round(PLACES_PER_HOUR * len(margins) / STEPS_PER_HOUR))
    hardest = np.argsort(windows.max(axis=1))[::-1][:count]
    steps = hardest * APART + windows[hardest].argmax(axis=1)
    return np.asarray((steps + 1) * stride, np.int64)


@torch.no_grad()
def hard_words(model: Streamed, store: FeatureStore, stride: int) -> npt.NDArray[np.int64]:
    """Which clips of other words excite a network most, each from the start of a stream.

    `stride`: frames of a step. `HARDEST` of them, at least one; none of none.
    """
    loudest = np.empty(len(store))
    for rows, steps, mel in alone(store, stride):
        margins = margin_of(model.trace(mel, model.initial_state(len(rows))).logits).numpy()
        loudest[rows] = [heard[:own].max() for heard, own in zip(margins, steps, strict=True)]
    count = min(len(store), max(1, round(HARDEST * len(store))))
    return np.asarray(np.argsort(loudest)[::-1][:count], np.int64)
