"""Writes `MODEL.npz`, the file of the numpy engine, from the ONNX network.

    python -m export.npz models/sheila.json ...

does so for models that were exported before, behind the same gate, and enters
the file into their manifests.

The arrays, each an int8 or float weight and, where it is int8, the scale of
each of its rows as `NAME.scale`; floats take two bytes where that loses nothing:

* `depthwise` (bands, frames), `pointwise` (channels, bands) and
  `pointwise.bias`; or `convolution` (channels, bands under the filter, frames),
  `convolution.bias` and `stride` (1,), in bands;
* `inputs`: which features the GRU takes, channel by channel; absent, all;
* `gru.LAYER.input` (3 units, features), `gru.LAYER.recurrent` (3 units, units)
  and `gru.LAYER.bias` (2, 3 units), the biases of both; the rows are those of
  the update gate, the reset gate and the candidate;
* `energy.hidden` (width, units) and its bias where the attention is deep;
  `energy` (1, units or width) and its bias;
* `classifier` (2, units) and its bias.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from rich.console import Console

from device.errors import ExportError, KwsPiError
from device.manifest import describe_file, read_manifest
from export.gate import check_npz

Array = npt.NDArray[np.generic]

console = Console()


def npz_bytes(model: onnx.ModelProto) -> bytes:
    """The file for a network that `export.graph.write_network` wrote.

    The same network gives the same bytes. Raises ExportError for another graph.
    """
    file = io.BytesIO()
    arrays = {name: _narrow(array) for name, array in network_arrays(model).items()}
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _narrow(array: Array) -> Array:
    """The array as float16 if that holds each of its numbers."""
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half, array) else array


def network_arrays(model: onnx.ModelProto) -> dict[str, Array]:
    """The arrays by name. Raises ExportError when the graph is none of ours."""
    reader = _Reader(model.graph)
    try:
        return reader.read()
    except (KeyError, IndexError, ValueError) as error:
        raise ExportError(f"it is no network that `make export` wrote ({error})") from error


class _Reader:
    """Finds the weights in a graph by the nodes that use them."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._nodes = list(graph.node)
        self._constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
        self._made_by = {output: node for node in self._nodes for output in node.output}
        self._arrays: dict[str, Array] = {}

    def read(self) -> dict[str, Array]:
        self._convolution()
        for layer, node in enumerate(self._of("GRU")):
            _, weight, recurrent, bias, *_ = node.input
            self._weight(f"gru.{layer}.input", weight, 0)
            self._weight(f"gru.{layer}.recurrent", recurrent, 0)
            self._weight(f"gru.{layer}.bias", bias, 0)
            name = f"gru.{layer}.bias"
            self._arrays[name] = self._arrays[name].reshape(2, -1)
        *energies, classifier = self._of("Gemm")
        names = ["energy.hidden", "energy"][-len(energies) :]
        for name, node in zip([*names, "classifier"], [*energies, classifier], strict=True):
            self._weight(name, node.input[1])
            self._weight(f"{name}.bias", node.input[2])
        return self._arrays

    def _convolution(self) -> None:
        convolutions = self._of("Conv")
        if len(convolutions) == 2:
            depthwise, pointwise = convolutions
            self._weight("depthwise", depthwise.input[1], 1)
            self._weight("pointwise", pointwise.input[1], 2)
            self._weight("pointwise.bias", pointwise.input[2])
        else:
            (full,) = convolutions
            self._weight("convolution", full.input[1], 1)
            self._weight("convolution.bias", full.input[2])
            strides = {a.name: list(a.ints) for a in full.attribute}["strides"]
            self._arrays["stride"] = np.array(strides[:1], np.int64)
        features = [node for node in self._of("Gather") if node.input[0] != "hidden"]
        for node in features:
            self._arrays["inputs"] = self._constants[node.input[1]]

    def _of(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self._nodes if node.op_type == kind]

    def _weight(self, name: str, value: str, drop: int | None = None) -> None:
        """Keeps a weight as the graph holds it, without the axis `drop` of length 1."""
        node = self._made_by.get(value)
        if node is None:
            stored = self._constants[value]
        else:
            stored = self._constants[node.input[0]]
            if node.op_type == "DequantizeLinear":
                self._arrays[f"{name}.scale"] = self._constants[node.input[1]]
        self._arrays[name] = stored if drop is None else stored.squeeze(drop)


def add_npz(path: Path) -> float:
    """Writes the npz file beside a manifest and enters it there.

    Returns the largest difference in probability from the network in ONNX
    Runtime on the gate's speech. Raises ManifestError for a model that cannot
    be used, and ExportError when it is none of ours or differs by too much;
    nothing is written then.
    """
    manifest = read_manifest(path)
    network = manifest.file(path, "onnx")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="npz-") as folder:
        draft = Path(folder) / path.name
        npz = draft.with_suffix(".npz")
        try:
            npz.write_bytes(npz_bytes(onnx.load(str(network))))
        except ExportError as error:
            raise ExportError(f"{network}: {error}") from error
        (draft.parent / network.name).write_bytes(network.read_bytes())
        files = {role: entry for role, entry in manifest.files.items() if role != "npz"}
        entries = {"onnx": files.pop("onnx"), "npz": describe_file(npz), **files}
        manifest = dataclasses.replace(manifest, files=entries)
        manifest.write(draft)
        difference = check_npz(draft, manifest)
        npz.replace(path.with_suffix(".npz"))
        draft.replace(path)
    return difference


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Adds the numpy engine's file to exported models.")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.json")
    args = parser.parse_args(None if arguments is None else list(arguments))
    try:
        for path in args.models:
            difference = add_npz(path)
            size = path.with_suffix(".npz").stat().st_size
            console.print(
                f"{path.with_suffix('.npz')}: {size:,} bytes, differs from ONNX Runtime by "
                f"{difference:.1e} at most",
                highlight=False,
                soft_wrap=True,
            )
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
