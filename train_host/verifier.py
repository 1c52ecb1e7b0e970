"""Verifiers: the networks of a cascade that confirm what excites the first.

A verifier begins with the last second or so from its initial state, see
`device/cascade.py`. The tutor serves as one, as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from device.cascade import agreed
from device.manifest import Verifier
from train_host.network import Network, load_checkpoint

Array = npt.NDArray[np.float32]

GATE = 0.55
"""Verifiers listen while the first network's probability is at least this."""
STEPS = 14
"""A verifier begins with so many steps, 1.12 s: two more than its attention looks back."""
WEIGHT = 8.0
"""A verifier counts eight times: it is larger and hears voices better than the first network."""
ALIGNMENTS = 2
"""It hears the stream so often, its steps 40 ms apart (docs/decisions/0046-alignments.md)."""


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
            stride, alignments = network.shape.stride[1], verifier.alignments
            silence = np.full_like(frames[:stride], math.log(network.front_end.floor))
            started = np.concatenate([silence, frames])
            lags = [stride // alignments * number for number in range(alignments)]
            share = verifier.weight / alignments
            for first, last in runs(probabilities >= verifier.gate):
                begin = max(0, first + 1 - verifier.steps)
                length = (last + 1 - begin) * stride
                starts = [(begin + 1) * stride - lag for lag in lags]
                heard = np.stack([started[start : start + length] for start in starts])
                mel = torch.from_numpy(heard.astype(np.float32))
                logits, _ = network.stream(mel, network.initial_state(alignments))
                said = torch.softmax(logits, 2)[:, first - begin :, 1].T.tolist()
                for k, each in enumerate(said, first):
                    opinions.setdefault(k, []).extend((share, q) for q in each)
        confirmed = probabilities.copy()
        for k, others in opinions.items():
            confirmed[k] = agreed([(1.0, float(probabilities[k])), *others])
        return confirmed


def runs(excited: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, excited, False]))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def numbers(network: Network) -> Verifier:
    """What the manifest says of a verifier."""
    return Verifier(network.state_layout(), GATE, STEPS, WEIGHT, ALIGNMENTS)


def read_verifiers(build: Path, record: dict[str, Any]) -> list[tuple[Verifier, Network]]:
    """The verifiers of a student, from its record. Raises CorpusError when one is not there."""
    found = []
    for number, entry in enumerate(record.get("verifiers", []), 1):
        network, _ = load_checkpoint(build / f"verifier_{number}.pt")
        found.append((Verifier(**{**entry, "states": network.state_layout()}), network))
    return found
