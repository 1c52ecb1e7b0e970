"""Writes the network as an ONNX graph of one step with explicit state.

torch's own exporters split the GRU or need a newer opset, so the graph is
written from the module with onnx.helper. Opset 17 and IR version 8 load in
every ONNX Runtime from 1.22 on. Int8 weights stay int8 in the file and pass
through DequantizeLinear, which a runtime folds when it loads the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from device.manifest import FrontEnd
from export.quantize import Int8Weight
from train_host.frontend import mel_filterbank
from train_host.network import FullConvolution, Network, SeparableConvolution

OPSET = 17
IR_VERSION = 8

Array = npt.NDArray[np.generic]


class GraphWriter:
    """Collects nodes and constants; names are short because they cost bytes."""

    def __init__(self, network: Network, weights: dict[str, Int8Weight]) -> None:
        self.network = network
        self.parameters = dict(network.named_parameters())
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def constant(self, value: Array) -> str:
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or self.name()
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def bias(self, parameter: str) -> str:
        return self.constant(self.parameters[parameter].detach().numpy())

    def weight(self, parameter: str, lead: bool = False) -> str:
        """A weight as float: a constant, or int8 through DequantizeLinear.

        `lead` adds an axis in front, as the GRU operator wants it.
        """

        def arrange(array: Array) -> Array:
            return array[None] if lead else array

        if parameter not in self.weights:
            return self.constant(arrange(self.parameters[parameter].detach().numpy()))
        quantized = self.weights[parameter]
        return self.node(
            "DequantizeLinear",
            self.constant(arrange(quantized.values.numpy())),
            self.constant(quantized.scales.numpy()),
            axis=int(lead),
        )

    def convolution(self, value: str, prefix: str, **attributes: Any) -> str:
        """A convolution whose weight and bias, if any, the network keeps under `prefix`."""
        bias = f"{prefix}.bias"
        biases = [self.bias(bias)] if bias in self.parameters else []
        return self.node("Conv", value, self.weight(f"{prefix}.weight"), *biases, **attributes)

    def gru_gates(self, name: str) -> None:
        """Reorders a GRU parameter's rows from torch's (r, z, n) to ONNX's (z, r, n)."""
        hidden = self.network.shape.hidden
        order = np.r_[hidden : 2 * hidden, 0:hidden, 2 * hidden : 3 * hidden]
        if name in self.weights:
            old = self.weights[name]
            self.weights = {**self.weights, name: Int8Weight(old.values[order], old.scales[order])}
        self.parameters[name] = self.parameters[name][order]  # type: ignore[assignment]


def write_network(network: Network, weights: dict[str, Int8Weight]) -> onnx.ModelProto:
    """One step: log-mel `mel` (1, frames, bands) and the states to `probability` (1,).

    With no `weights` the graph is float32 throughout.
    """
    graph = GraphWriter(network, weights)
    inputs = [("mel", (1, network.shape.stride[1], network.front_end.mel_bands))]
    _write_step(graph, "mel")
    return _model(graph, inputs + _states(network), [])


def write_with_front_end(network: Network, weights: dict[str, Int8Weight]) -> onnx.ModelProto:
    """The same step from samples: `samples` (1, step) and a further state, `audio_tail`.

    The Fourier transform is a convolution with windowed cosines and sines,
    which is exact and, in ONNX Runtime, faster than the STFT operator.
    """
    graph = GraphWriter(network, weights)
    front_end = network.front_end
    step = network.shape.stride[1] * front_end.hop
    graph.node("Concat", "audio_tail", "samples", axis=1, output="audio")
    last = graph.constant(np.array([-front_end.tail], np.int64))
    end = graph.constant(np.array([np.iinfo(np.int64).max], np.int64))
    axis = graph.constant(np.array([1], np.int64))
    graph.node("Slice", "audio", last, end, axis, output="audio_tail_next")
    row = graph.node("Unsqueeze", "audio", axis)
    spectrum = graph.node(
        "Conv", row, graph.constant(fourier_filters(front_end)), strides=[front_end.hop]
    )
    real, imaginary = graph.name(), graph.name()
    graph.nodes.append(helper.make_node("Split", [spectrum], [real, imaginary], axis=1))
    power = graph.node(
        "Add", graph.node("Mul", real, real), graph.node("Mul", imaginary, imaginary)
    )
    mel = graph.node("MatMul", graph.constant(mel_filterbank(front_end).numpy().T), power)
    bounds = [graph.constant(np.array(v, np.float32)) for v in (front_end.floor, front_end.ceiling)]
    log_mel = graph.node("Log", graph.node("Clip", mel, *bounds))
    _write_step(graph, graph.node("Transpose", log_mel, perm=[0, 2, 1]))
    inputs = [("samples", (1, step)), ("audio_tail", (1, front_end.tail)), *_states(network)]
    return _model(graph, inputs, [("audio_tail_next", (1, front_end.tail))])


