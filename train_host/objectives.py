"""What each kind of training minimises, for one batch of scenes.

The base models learn as the origin's did: cross-entropy on one-second clips.
The student learns on streams: the step at which it is surest counts, whether
it should have been sure (max-pooling loss, Sun et al., "Max-pooling loss
training of long short-term memory networks for small-footprint keyword
spotting", arXiv 1705.02411) or should not have been; and the teacher's opinion
of the second around the word is distilled into it (Hinton et al., "Distilling
the knowledge in a neural network", arXiv 1503.02531).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train_host.network import Network, StreamState
from train_host.scenes import Batch

POOLED_STEPS = 2
"""The detector averages a few steps, so one step alone must not count."""


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

    def forward(self, mel: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        return self.network.stream(self.normalise(mel), state)


class StreamObjective:
    """Max-pooling loss on streams, plus distillation from a teacher of clips.

    Half the scenes start where a scene of the batch before ended, so that the
    network learns to run on; the other half start a stream.
    """

    def __init__(
        self,
        model: Normalised,
        teacher: Network | None,
        *,
        temperature: float = 2.0,
        distillation: float = 0.5,
        mean_weight: float = 0.3,
    ) -> None:
        self.model = model
        self.teacher = teacher
        self.temperature = temperature
        self.distillation = distillation
        self.mean_weight = mean_weight
        self.carried: StreamState | None = None

    def __call__(self, batch: Batch) -> Tensor:
        state = self._start(len(batch.mel))
        logits, after = self.model(batch.mel, state)
        self.carried = StreamState(*(part.detach() for part in after))
        margin = logits[..., 1] - logits[..., 0]
        at_focus = margin.masked_fill(~batch.focus, -1e4).topk(POOLED_STEPS, dim=1).values
        # A scene without a focus has no such step: its -1e4 is masked out below.
        pooled = at_focus.clamp(min=-50).mean(dim=1)
        loudest = margin.masked_fill(~batch.quiet, -1e4).amax(dim=1).clamp(min=-50)
        hits = functional.softplus(-pooled)[batch.positive]
        alarms = functional.softplus(loudest)
        murmur = (functional.softplus(margin) * batch.quiet).sum(1) / batch.quiet.sum(1).clamp(1)
        loss = hits.mean() + alarms.mean() + self.mean_weight * murmur.mean()
        if self.teacher is not None and self.distillation:
            loss = loss + self.distillation * self._distil(batch, pooled)
        return loss

    def _start(self, size: int) -> StreamState:
        fresh = self.model.initial_state(size)
        if self.carried is None or len(self.carried.energies) != size:
            return fresh
        # Rows are shuffled, so that a scene follows any other; every second starts anew.
        order = torch.randperm(size)
        kept = torch.rand(size) < 0.5
        parts = []
        for name, new, old in zip(StreamState._fields, fresh, self.carried, strict=True):
            rows = 1 if name == "hidden" else 0
            chosen = kept.reshape([-1 if d == rows else 1 for d in range(new.dim())])
            parts.append(torch.where(chosen, old.index_select(rows, order), new))
        return StreamState(*parts)

    def _distil(self, batch: Batch, pooled: Tensor) -> Tensor:
        """Soft labels on the focus; a teacher counts as far as it is right itself."""
        assert self.teacher is not None
        with torch.no_grad():
            logits = self.teacher.clip(batch.window)
            margin = logits[:, 1] - logits[:, 0]
            right = torch.sigmoid(torch.where(batch.positive, margin, -margin))
            target = torch.sigmoid(margin / self.temperature)
        loss = functional.binary_cross_entropy_with_logits(
            pooled / self.temperature, target, reduction="none"
        )
        weight = right * batch.has_focus
        return self.temperature**2 * (loss * weight).sum() / weight.sum().clamp(1)
