"""The cascade: further networks confirm what excites the first.

The first network runs on every step. Where its probability reaches a
verifier's gate, the verifier wakes up, hears the last second or so from its
initial state, and listens on until the first network calms down; meanwhile a
step's probability is what all say together. In running speech that is one step
in thirty or fewer, so verifiers may be many times as large as the first network
and cost next to nothing. Networks that learned differently are seldom wrong
about the same sound (docs/decisions/0040-cascade.md), and what one of them says of a
borderline sound depends on where its steps fall, so that a verifier may hear the stream
at several alignments (docs/decisions/0046-alignments.md).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.engine import Engine, Streams
    from device.manifest import Verifier

SUREST = 5.0
"""No network is believed to be surer than this logit, either way: one in 150 is wrong."""


class Cascade:
    """All networks as one engine.

    Each verifier's streams are as many as its alignments; `silence` is the log-mel of what
    nobody has said yet, before a stream begins.
    """

    def __init__(
        self, first: Engine, verifiers: Sequence[tuple[Verifier, Streams]], silence: float
    ) -> None:
        self._first = first
        self._verifiers = verifiers
        self._silence = silence
        self._awake = [False] * len(verifiers)
        longest = max(verifier.steps for verifier, _ in verifiers)
        # One step more than is heard: streams that lag begin within it.
        self._heard: deque[NDArray[np.float32]] = deque(maxlen=longest + 1)

    def reset(self) -> None:
        self._first.reset()
        self._awake = [False] * len(self._verifiers)
        self._heard.clear()

    def step(self, mel: NDArray[np.float32]) -> float:
        probability = self._first.step(mel)
        if not self._heard:
            self._heard.append(np.full_like(mel, self._silence))
        self._heard.append(mel)
        opinions = [(1.0, probability)]
        for number, (verifier, streams) in enumerate(self._verifiers):
            excited = probability >= verifier.gate
            if excited:
                steps = 1
                if not self._awake[number]:
                    streams.reset()
                    steps = verifier.steps
                for before, now in pairwise(list(self._heard)[-steps - 1 :]):
                    found = streams.step(lagging(before, now, verifier.alignments))
                opinions += [(verifier.weight / len(found), each) for each in found]
            self._awake[number] = excited
        return probability if len(opinions) == 1 else agreed(opinions)


def lagging(
    before: NDArray[np.float32], now: NDArray[np.float32], alignments: int
) -> NDArray[np.float32]:
    """A step of each of several streams, of which every next one lags a little more.

    `before` and `now`: (frames, bands), two steps that follow one another. The first stream
    hears `now`; of `alignments` streams each lags behind the one before by that part of a
    step. Returns (alignments, frames, bands).
    """
    both, frames = np.concatenate([before, now]), len(now)
    starts = range(frames, 0, -(frames // alignments))
    return np.stack([both[start : start + frames] for start in starts])


def agreed(opinions: Sequence[tuple[float, float]]) -> float:
    """The probability of the weighted mean of logits, from weights and probabilities."""
    total = sum(weight for weight, _ in opinions)
    mean = sum(weight * _logit(probability) for weight, probability in opinions) / total
    return 1.0 / (1.0 + math.exp(-mean))


def _logit(probability: float) -> float:
    if not 0.0 < probability < 1.0:
        return SUREST if probability >= 1.0 else -SUREST
    return min(max(math.log(probability / (1.0 - probability)), -SUREST), SUREST)
