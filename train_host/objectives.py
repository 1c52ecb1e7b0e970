"""What each kind of training minimises, for one batch of scenes.

The base models learn as the origin's did: cross-entropy on one-second clips.
The student learns on streams: the step at which it is surest counts, whether
it should have been sure or should not have been. What it learns from a teacher
besides are terms, which `distill` defines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from device.errors import RecipeError
from train_host.network import Network, StreamState, Trace
from train_host.scenes import Batch

POOLED_STEPS = 2
"""The detector averages a few steps, so one step alone must not count."""


class ClipObjective:
    """Cross-entropy of `Network.clip` on what is around each scene's focus."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, batch: Batch) -> Tensor:
        return functional.cross_entropy(self.network.clip(batch.window), batch.positive.long())


class Streamed(Protocol):
    """What runs on streams: a `Network`, or one with its normalisation around it."""

    def initial_state(self, batch: int) -> StreamState: ...

    def trace(self, mel: Tensor, state: StreamState) -> Trace: ...


class Normalised(nn.Module):
    """A network under training, fed with log-mel of mean 0 and deviation 1 in each band.

    A network learns faster from such numbers. `fold_normalisation` then moves
    `mean` and `std`, both (bands,), into its filters.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise(self, mel: Tensor) -> Tensor:
        return (mel - self.mean) / self.std

    def initial_state(self, batch: int) -> StreamState:
        state = self.network.initial_state(batch)
        return state._replace(conv_tail=self.normalise(state.conv_tail))

    def trace(self, mel: Tensor, state: StreamState) -> Trace:
        return self.network.trace(self.normalise(mel), state)


def margin_of(logits: Tensor) -> Tensor:
    """(..., 2) -> (...): the logit of the keyword's probability."""
    return logits[..., 1] - logits[..., 0]


def at_focus(margin: Tensor, focus: Tensor) -> Tensor:
    """(..., B, K) margins and (B, K) mask -> (..., B): the mean of the highest steps of each focus.

    Where there is no focus the value is -50 and means nothing.
    """
    highest = margin.masked_fill(~focus, -1e4).topk(POOLED_STEPS, dim=-1).values
    return highest.clamp(min=-50).mean(dim=-1)


def max_pooling_loss(margin: Tensor, batch: Batch, mean_weight: float = 0.3) -> Tensor:
    """How far the margins (A, B, K) of A alignments are from what the labels ask: a scalar.

        mean over keywords of -log p(highest steps at the focus), at their worst alignment
        + mean over scenes of -log(1 - p(highest quiet step)), at their worst alignment
        + mean_weight x mean over quiet steps of -log(1 - p)

    after Sun et al., "Max-pooling loss training of long short-term memory
    networks for small-footprint keyword spotting", arXiv 1705.02411, who know one
    alignment.
    """
    loudest = margin.masked_fill(~batch.quiet, -1e4).amax(dim=(0, 2)).clamp(min=-50)
    faintest = at_focus(margin, batch.focus).amin(dim=0)
    hits = functional.softplus(-faintest)[batch.positive]
    alarms = functional.softplus(loudest)
    murmur = (functional.softplus(margin) * batch.quiet).sum(2) / batch.quiet.sum(1).clamp(1)
    return hits.mean() + alarms.mean() + mean_weight * murmur.mean()


