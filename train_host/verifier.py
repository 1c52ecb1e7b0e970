"""Verifiers: the networks of a cascade that confirm what excites the first.

A verifier begins with the last second or so from its initial state, see
`device/cascade.py`. The tutor serves as one as it is. Another is the teacher,
which judged clips, gone on for a short while with what excites the tutor: the
step of each scene at which that is surest, be it the keyword or what it takes
for it. A short while, since what makes it worth asking is that it still knows
what the tutor has unlearned.

Source of the mining: K.-K. Sung and T. Poggio, "Example-based learning for
view-based human face detection", IEEE Trans. PAMI 20(1), 1998.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from device.cascade import agreed
from device.manifest import Verifier
from train_host.fit import fit
from train_host.methods import Training
from train_host.network import Network, load_checkpoint
from train_host.objectives import margin_of
from train_host.scenes import Batch

Array = npt.NDArray[np.float32]

GATE = 0.7
"""Verifiers listen while the first network's probability is at least this."""
STEPS = 14
"""A verifier begins with so many steps, 1.12 s: two more than its attention looks back."""
WEIGHT = 1.0
"""All networks of a cascade count alike."""

SURE = 8.0
"""Above this margin of the tutor all steps are alike."""
SPREAD = 0.7
"""Of a scene's steps those at which the tutor is surest are drawn most: Gumbel noise of this size
is added to its margins ..."""
WIDE_SPREAD = 20.0
"""... and of this size in a quarter of the scenes, where any step may come."""
WIDE = 0.25


class VerifierObjective:
    """Cross-entropy at one step of each scene, which the verifier hears from its initial state."""

    def __init__(self, network: Network, tutor: Network, seed: int = 0) -> None:
        self.network = network
        self.tutor = tutor
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, batch: Batch) -> Tensor:
        heard = windows(batch.mel, self.steps(batch), STEPS, self.network.shape.stride[1])
        logits, _ = self.network.stream(heard, self.network.initial_state(len(heard)))
        return functional.cross_entropy(logits[:, -1], batch.positive.long())

    @torch.no_grad()
    def steps(self, batch: Batch) -> Tensor:
        """The step of each scene that is judged, (B,): of the keyword where it may be reported."""
        logits, _ = self.tutor.stream(batch.mel, self.tutor.initial_state(len(batch.mel)))
        margin = margin_of(logits).clamp(-SURE, SURE)
        allowed = torch.where(batch.positive[:, None], batch.focus, batch.quiet)
        uniform = torch.rand(margin.shape, generator=self.random).clamp(1e-9, 1 - 1e-7)
        gumbel = -torch.log(-torch.log(uniform))
        wide = torch.rand((len(margin), 1), generator=self.random) < WIDE
        spread = torch.where(wide, WIDE_SPREAD, SPREAD)
        return (margin + spread * gumbel).masked_fill(~allowed, -1e9).argmax(dim=1)


def windows(mel: Tensor, steps: Tensor, length: int, stride: int) -> Tensor:
    """The `length` steps that end with each row's step, (B, length x stride, bands).

    `mel` is (B, frames, bands); before its first frame a row is as quiet as the quietest.
    """
    before = length * stride
    padded = functional.pad(mel, (0, 0, before, 0), value=float(mel.min()))
    return torch.stack(
        [padded[row, (step + 1) * stride :][:before] for row, step in enumerate(steps.tolist())]
    )


@dataclass(frozen=True)
class Confirmation:
    """The verifiers of a cascade as float networks: what the device computes, at once."""

    verifiers: Sequence[tuple[Verifier, Network]]

    @torch.no_grad()
    def __call__(self, probabilities: Array, frames: npt.NDArray[np.floating]) -> Array:
        """The cascade's probability of every step of one stream.

        `probabilities` (steps,) are the first network's on `frames`, log-mel
        (steps x stride, bands) from the start of the stream.
        """
        opinions: dict[int, list[tuple[float, float]]] = {}
        for verifier, network in self.verifiers:
            stride = network.shape.stride[1]
            for first, last in runs(probabilities >= verifier.gate):
                begin = max(0, first + 1 - verifier.steps)
                heard = frames[begin * stride : (last + 1) * stride].astype(np.float32)
                mel = torch.from_numpy(heard)[None]
                logits, _ = network.stream(mel, network.initial_state())
                for k, q in enumerate(torch.softmax(logits[0], 1)[:, 1].tolist(), begin):
                    if k >= first:
                        opinions.setdefault(k, []).append((verifier.weight, q))
        confirmed = probabilities.copy()
        for k, others in opinions.items():
            confirmed[k] = agreed([(1.0, float(probabilities[k])), *others])
        return confirmed


def train_verifier(
    training: Training, steps: int, rate: float, partial: Path
) -> tuple[Network, list[tuple[int, float]]]:
    """The teacher gone on for so many steps, and its curve of (step, mean loss).

    A run that broke off carries on from the checkpoint `partial`.
    """
    assert training.tutor is not None
    network = copy.deepcopy(training.clip_teacher)
    curve = fit(
        "verifier",
        network,
        VerifierObjective(network, training.tutor, training.seed),
        training.scenes,
        steps=steps,
        batch=training.batch,
        rate=rate,
        partial=partial,
        quiet=training.quiet,
    )
    return network, curve


def runs(excited: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, excited, False]))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def numbers(network: Network) -> Verifier:
    """What the manifest says of a verifier."""
    return Verifier(network.state_layout(), GATE, STEPS, WEIGHT)


def read_verifiers(build: Path, record: dict[str, Any]) -> list[tuple[Verifier, Network]]:
    """The verifiers of a student, from its record. Raises CorpusError when one is not there."""
    found = []
    for number, entry in enumerate(record.get("verifiers", []), 1):
        network, _ = load_checkpoint(build / f"verifier_{number}.pt")
        found.append((Verifier(**{**entry, "states": network.state_layout()}), network))
    return found
