"""Exports a trained student, behind the gate.

    python -m export --build build/sheila

Reads student.pt, base.pt and teacher.pt and writes KEYWORD.onnx, KEYWORD.npz,
KEYWORD.frontend.onnx, KEYWORD.ts, KEYWORD.buffer_{1,2,3}.ts,
KEYWORD.dynamic.ts and the manifest KEYWORD.json, or nothing at all; the
dynamic form alone is left out where it does not detect the same; and the
reference networks as base.onnx, base.int8.onnx, base.ts and teacher.onnx.
Files of the other sizes are named KEYWORD-small.* and KEYWORD-large.*; the
verifiers of the latter are KEYWORD-large.verifier-1.{onnx,npz} and so on.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
from rich.console import Console

from device.errors import ExportError, KwsPiError
from device.manifest import Detection, Manifest, describe_file
from export.gate import check_dynamic, check_exports, check_verifiers, gate_speech, offline
from export.graph import write_network, write_with_front_end
from export.npz import npz_bytes
from export.quantize import quantize_network, quantized_twin
from export.storage import STORAGE
from export.torchscript import save, with_buffer, write_dynamic, write_streaming
from train_host.corpus import read_list
from train_host.network import Network, load_checkpoint
from train_host.sizes import model_name
from train_host.verifier import Confirmation, read_verifiers

BUFFERS = (1, 2, 3)
TRAINING_KEYS = (
    "size",
    "recipe",
    "storage",
    "corpus",
    "clips",
    "keyword_clips",
    "effort",
    "seed",
    "fold",
    "folds",
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
    name = model_name(keyword, record.get("size", "tiny"))
    storage = record.get("storage", "int8")
    stored = STORAGE[storage](network)
    network, weights, twin = stored.network, stored.weights, stored.twin
    longer = {f"ts_buffer_{b}": with_buffer(network, b) for b in BUFFERS}
    with tempfile.TemporaryDirectory(dir=build, prefix="export-") as folder:
        draft = Path(folder)
        names = {
            "onnx": f"{name}.onnx",
            "npz": f"{name}.npz",
            "frontend_onnx": f"{name}.frontend.onnx",
            "ts": f"{name}.ts",
            **{f"ts_buffer_{b}": f"{name}.buffer_{b}.ts" for b in BUFFERS},
            "dynamic_ts": f"{name}.dynamic.ts",
        }
        paths = {role: draft / file for role, file in names.items()}
        paths["onnx"].write_bytes(stored.onnx)
        paths["npz"].write_bytes(npz_bytes(onnx.load_from_string(stored.onnx)))
        paths["frontend_onnx"].write_bytes(
            write_with_front_end(network, weights).SerializeToString()
        )
        save(write_streaming(network, weights), paths["ts"])
        for role, variant in longer.items():
            save(write_streaming(variant, weights), paths[role])
        save(write_dynamic(twin), paths["dynamic_ts"])
        verifiers = read_verifiers(build, record)
        twins_of_verifiers = {}
        for number, (_, verifier) in enumerate(verifiers, 1):
            prefix, stage = f"verifier_{number}_", STORAGE["int8"](verifier)
            twins_of_verifiers[prefix] = stage.twin
            stem = f"{name}.verifier-{number}"
            paths[f"{prefix}onnx"] = draft / f"{stem}.onnx"
            paths[f"{prefix}onnx"].write_bytes(stage.onnx)
            paths[f"{prefix}npz"] = draft / f"{stem}.npz"
            paths[f"{prefix}npz"].write_bytes(npz_bytes(onnx.load_from_string(stage.onnx)))
        manifest = Manifest(
            keyword=keyword,
            front_end=network.front_end,
            step_samples=network.shape.stride[1] * network.front_end.hop,
            states=network.state_layout(),
            detection=Detection(**record["detection"]),
            files={role: describe_file(path) for role, path in paths.items()},
            verifiers=tuple(numbers for numbers, _ in verifiers),
            training={key: record[key] for key in TRAINING_KEYS if key in record},
            figures={},
        )
        manifest_path = draft / f"{name}.json"
        manifest.write(manifest_path)
        listed = build / "validation.json"
        clips = [c for c in read_list(listed) if c.path.exists()] if listed.is_file() else []
        speech = gate_speech(keyword, network.front_end.sample_rate, others=clips)
        reference = offline(twin, speech, manifest.step_samples)
        confirm = Confirmation(
            [(n, twin) for (n, _), twin in zip(verifiers, twins_of_verifiers.values(), strict=True)]
        )
        try:
            difference = check_dynamic(paths["dynamic_ts"], manifest, speech, reference, confirm)
            console.print(
                f"  dynamic_ts         differs from the network by {difference:.1e} at most"
            )
        except ExportError as error:
            if storage == "dynamic":
                raise
            # Its activations are rounded, so that a keyword close to the threshold may fall
            # on the other side. The exact files are none the worse.
            console.print(f"[yellow]left out:[/] {error}", highlight=False, soft_wrap=True)
            del paths["dynamic_ts"]
            files = {role: manifest.files[role] for role in paths}
            manifest = dataclasses.replace(manifest, files=files)
            manifest.write(manifest_path)
            (build / names["dynamic_ts"]).unlink(missing_ok=True)
        twins = {role: quantized_twin(variant, weights) for role, variant in longer.items()}
        differences = check_exports(manifest_path, manifest, speech, reference, twins)
        differences |= check_verifiers(manifest_path, manifest, speech, twins_of_verifiers)
        for role, difference in differences.items():
            console.print(f"  {role:<18} differs from the network by {difference:.1e} at most")
        for path in [*paths.values(), manifest_path]:
            path.replace(build / path.name)
    return build / f"{name}.json"


def export_references(build: Path) -> None:
    """The base and the teacher, to measure beside the student."""
    base, _ = read(build, "base")
    weights = quantize_network(base)
    (build / "base.onnx").write_bytes(write_network(base, {}).SerializeToString())
    (build / "base.int8.onnx").write_bytes(write_network(base, weights).SerializeToString())
    save(write_streaming(base, {}), build / "base.ts")
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
