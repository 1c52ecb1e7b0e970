"""Exports a trained student, behind the gate.

    python -m export --build build/sheila

Reads student.pt, base.pt and teacher.pt and writes KEYWORD.onnx,
KEYWORD.frontend.onnx, KEYWORD.ts, KEYWORD.buffer_{1,2,3}.ts,
KEYWORD.dynamic.ts and the manifest KEYWORD.json, or nothing at all; the
dynamic form alone is left out where it does not detect the same; and the
reference networks as base.onnx, base.int8.onnx and teacher.onnx.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from device.errors import ExportError, KwsPiError
from device.manifest import Detection, Manifest, describe_file
from export.gate import check_dynamic, check_exports
from export.graph import write_network, write_with_front_end
from export.quantize import quantize_network, quantized_twin
from export.torchscript import with_buffer, write_dynamic, write_streaming
from train_host.network import Network, load_checkpoint

BUFFERS = (1, 2, 3)
TRAINING_KEYS = (
    "corpus",
    "clips",
    "keyword_clips",
    "effort",
    "seed",
    "expected",
    "seconds",
    "torch",
    "teacher",
)

console = Console()


def export_student(build: Path) -> Path:
    """Writes the student's files into `build` and returns the manifest's path.

    Raises ExportError when a checkpoint is missing or a file fails the gate.
    """
    network, record = read(build, "student")
    keyword = record["keyword"]
    weights = quantize_network(network)
    twin = quantized_twin(network, weights)
    longer = {f"ts_buffer_{b}": with_buffer(network, b) for b in BUFFERS}
    with tempfile.TemporaryDirectory(dir=build, prefix="export-") as folder:
        draft = Path(folder)
        names = {
            "onnx": f"{keyword}.onnx",
            "frontend_onnx": f"{keyword}.frontend.onnx",
            "ts": f"{keyword}.ts",
            **{f"ts_buffer_{b}": f"{keyword}.buffer_{b}.ts" for b in BUFFERS},
            "dynamic_ts": f"{keyword}.dynamic.ts",
        }
        paths = {role: draft / name for role, name in names.items()}
        paths["onnx"].write_bytes(write_network(network, weights).SerializeToString())
        paths["frontend_onnx"].write_bytes(
            write_with_front_end(network, weights).SerializeToString()
        )
        torch.jit.save(write_streaming(network, weights), paths["ts"])
        for role, variant in longer.items():
            torch.jit.save(write_streaming(variant, weights), paths[role])
        torch.jit.save(write_dynamic(twin), paths["dynamic_ts"])
        manifest = Manifest(
            keyword=keyword,
            front_end=network.front_end,
            step_samples=network.shape.stride[1] * network.front_end.hop,
            states=network.state_layout(),
            detection=Detection(**record["detection"]),
            files={role: describe_file(path) for role, path in paths.items()},
            training={key: record[key] for key in TRAINING_KEYS if key in record},
            figures={},
        )
        manifest_path = draft / f"{keyword}.json"
        manifest.write(manifest_path)
        try:
            difference = check_dynamic(paths["dynamic_ts"], manifest, twin)
            console.print(
                f"  dynamic_ts         differs from the network by {difference:.1e} at most"
            )
        except ExportError as error:
            # Its activations are rounded, so that a keyword close to the threshold may fall
            # on the other side. The exact files are none the worse.
            console.print(f"[yellow]left out:[/] {error}", highlight=False, soft_wrap=True)
            del paths["dynamic_ts"]
            files = {role: manifest.files[role] for role in paths}
            manifest = dataclasses.replace(manifest, files=files)
            manifest.write(manifest_path)
            (build / names["dynamic_ts"]).unlink(missing_ok=True)
        twins = {role: quantized_twin(variant, weights) for role, variant in longer.items()}
        for name, difference in check_exports(manifest_path, manifest, twin, twins).items():
            console.print(f"  {name:<18} differs from the network by {difference:.1e} at most")
        for path in [*paths.values(), manifest_path]:
            path.replace(build / path.name)
    return build / f"{keyword}.json"


def export_references(build: Path) -> None:
    """The base and the teacher as ONNX, to measure beside the student."""
    base, _ = read(build, "base")
    weights = quantize_network(base)
    (build / "base.onnx").write_bytes(write_network(base, {}).SerializeToString())
    (build / "base.int8.onnx").write_bytes(write_network(base, weights).SerializeToString())
    teacher, _ = read(build, "teacher")
    (build / "teacher.onnx").write_bytes(write_network(teacher, {}).SerializeToString())


def read(build: Path, name: str) -> tuple[Network, dict[str, Any]]:
    """A checkpoint of the build folder. Raises ExportError when it is not there."""
    path = build / f"{name}.pt"
    if not path.is_file():
        raise ExportError(f"{path}: no such checkpoint; run `make train` first")
    return load_checkpoint(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Exports a trained student, behind the gate.")
    parser.add_argument("--build", type=Path, required=True, help="folder of the checkpoints")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as on the device; two would wait for each other
    try:
        path = export_student(args.build)
        export_references(args.build)
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    console.print(f"Exported: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
