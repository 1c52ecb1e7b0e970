"""The forms in which a trained network can be stored."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.graph import write_network
from export.half import half_twin, write_half
from export.quantize import Int8Weight, payload_bytes, quantize_network, quantized_twin
from export.torchscript import dynamic_twin, save, write_dynamic
from train_host.macs import parameters
from train_host.network import Network


@dataclass(frozen=True)
class Stored:
    """A network in the form in which it is stored."""

    network: Network
    """Its numbers as they are stored, but for those in `weights`."""
    weights: dict[str, Int8Weight]
    """Weights that are stored as int8."""
    twin: Network
    """A network that computes with the stored numbers."""
    onnx: bytes
    """The file that the device loads."""
    payload: int
    """Bytes of the numbers alone."""


def _float32(network: Network) -> Stored:
    onnx = write_network(network, {}).SerializeToString()
    return Stored(network, {}, network, onnx, 4 * parameters(network))


def _float16(network: Network) -> Stored:
    half = half_twin(network)
    return Stored(half, {}, half, write_half(half).SerializeToString(), 2 * parameters(network))


def _int8(network: Network) -> Stored:
    network = half_twin(network, biases_only=True)
    weights = quantize_network(network)
    onnx = write_network(network, weights).SerializeToString()
    twin = quantized_twin(network, weights)
    return Stored(network, weights, twin, onnx, payload_bytes(network, weights))


STORAGE: dict[str, Callable[[Network], Stored]] = {
    "float32": _float32,
    "float16": _float16,
    "int8": _int8,
    "dynamic": _int8,
}
"""By name. `dynamic` is a TorchScript file; the ONNX file beside it has int8 weights."""


def deployed(network: Network, storage: str) -> tuple[Network, int]:
    """The network that computes as the device does, and the bytes of the file it loads there.

    For `dynamic` that is the TorchScript file whose activations are quantized too.
    """
    if storage != "dynamic":
        stored = STORAGE[storage](network)
        return stored.twin, len(stored.onnx)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dynamic.ts"
        save(write_dynamic(network), path)
        return dynamic_twin(network), path.stat().st_size
