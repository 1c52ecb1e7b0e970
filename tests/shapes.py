"""Shapes, networks and clips that several tests share."""

import dataclasses

import torch

from train_host.corpus import Corpus, read_embedded
from train_host.network import Network, Shape

STUDENT = Shape("separable", channels=20, hidden=16, layers=1, attention="flat")
"""A small streaming network."""
PRUNED = Shape("full", 6, 20, 1, "deep", attention_width=5, inputs=tuple(range(1, 90, 3)))
"""What structured pruning leaves of a full one."""


def random_network(shape: Shape, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(shape).eval()


def random_mel(steps: int, seed: int = 0, streams: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(streams, steps * 8, 40, generator=generator) * 3 - 6


def few_embedded_clips() -> Corpus:
    """The embedded corpus with a few clips of each split."""
    corpus = read_embedded()
    chosen = []
    for split in ("training", "validation"):
        clips = corpus.of(split)
        chosen += [c for c in clips if c.word == "sheila"][:6]
        chosen += [c for c in clips if c.word != "sheila"][:12]
    return dataclasses.replace(corpus, clips=tuple(chosen))