def fourier_filters(front_end: FrontEnd) -> npt.NDArray[np.float32]:
    """(2 x bins, 1, window): Hann-windowed cosines, then sines."""
    points = front_end.window
    time, bins = np.arange(points), np.arange(points // 2 + 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / points)
    angle = 2 * np.pi * np.outer(bins, time) / points
    return np.concatenate([np.cos(angle) * window, np.sin(angle) * window])[:, None].astype(
        np.float32
    )


def _write_step(graph: GraphWriter, mel: str) -> None:
    network = graph.network
    axis1 = graph.constant(np.array([1], np.int64))
    end = graph.constant(np.array([np.iinfo(np.int64).max], np.int64))
    step = graph.constant(np.array([network.shape.stride[1]], np.int64))
    frames = graph.node("Concat", "conv_tail", mel, axis=1)
    graph.node("Slice", frames, step, end, axis1, output="conv_tail_next")
    features = _write_convolution(graph, frames)
    if network.shape.inputs is not None:
        taken = graph.constant(np.array(network.shape.inputs, np.int64))
        features = graph.node("Gather", features, taken, axis=2)
    sequence = _write_gru(graph, features)

    def slide(window: str, newest: str) -> None:
        """The window without its oldest slot, and the newest one."""
        younger = graph.node("Slice", window, axis1, end, axis1)
        graph.node("Concat", younger, newest, axis=1, output=f"{window}_next")

    slide("values", sequence)
    slide("energies", _write_energy(graph, sequence))
    weights = graph.node("Softmax", "energies_next", axis=1)
    context = graph.node("MatMul", graph.node("Unsqueeze", weights, axis1), "values_next")
    logits = _write_linear(graph, graph.node("Squeeze", context, axis1), "classifier")
    both = graph.node("Softmax", logits, axis=1)
    keyword = graph.node("Slice", both, axis1, end, axis1)
    graph.node("Squeeze", keyword, axis1, output="probability")


def _write_convolution(graph: GraphWriter, frames: str) -> str:
    """(1, frames, bands) -> (1, 1, features) for one step."""
    network = graph.network
    bands_first = graph.node("Transpose", frames, perm=[0, 2, 1])
    if isinstance(network.convolution, SeparableConvolution):
        bands = network.front_end.mel_bands
        depthwise = graph.convolution(bands_first, "convolution.depthwise", group=bands)
        pointwise = graph.convolution(depthwise, "convolution.pointwise")
        return graph.node("Transpose", graph.node("Relu", pointwise), perm=[0, 2, 1])
    assert isinstance(network.convolution, FullConvolution)
    axis1 = graph.constant(np.array([1], np.int64))
    image = graph.node("Unsqueeze", bands_first, axis1)
    full = graph.convolution(image, "convolution.conv", strides=list(network.shape.stride))
    return graph.node("Reshape", full, graph.constant(np.array([1, 1, -1], np.int64)))


def _write_gru(graph: GraphWriter, sequence: str) -> str:
    """(1, 1, features) -> (1, 1, hidden), and the output `hidden_next`."""
    network = graph.network
    layers: list[str] = []
    for layer in range(network.shape.layers):
        names = [
            f"gru.{kind}_l{layer}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        for name in names:
            graph.gru_gates(name)
        input_bias, hidden_bias = (graph.parameters[n].detach().numpy() for n in names[2:])
        if network.shape.layers == 1:
            before = "hidden"
        else:
            index = graph.constant(np.array([layer], np.int64))
            before = graph.node("Gather", "hidden", index, axis=0)
        after = graph.name()
        graph.nodes.append(
            helper.make_node(
                "GRU",
                [
                    sequence,
                    graph.weight(names[0], lead=True),
                    graph.weight(names[1], lead=True),
                    graph.constant(np.concatenate([input_bias, hidden_bias])[None]),
                    "",
                    before,
                ],
                ["", after],
                hidden_size=network.shape.hidden,
                linear_before_reset=1,
            )
        )
        layers.append(after)
        sequence = after  # (1 direction, 1 stream, hidden) reads as a sequence of one
    if len(layers) == 1:
        graph.node("Identity", layers[0], output="hidden_next")
    else:
        graph.node("Concat", *layers, axis=0, output="hidden_next")
    return layers[-1]


def _write_energy(graph: GraphWriter, sequence: str) -> str:
    """(1, 1, hidden) -> (1, 1)."""
    prefixes = ["energy.0", "energy.2"] if graph.network.shape.attention == "deep" else ["energy"]
    value = graph.node("Squeeze", sequence, graph.constant(np.array([1], np.int64)))
    for prefix in prefixes:
        if prefix == "energy.2":
            value = graph.node("Tanh", value)
        value = _write_linear(graph, value, prefix)
    return value


def _write_linear(graph: GraphWriter, value: str, prefix: str) -> str:
    """(1, inputs) -> (1, outputs).

    Gemm, not MatMul: by default ONNX Runtime fuses an int8 weight and MatMul
    into a product that rounds the activations too, 1e-3 off in probability.
    """
    return graph.node(
        "Gemm", value, graph.weight(f"{prefix}.weight"), graph.bias(f"{prefix}.bias"), transB=1
    )


def _states(network: Network) -> list[tuple[str, tuple[int, ...]]]:
    return [(state.name, state.shape) for state in network.state_layout()]


def _model(
    graph: GraphWriter,
    inputs: list[tuple[str, tuple[int, ...]]],
    more_outputs: list[tuple[str, tuple[int, ...]]],
) -> onnx.ModelProto:
    outputs = [("probability", (1,)), *more_outputs]
    outputs += [(f"{name}_next", shape) for name, shape in _states(graph.network)]

    def describe(values: list[tuple[str, tuple[int, ...]]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in values]

    body = helper.make_graph(
        graph.nodes, "kws", describe(inputs), describe(outputs), _shared(graph)
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="kws-pi"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def _shared(graph: GraphWriter) -> list[onnx.TensorProto]:
    """The constants with equal ones merged; the nodes are renamed to match."""
    kept: dict[tuple[int, tuple[int, ...], bytes], onnx.TensorProto] = {}
    renamed: dict[str, str] = {}
    for constant in graph.constants:
        key = (constant.data_type, tuple(constant.dims), constant.raw_data)
        renamed[constant.name] = kept.setdefault(key, constant).name
    for node in graph.nodes:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
    return list(kept.values())
