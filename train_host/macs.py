"""Multiply-accumulates (MACs) of a network, counted on its float form.

The rules are those of the `thop` counter, with which the origin's 432,672 for
the hidden-32 base were counted, so that ratios compare: convolutions and
linear layers by their products; a GRU by its products, its bias additions and
the elementwise products of its gates; softmax, tanh and the weighted sum of
the attention are left out.
"""

from __future__ import annotations

import io
import math
from typing import Any, NamedTuple

import onnx
import torch
from torch import nn

from device.errors import ExportError
from device.manifest import FrontEnd
from train_host.network import Network

CLIP_FRAMES = 101
"""Frames of one second as the origin cuts it (centred frames)."""


def count_macs(network: Network, frames: int = CLIP_FRAMES) -> int:
    """MACs of one clip of `frames` log-mel frames through `network.clip`."""
    total = 0

    def add(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal total
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.GRU):
            steps = output[0].shape[1]
            total += steps * sum(
                _gru_cell_macs(
                    module.input_size if layer == 0 else module.hidden_size, module.hidden_size
                )
                for layer in range(module.num_layers)
            )

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    try:
        with torch.no_grad():
            network.clip(torch.zeros(1, frames, network.front_end.mel_bands))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def count_stream_macs(network: Network) -> float:
    """MACs for one second of stream: 12.5 steps, the attention's one new energy each."""
    step = network.shape.stride[1]
    return (count_macs(network, network.shape.kernel[1]) * network.front_end.sample_rate) / (
        step * network.front_end.hop
    )


class GraphMacs(NamedTuple):
    """What `count_macs` and `count_stream_macs` give, counted on the exported graph."""

    clip: int
    stream_second: float


def count_graph_macs(model: onnx.ModelProto, front_end: FrontEnd) -> GraphMacs:
    """MACs of a network exported by `export.graph.write_network`, by the same rules.

    The graph computes one step. In a clip the convolution, the GRU and the
    energies run at every step; what follows the attention's window runs once.
    Raises ExportError for another graph.
    """
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {constant.name: list(constant.dims) for constant in graph.initializer}
    each_step = after_attention = 0
    pooled = {"energies_next", "values_next"}
    for node in graph.node:
        macs = _node_macs(node, shapes)
        if pooled.intersection(node.input):
            pooled.update(node.output)
            after_attention += macs
        else:
            each_step += macs
    if not {"mel", "conv_tail", "energies_next"} <= shapes.keys():
        raise ExportError("its MACs cannot be counted: it is no network that `make export` wrote")
    step, tail = shapes["mel"][1], shapes["conv_tail"][1]
    steps = (CLIP_FRAMES - tail - step) // step + 1
    a_second = front_end.sample_rate / (step * front_end.hop)
    return GraphMacs(steps * each_step + after_attention, (each_step + after_attention) * a_second)


def _node_macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type not in ("Conv", "Gemm", "GRU"):
        return 0
    weight = shapes[node.input[1]]
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]]) * math.prod(weight[1:])
    if node.op_type == "Gemm":
        return math.prod(weight)
    return _gru_cell_macs(weight[2], shapes[node.input[2]][2])


def front_end_macs(front_end: FrontEnd, frames: int = CLIP_FRAMES) -> int:
    """Real multiplications of the log-mel front end for a clip.

    Windowing, a real FFT taken as n/2 log2(n) complex products of four real
    ones over half the points, the power, and the non-zero mel weights.
    """
    from train_host.frontend import mel_filterbank

    points = front_end.window
    fft = round(4 * (points / 4) * torch.log2(torch.tensor(float(points))).item())
    power = 2 * (points // 2 + 1)
    mel = int((mel_filterbank(front_end) != 0).sum())
    return frames * (points + fft + power + mel)


def _gru_cell_macs(inputs: int, hidden: int) -> int:
    products = (inputs + hidden) * hidden
    gate = products + hidden + 2 * hidden  # the sum of both halves, two biases
    return 3 * gate + hidden + 3 * hidden  # r * n, then (1 - z) * n + z * h


def parameters(network: Network) -> int:
    return sum(p.numel() for p in network.parameters())


def state_dict_bytes(network: Network) -> int:
    """Bytes of the network as torch saves its state dict."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.tell()
