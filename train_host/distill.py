"""Knowledge distillation: what a small network learns from a large one besides the labels.

Each method is a term that `StreamObjective` adds to its own loss; any number
of them work together:

    StreamObjective(model, [StreamSoftLabels(teacher), AttentionMap(teacher)])

Throughout, B scenes have K steps, the student's GRU has S units and the
teacher's has T.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from device.errors import RecipeError
from train_host.fit import Scenes, fit
from train_host.network import Network, Trace
from train_host.objectives import Streamed, Streams, Term, at_focus, margin_of, max_pooling_loss
from train_host.scenes import Batch


class ClipSoftLabels(Term):
    """Soft labels of a teacher of clips, which judges the second around each focus.

    With the margins s of the student (its highest steps at the focus, (B,))
    and t of the teacher (`Network.clip`, (B,)), over scenes that have a focus:

        T^2 mean_w[ BCE(sigmoid(s / T), sigmoid(t / T)) ],  T the temperature,

    after Hinton et al., "Distilling the knowledge in a neural network",
    arXiv 1503.02531. The weights w of the mean are the probabilities that the
    teacher gives to the truth: it counts as far as it is right itself.
    """

    def __init__(self, teacher: Network, temperature: float = 2.0, weight: float = 0.5) -> None:
        super().__init__(weight, None)
        self._teacher = (teacher,)
        self.temperature = temperature

    def forward(self, batch: Batch, student: Trace, teacher: Trace | None) -> Tensor:
        with torch.no_grad():
            margin = margin_of(self._teacher[0].clip(batch.window))
            right = torch.sigmoid(torch.where(batch.positive, margin, -margin))
        pooled = at_focus(margin_of(student.logits), batch.focus)
        loss = _soft_labels(pooled, margin, self.temperature)
        weights = right * batch.has_focus
        return self.weight * (loss * weights).sum() / weights.sum().clamp(1)


class StreamSoftLabels(Term):
    """Soft labels of a streaming teacher, at every step of the student's own scenes.

    With the margins s of the student and t of the teacher, both (B, K):

        T^2 / 2 (mean_w[ BCE(sigmoid(s / T), sigmoid(t / T)) ] over quiet steps
                 + the same over the steps of keywords),  T the temperature,

    after Hinton et al., arXiv 1503.02531. Quiet steps and those of keywords
    get half each, since a keyword is short and would drown. The teacher counts
    as far as it is right itself: at a quiet step w is the probability that it
    gives to silence. From the beginning of a keyword until it has faded, labels
    do not say when to rise and when to fall; there the student follows the
    teacher's course through the whole word, and w is the probability that the
    teacher gives to the keyword at its focus.
    """

    def __init__(self, teacher: Streamed, temperature: float = 2.0, weight: float = 0.5) -> None:
        super().__init__(weight, teacher)
        self.temperature = temperature

    def forward(self, batch: Batch, student: Trace, teacher: Trace | None) -> Tensor:
        assert teacher is not None
        margin = margin_of(teacher.logits)
        found = torch.sigmoid(at_focus(margin, batch.focus))[:, None]
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


class StudentToTeacher(Term):
    """Layer-wise, in the teacher's domain: the student's GRU must hold what the teacher's does.

        mean over B, K and T of (s P + b - t)^2

    with the outputs s (B, K, S) and t (B, K, T) of both GRUs, after Romero et
    al., "FitNets: hints for thin deep nets", arXiv 1412.6550. The projection
    P (S, T) starts orthogonal, which keeps lengths, and b at 0. Constant, they
    stay there: the student learns the teacher's share of a random subspace.
    Learnable (`learn`), they are trained with the student, as in the paper.
    """

    def __init__(
        self,
        teacher: Streamed,
        student_units: int,
        teacher_units: int,
        *,
        learn: bool,
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, teacher)
        self.projection = _orthogonal(student_units, teacher_units, seed)
        self.projection.requires_grad_(learn)

    def forward(self, batch: Batch, student: Trace, teacher: Trace | None) -> Tensor:
        assert teacher is not None
        return self.weight * functional.mse_loss(self.projection(student.outputs), teacher.outputs)


class Filter(nn.Module):
    """Takes from the outputs of the teacher's GRU what a student of fewer units can hold.

        f(t) = tanh(t Q + c),  (B, K, T) -> (B, K, S)

    tanh, since a GRU's outputs lie in (-1, 1). A linear head on f spots the
    keyword, so that the task can say what is worth taking. Q (T, S) has
    orthonormal columns: training turns it, but cannot shrink it.
    """

    def __init__(self, teacher_units: int, student_units: int, seed: int = 0) -> None:
        super().__init__()
        self.projection = _orthogonal(teacher_units, student_units, seed)
        # Not torch's default map, Householder's: it keeps signs among the weights, and the
        # optimiser's decay turns its projection into zeros.
        parametrizations.orthogonal(self.projection, orthogonal_map="cayley")
        self.head = nn.Linear(student_units, 2)

    def forward(self, outputs: Tensor) -> Tensor:
        return torch.tanh(self.projection(outputs))

    def task_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`max_pooling_loss` of the head on the teacher's outputs (B, K, T): a scalar."""
        return max_pooling_loss(margin_of(self.head(self(outputs)))[None], batch)


