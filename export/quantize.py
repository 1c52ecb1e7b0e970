"""Weight-only int8: each output channel of a weight has its own scale.

Symmetric, round to nearest (Krishnamoorthi, "Quantizing deep convolutional
networks for efficient inference", arXiv 1806.08342, section 2.1). A scale is a
number that float16 can hold, so that files may store it in two bytes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from train_host.network import Network

LARGEST = 127
FINEST = torch.finfo(torch.float16).tiny
"""The smallest scale: what is below it float16 holds with fewer digits."""


@dataclass(frozen=True)
class Int8Weight:
    """A weight as int8 with a float32 scale for each row of its first axis."""

    values: Tensor
    """int8, the weight's shape."""
    scales: Tensor
    """float32, (rows,), each a number of float16."""

    def dequantize(self) -> Tensor:
        """float32, the weight's shape."""
        shape = [-1] + [1] * (self.values.dim() - 1)
        return self.values.float() * self.scales.reshape(shape)


def row_scales(weight: Tensor, largest: int = LARGEST) -> Tensor:
    """(rows,): the scale that puts each row's greatest value on `largest`, in float16's numbers."""
    greatest = weight.detach().abs().flatten(1).amax(1)
    return (greatest / largest).clamp_min(FINEST).half().float()


def quantize_weight(weight: Tensor) -> Int8Weight:
    """The nearest int8 weight."""
    scales = row_scales(weight)
    rows = scales.reshape([-1] + [1] * (weight.dim() - 1))
    return Int8Weight((weight.detach() / rows).round().to(torch.int8), scales)


def quantize_network(network: Network) -> dict[str, Int8Weight]:
    """The int8 form of every weight (not bias) by its name in the network."""
    return {
        name: quantize_weight(parameter)
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1
    }


def quantized_twin(network: Network, weights: dict[str, Int8Weight]) -> Network:
    """A float network that computes with the int8 weights: what every export must equal."""
    twin = copy.deepcopy(network)
    parameters = dict(twin.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight.dequantize())
    return twin.eval()


def payload_bytes(network: Network, weights: dict[str, Int8Weight]) -> int:
    """Bytes of the numbers alone: int8 weights, their scales, float32 biases."""
    biases = sum(4 * p.numel() for name, p in network.named_parameters() if name not in weights)
    return biases + sum(w.values.numel() + 4 * w.scales.numel() for w in weights.values())
