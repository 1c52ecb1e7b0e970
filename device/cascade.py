"""The cascade: further networks confirm what excites the first.

The first network runs on every step. Where its probability reaches a
verifier's gate, the verifier wakes up, hears the last second or so from its
initial state, and listens on until the first network calms down; meanwhile a
step's probability is what all say together. In running speech that is one step
in thirty or fewer, so verifiers may be many times as large as the first network
and cost next to nothing. Networks that learned differently are seldom wrong
about the same sound (docs/decisions/0040-cascade.md).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device.engine import Engine
    from device.manifest import Verifier

SUREST = 5.0
"""No network is believed to be surer than this logit, either way: one in 150 is wrong."""


class Cascade:
    """All networks as one engine."""

    def __init__(self, first: Engine, verifiers: Sequence[tuple[Verifier, Engine]]) -> None:
        self._first = first
        self._verifiers = verifiers
        self._awake = [False] * len(verifiers)
        longest = max(verifier.steps for verifier, _ in verifiers)
        self._heard: deque[NDArray[np.float32]] = deque(maxlen=longest)

    def reset(self) -> None:
        self._first.reset()
        self._awake = [False] * len(self._verifiers)
        self._heard.clear()

    def step(self, mel: NDArray[np.float32]) -> float:
        probability = self._first.step(mel)
        self._heard.append(mel)
        opinions = [(1.0, probability)]
        for number, (verifier, engine) in enumerate(self._verifiers):
            excited = probability >= verifier.gate
            if excited and not self._awake[number]:
                engine.reset()
                for heard in list(self._heard)[-verifier.steps : -1]:
                    engine.step(heard)
            self._awake[number] = excited
            if excited:
                opinions.append((verifier.weight, engine.step(mel)))
        return probability if len(opinions) == 1 else agreed(opinions)


def agreed(opinions: Sequence[tuple[float, float]]) -> float:
    """The probability of the weighted mean of logits, from weights and probabilities."""
    total = sum(weight for weight, _ in opinions)
    mean = sum(weight * _logit(probability) for weight, probability in opinions) / total
    return 1.0 / (1.0 + math.exp(-mean))


def _logit(probability: float) -> float:
    if not 0.0 < probability < 1.0:
        return SUREST if probability >= 1.0 else -SUREST
    return min(max(math.log(probability / (1.0 - probability)), -SUREST), SUREST)
