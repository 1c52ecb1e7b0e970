"""What each kind of training minimises, for one batch of scenes.

The base models learn as the origin's did: cross-entropy on one-second clips.
The student learns on streams: the step at which it is surest counts, whether
it should have been sure (max-pooling loss, Sun et al., "Max-pooling loss
training of long short-term memory networks for small-footprint keyword
spotting", arXiv 1705.02411) or should not have been; what it learns from a
teacher besides is in `distill`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from train_host.distill import Streamed, Term, at_focus, margin_of
from train_host.network import Network, StreamState, Trace
from train_host.scenes import Batch


class ClipObjective:
    """Cross-entropy of `Network.clip` on the second around each scene's focus."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, batch: Batch) -> Tensor:
        return functional.cross_entropy(self.network.clip(batch.window), batch.positive.long())


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


class StreamObjective(nn.Module):
    """Max-pooling loss on streams, plus the terms of distillation, if any.

    Half the scenes start where a scene of the batch before ended, so that the
    network learns to run on; the other half start a stream. A teacher that
    streams hears the very same, and runs once for all the terms that ask for it.
    """

    def __init__(
        self, model: Normalised, terms: Iterable[Term] = (), *, mean_weight: float = 0.3
    ) -> None:
        super().__init__()
        self.model = model
        self.terms = nn.ModuleList(terms)
        self.mean_weight = mean_weight
        teachers: list[Streamed | None] = [term.streamed for term in self.terms]  # type: ignore[misc]
        self.teachers = {id(t): t for t in teachers if t is not None}
        self.carried: dict[int, StreamState] = {}

    def forward(self, batch: Batch) -> Tensor:
        turn = self._turn(len(batch.mel))
        student = self._run(self.model, batch, turn)
        with torch.no_grad():
            traces = {key: self._run(t, batch, turn) for key, t in self.teachers.items()}
        margin = margin_of(student.logits)
        # A scene without a focus has no such step: its value is masked out below.
        pooled = at_focus(margin, batch.focus)
        loudest = margin.masked_fill(~batch.quiet, -1e4).amax(dim=1).clamp(min=-50)
        hits = functional.softplus(-pooled)[batch.positive]
        alarms = functional.softplus(loudest)
        murmur = (functional.softplus(margin) * batch.quiet).sum(1) / batch.quiet.sum(1).clamp(1)
        loss = hits.mean() + alarms.mean() + self.mean_weight * murmur.mean()
        for term in self.terms:
            loss = loss + term(batch, student, pooled, traces.get(id(term.streamed)))
        return loss

    def _turn(self, size: int) -> tuple[Tensor, Tensor] | None:
        """Which scene of the batch before each row goes on from, and whether it does."""
        state = self.carried.get(id(self.model))
        if state is None or len(state.energies) != size:
            return None
        # Rows are shuffled, so that a scene follows any other; every second starts anew.
        return torch.randperm(size), torch.rand(size) < 0.5

    def _run(self, model: Streamed, batch: Batch, turn: tuple[Tensor, Tensor] | None) -> Trace:
        state = model.initial_state(len(batch.mel))
        if turn is not None:
            state = _go_on(state, self.carried[id(model)], *turn)
        trace = model.trace(batch.mel, state)
        self.carried[id(model)] = StreamState(*(part.detach() for part in trace.state))
        return trace


def _go_on(fresh: StreamState, carried: StreamState, order: Tensor, kept: Tensor) -> StreamState:
    """Where row `kept`, the carried state of row `order`; elsewhere the fresh one."""
    parts = []
    for name, new, old in zip(StreamState._fields, fresh, carried, strict=True):
        rows = 1 if name == "hidden" else 0
        chosen = kept.reshape([-1 if d == rows else 1 for d in range(new.dim())])
        parts.append(torch.where(chosen, old.index_select(rows, order), new))
    return StreamState(*parts)