class TeacherToStudent(Term):
    """Layer-wise, in the student's domain: the student's GRU learns a part of the teacher's.

        mean over B, K and S of (s - f(t))^2

    with the outputs s (B, K, S) and t (B, K, T) of both GRUs and a `Filter` f.

    * constant: a new filter, random and fixed;
    * pre-trained: a filter that `train_filter` has taught the task, fixed. This
      is stage I of Liang et al., "Less is more: task-aware layer-wise
      distillation for language model compression" (TED), arXiv 2210.01351;
      here the student needs no filter of its own, since f ends in its domain;
    * learnable (`learn`): the filter trains beside the student. Left to the
      error alone, it would look for what costs the student nothing: shrink
      towards 0, or turn to where the teacher never moves. Orthonormal columns
      forbid the first; against the second `Filter.task_loss` joins the term, so
      that the filter has to keep what spots the keyword.
    """

    def __init__(
        self, teacher: Streamed, filter: Filter, *, learn: bool = False, weight: float = 1.0
    ) -> None:
        super().__init__(weight, teacher)
        self.filter = filter
        self.filter.requires_grad_(learn)
        self.learn = learn

    def forward(self, batch: Batch, student: Trace, teacher: Trace | None) -> Tensor:
        assert teacher is not None
        loss = self.weight * functional.mse_loss(student.outputs, self.filter(teacher.outputs))
        if self.learn:
            loss = loss + self.filter.task_loss(teacher.outputs, batch)
        return loss


def train_filter(
    filter: Filter,
    teacher: Streamed,
    scenes: Scenes[Batch],
    *,
    steps: int,
    batch: int,
    partial: Path,
    rate: float = 4e-3,
) -> list[tuple[int, float]]:
    """Teaches a filter the task on the fixed teacher's features; returns the curve of `fit`."""
    filter.requires_grad_(True)
    streams = Streams()

    def objective(heard: Batch) -> Tensor:
        streams.begin(heard)
        with torch.no_grad():
            outputs = streams.run(teacher, heard).outputs
        return filter.task_loss(outputs, heard)

    return fit(
        "filter",
        filter,
        objective,
        scenes,
        steps=steps,
        batch=batch,
        rate=rate,
        partial=partial,
        # It has few weights and trains briefly: the average must not still hold its first ones.
        average=0.98,
    )


class AttentionMap(Term):
    """The student attends to the steps that the teacher attends to.

        mean over B and K of KL(a_t || a_s) = sum over the window of a_t log(a_t / a_s)

    with the attention a_s and a_t of student and teacher, both (B, K, window),
    after Wang et al., "MiniLM: deep self-attention distillation for
    task-agnostic compression of pre-trained transformers", arXiv 2002.10957,
    section 3.1. Raises RecipeError when the windows differ.
    """

    def __init__(self, teacher: Streamed, weight: float = 1.0) -> None:
        super().__init__(weight, teacher)

    def forward(self, batch: Batch, student: Trace, teacher: Trace | None) -> Tensor:
        assert teacher is not None
        windows = student.weights.shape[2], teacher.weights.shape[2]
        if windows[0] != windows[1]:
            raise RecipeError(
                f"the student attends to {windows[0]} steps and the teacher to {windows[1]}; "
                "distilling the attention needs the same window for both"
            )
        # A slot that is still empty weighs exactly 0, for both alike.
        log_student = student.weights.clamp(min=1e-8).log()
        divergence = torch.xlogy(teacher.weights, teacher.weights) - teacher.weights * log_student
        return self.weight * divergence.sum(dim=2).mean()


def _orthogonal(inputs: int, outputs: int, seed: int) -> nn.Linear:
    """A random linear map that keeps lengths, as far as it has enough outputs."""
    linear = nn.Linear(inputs, outputs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        nn.init.orthogonal_(linear.weight, generator=generator)
        linear.bias.zero_()
    return linear
