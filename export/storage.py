"""The forms in which a trained network can be stored, and what each costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from export.graph import write_network
from export.half import half_twin, write_half
from export.quantize import quantize_network, quantized_twin
from export.torchscript import dynamic_twin, save, write_dynamic
from train_host.network import Network


def _float32(network: Network) -> tuple[Network, int]:
    return network, len(write_network(network, {}).SerializeToString())


def _float16(network: Network) -> tuple[Network, int]:
    return half_twin(network), len(write_half(network).SerializeToString())


def _int8(network: Network) -> tuple[Network, int]:
    weights = quantize_network(network)
    return quantized_twin(network, weights), len(
        write_network(network, weights).SerializeToString()
    )


def _dynamic(network: Network) -> tuple[Network, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dynamic.ts"
        save(write_dynamic(network), path)
        return dynamic_twin(network), path.stat().st_size


STORAGE: dict[str, Callable[[Network], tuple[Network, int]]] = {
    "float32": _float32,
    "float16": _float16,
    "int8": _int8,
    "dynamic": _dynamic,
}
"""By name: takes a network and gives the one that computes with the stored numbers, and the bytes
of the file that the device loads (.onnx; of `dynamic`, which ONNX has no counterpart for here,
TorchScript)."""
