"""Knowledge distillation: what a small network learns from a large one besides the labels.

Each method is a term that `StreamObjective` adds to its own loss; any number
of them work together. Soft labels are those of Hinton et al., "Distilling the
knowledge in a neural network", arXiv 1503.02531.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from train_host.network import Network, StreamState, Trace
from train_host.scenes import Batch

POOLED_STEPS = 2
"""The detector averages a few steps, so one step alone must not count."""


class Streamed(Protocol):
    """What runs on streams: a `Network`, or one with its normalisation around it."""

    def initial_state(self, batch: int) -> StreamState: ...

    def trace(self, mel: Tensor, state: StreamState) -> Trace: ...


class Term(nn.Module):
    """One thing to learn from a teacher; a scalar for each batch, its weight included.

    The teacher is no submodule: it is neither trained nor saved with the term.
    """

    def __init__(self, weight: float, streamed: Streamed | None) -> None:
        super().__init__()
        self.weight = weight
        # Within a tuple, where torch does not look for submodules.
        self._streamed = (streamed,)

    @property
    def streamed(self) -> Streamed | None:
        """The teacher whose trace over the student's own scenes the term is to be given."""
        return self._streamed[0]

    def forward(
        self, batch: Batch, student: Trace, pooled: Tensor, teacher: Trace | None
    ) -> Tensor:
        """The loss. `pooled` (B,) is the student's margin at the focus, see `at_focus`."""
        raise NotImplementedError


def margin_of(logits: Tensor) -> Tensor:
    """(..., 2) -> (...): the logit of the keyword's probability."""
    return logits[..., 1] - logits[..., 0]


def at_focus(margin: Tensor, focus: Tensor) -> Tensor:
    """(B, K) margins and mask -> (B,): the mean of the highest steps of each focus.

    Where there is no focus the value is -50 and means nothing.
    """
    highest = margin.masked_fill(~focus, -1e4).topk(POOLED_STEPS, dim=1).values
    return highest.clamp(min=-50).mean(dim=1)


class ClipSoftLabels(Term):
    """Soft labels of a teacher of clips, which judges the second around each focus.

    With the margins s of the student (its highest steps at the focus, (B,))
    and t of the teacher (`Network.clip`, (B,)), over scenes that have a focus:

        T^2 mean_w[ BCE(sigmoid(s / T), sigmoid(t / T)) ]

    after Hinton et al., arXiv 1503.02531. The weights w of the mean are the
    probabilities that the teacher gives to the truth: it counts as far as it
    is right itself.
    """

    def __init__(self, teacher: Network, temperature: float = 2.0, weight: float = 0.5) -> None:
        super().__init__(weight, None)
        self._teacher = (teacher,)
        self.temperature = temperature

    def forward(
        self, batch: Batch, student: Trace, pooled: Tensor, teacher: Trace | None
    ) -> Tensor:
        with torch.no_grad():
            margin = margin_of(self._teacher[0].clip(batch.window))
            right = torch.sigmoid(torch.where(batch.positive, margin, -margin))
        loss = _soft_labels(pooled, margin, self.temperature)
        weights = right * batch.has_focus
        return self.weight * (loss * weights).sum() / weights.sum().clamp(1)


class StreamSoftLabels(Term):
    """Soft labels of a streaming teacher, at every step of the student's own scenes.

    With the margins s of the student and t of the teacher, both (B, K):

        T^2 / 2 (mean_w[ BCE(s / T, t / T) ] over quiet steps
                 + mean_w[ BCE(s / T, t / T) ] over the steps of keywords)

    after Hinton et al., arXiv 1503.02531; in BCE both sides pass a sigmoid
    first. Quiet steps and those of keywords get half each, since a keyword is
    short and would drown. The teacher counts as far as it is right itself: at
    a quiet step w is the probability it gives to silence. From the beginning
    of a keyword until it has faded, labels do not say when to rise and when to
    fall; there the student follows the teacher's course through the whole
    word, and w is the probability that the teacher gives to it at its focus.
    """

    def __init__(self, teacher: Streamed, temperature: float = 2.0, weight: float = 0.5) -> None:
        super().__init__(weight, teacher)
        self.temperature = temperature

    def forward(
        self, batch: Batch, student: Trace, pooled: Tensor, teacher: Trace | None
    ) -> Tensor:
        assert teacher is not None
        with torch.no_grad():
            margin = margin_of(teacher.logits)
            found = torch.sigmoid(at_focus(margin, batch.focus))[:, None].expand_as(margin)
            right = torch.where(batch.quiet, torch.sigmoid(-margin), found)
        loss = _soft_labels(margin_of(student.logits), margin, self.temperature)
        total = loss.new_zeros(())
        for steps in (batch.quiet, ~batch.quiet):
            weights = right * steps
            total = total + (loss * weights).sum() / weights.sum().clamp(1)
        return self.weight * total / 2


def _soft_labels(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each of the student's margins with the teacher's, both softened.

    T^2 keeps the gradient's size when the temperature changes (arXiv 1503.02531, section 2).
    """
    target = torch.sigmoid(teacher / temperature)
    loss = functional.binary_cross_entropy_with_logits(
        student / temperature, target, reduction="none"
    )
    return temperature**2 * loss