class Streams:
    """Streams that run on from batch to batch.

    Half the scenes start where a scene of the batch before ended, so that a
    network learns to run on; the other half start a stream. All networks that
    run on one batch go on from the same scenes, so that they hear the same.
    """

    def __init__(self) -> None:
        self.carried: dict[tuple[int, int], StreamState] = {}
        self.turn: tuple[Tensor, Tensor] | None = None

    def begin(self, batch: Batch) -> None:
        """Draws which scene of the batch before each row goes on from, and whether it does."""
        size = len(batch.mel)
        sizes = {len(state.energies) for state in self.carried.values()}
        # Rows are shuffled, so that a scene follows any other.
        self.turn = (torch.randperm(size), torch.rand(size) < 0.5) if sizes == {size} else None

    def run(self, model: Streamed, batch: Batch, skipped: int = 0) -> Trace:
        """The model's trace of the batch; its state is kept for the batch that follows.

        `skipped`: so many frames of each scene are left out at its beginning, less than a
        step, so that the steps fall elsewhere; the last frame makes up for them.
        """
        stream = id(model), skipped
        state = model.initial_state(len(batch.mel))
        if self.turn is not None:
            state = _go_on(state, self.carried[stream], *self.turn)
        mel = batch.mel
        if skipped:
            mel = torch.cat([mel[:, skipped:], mel[:, -1:].expand(-1, skipped, -1)], dim=1)
        trace = model.trace(mel, state)
        self.carried[stream] = StreamState(*(part.detach() for part in trace.state))
        return trace


def _go_on(fresh: StreamState, carried: StreamState, order: Tensor, kept: Tensor) -> StreamState:
    """Where row `kept`, the carried state of row `order`; elsewhere the fresh one."""
    parts = []
    for name, new, old in zip(StreamState._fields, fresh, carried, strict=True):
        rows = 1 if name == "hidden" else 0
        chosen = kept.reshape([-1 if d == rows else 1 for d in range(new.dim())])
        parts.append(torch.where(chosen, old.index_select(rows, order), new))
    return StreamState(*parts)


class Term(nn.Module):
    """One thing to learn from a teacher besides the labels.

    The teacher is no submodule: it is neither trained nor saved with the term.
    """

    def __init__(self, weight: float, streamed: Streamed | None) -> None:
        super().__init__()
        self.weight = weight
        # Within a tuple, where torch does not look for submodules.
        self._streamed = (streamed,)

    @property
    def streamed(self) -> Streamed | None:
        """The teacher whose trace of the student's own scenes the term is to be given."""
        return self._streamed[0]

    def forward(self, batch: Batch, student: Trace, teacher: Trace | None) -> Tensor:
        """A scalar, the term's weight included. `teacher` is the trace of `streamed`."""
        raise NotImplementedError


class StreamObjective(nn.Module):
    """Max-pooling loss on streams, plus the terms of distillation, if any.

    The model hears each scene at so many alignments, its steps beginning at as many
    places within a step, and what it says at the worst of them counts. The terms judge the
    first. A streaming teacher runs once for all the terms that ask for it.
    """

    def __init__(
        self,
        model: Normalised,
        terms: Sequence[Term] = (),
        *,
        mean_weight: float = 0.3,
        alignments: int = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.terms = nn.ModuleList(terms)
        self.mean_weight = mean_weight
        stride = model.network.shape.stride[1]
        self.skipped = range(0, stride, stride // alignments)
        self.teachers = {id(t.streamed): t.streamed for t in terms if t.streamed is not None}
        self.streams = Streams()

    def forward(self, batch: Batch) -> Tensor:
        """The loss. Raises RecipeError when a teacher's step is not as long as the student's."""
        self.streams.begin(batch)
        heard = [self.streams.run(self.model, batch, skipped) for skipped in self.skipped]
        student = heard[0]
        with torch.no_grad():
            traces = {key: self.streams.run(t, batch) for key, t in self.teachers.items()}
        for trace in traces.values():
            if trace.logits.shape != student.logits.shape:
                raise RecipeError(
                    f"the teacher takes {trace.logits.shape[1]} steps where the student takes "
                    f"{student.logits.shape[1]}; give both the same stride in time"
                )
        margins = torch.stack([margin_of(trace.logits) for trace in heard])
        loss = max_pooling_loss(margins, batch, self.mean_weight)
        for term in self.terms:
            loss = loss + term(batch, student, traces.get(id(term.streamed)))
        return loss
