"""Measures teacher, base and student, prints the result table and keeps it as JSON.

    python -m train_host.report --build build/sheila

The student's quality is that of the exported ONNX file in the device's own
loop, scored as `kws-pi score` does: each clip from the start of a stream, half
a second of quiet noise after it, the highest probability counts. Teacher and
base are scored as the origin scored them, on clips of one second.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from device.errors import ExportError, KwsPiError
from device.manifest import Manifest, read_manifest
from device.model import load_model
from device.score import score_samples
from export.quantize import payload_bytes, quantize_network, quantized_twin
from export.torchscript import engine_of_the_pi, with_buffer
from train_host.corpus import Clip, load
from train_host.evaluate import TAIL_FRAMES, clip_scores, stream_scores
from train_host.features import build_store
from train_host.macs import (
    count_macs,
    count_stream_macs,
    front_end_macs,
    parameters,
    weight_payload,
)
from train_host.metrics import V01_POSITIVES, area_under_errors, miss_at, one_minus_auc
from train_host.network import Network, load_checkpoint

TIMED_STEPS = 500
TIMED_ROUNDS = 7

Scores = npt.NDArray[np.float32]
console = Console(width=max(110, Console().width))


@dataclass(frozen=True)
class Validation:
    """The clips of the validation split, and which of them count as what."""

    clips: tuple[Clip, ...]
    is_keyword: npt.NDArray[np.bool_]
    is_real: npt.NDArray[np.bool_]

    def groups(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Real and synthetic clips apart, where both keyword and others are there."""
        found = {}
        for name, rows in (("real", self.is_real), ("synthetic", ~self.is_real)):
            if (rows & self.is_keyword).any() and (rows & ~self.is_keyword).any():
                found[name] = rows
        return found

    def quality(self, scores: Scores) -> dict[str, dict[str, float]]:
        """The figures of quality of each group."""
        found = {}
        for name, rows in self.groups().items():
            positives, negatives = scores[rows & self.is_keyword], scores[rows & ~self.is_keyword]
            gap = one_minus_auc(positives, negatives)
            share = len(positives) / (len(positives) + len(negatives))
            found[name] = {
                "keywords": len(positives),
                "others": len(negatives),
                "one_minus_auc": gap,
                "au": area_under_errors(gap, share),
                "au_scaled": area_under_errors(gap, V01_POSITIVES),
                "miss_at_0.1%": miss_at(positives, negatives, 0.001),
                "miss_at_1%": miss_at(positives, negatives, 0.01),
            }
        return found


def read_validation(build: Path, keyword: str) -> Validation:
    """The validation clips that training left aside. Raises ExportError without them."""
    path = build / "validation.json"
    if not path.is_file():
        raise ExportError(f"{path}: no such list; run `make train` first")
    clips = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        span = tuple(row["span"]) if row["span"] else None
        clips.append(Clip(**{**row, "path": Path(row["path"]), "span": span}))
    return Validation(
        tuple(clips),
        np.array([c.word == keyword for c in clips]),
        np.array([c.kind == "real" for c in clips]),
    )


def device_scores(manifest_path: Path, clips: tuple[Clip, ...]) -> Scores:
    """The highest probability of each clip by the exported ONNX file."""
    model = load_model(manifest_path)
    return np.array([score_samples(model, [load(c)]).max() for c in clips], np.float32)


def torchscript_scores(path: Path, clips: tuple[Clip, ...], tail: int) -> Scores:
    """The same by a TorchScript file, `tail` samples of quiet noise after each clip."""
    module = torch.jit.load(str(path))
    noise = np.random.default_rng(0).standard_normal(tail).astype(np.float32) * 10 ** (-70 / 20)
    found = []
    with torch.no_grad():
        for clip in clips:
            module.reset()
            samples = np.concatenate([load(clip), noise])
            found.append(float(module(torch.from_numpy(samples)).max()))
    return np.array(found, np.float32)


def state_dict_bytes(network: Network) -> int:
    """Bytes of the network as torch saves its state dict."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.tell()


def microseconds_per_step(paths: dict[str, Path], network: Network) -> dict[str, float]:
    """CPU time of one step of each ONNX file, in turns: the least of several rounds."""
    steppers: dict[str, Callable[[], None]] = {}
    for name, path in paths.items():
        steppers[name] = _stepper(path, network)
    best = dict.fromkeys(paths, float("inf"))
    for _ in range(TIMED_ROUNDS):
        for name, stepper in steppers.items():
            begin = time.process_time()
            for _ in range(TIMED_STEPS):
                stepper()
            best[name] = min(best[name], (time.process_time() - begin) / TIMED_STEPS * 1e6)
    return best


def _stepper(path: Path, network: Network) -> Callable[[], None]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: np.full(i.shape, -5, np.float32) for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]

    def step() -> None:
        for name, value in zip(names, session.run(names, feeds), strict=True):
            if name.endswith("_next"):
                feeds[name.removesuffix("_next")] = value

    return step


def measure(build: Path) -> dict[str, Any]:
    """Every figure of the table, by column."""
    torch.set_num_threads(1)  # as on the device; two would wait for each other
    manifest_path = find_manifest(build)
    manifest = read_manifest(manifest_path)
    networks = {
        name: load_checkpoint(build / f"{name}.pt")[0] for name in ("teacher", "base", "student")
    }
    validation = read_validation(build, manifest.keyword)
    store = build_store(validation.clips, build.parent / "features", front_end=manifest.front_end)
    tail = TAIL_FRAMES * manifest.front_end.hop
    files = {role: build / f.name for role, f in manifest.files.items()}
    onnx_files = {
        "teacher": build / "teacher.onnx",
        "base": build / "base.onnx",
        "base int8": build / "base.int8.onnx",
        "student": files["onnx"],
    }
    columns: dict[str, dict[str, Any]] = {}
    for name in onnx_files:
        network = networks[name.split()[0]]
        quantized = quantize_network(network) if name in ("student", "base int8") else None
        columns[name] = {
            "parameters": parameters(network),
            "macs_clip": count_macs(network),
            "macs_stream_second": count_stream_macs(network),
            "bytes_state_dict": state_dict_bytes(network) if name != "base int8" else None,
            "bytes_weights": payload_bytes(network, quantized)
            if quantized
            else weight_payload(list(network.parameters())),
            "bytes_onnx": onnx_files[name].stat().st_size,
        }
    for name in ("teacher", "base"):
        columns[name]["quality"] = validation.quality(clip_scores(networks[name], store))
    columns["student"]["quality"] = validation.quality(
        device_scores(manifest_path, validation.clips)
    )
    for name, value in microseconds_per_step(onnx_files, networks["student"]).items():
        columns[name]["microseconds_per_step"] = value
    student = networks["student"]
    weights = quantize_network(student)
    exports: dict[str, dict[str, Any]] = {}
    for role, path in files.items():
        exports[role] = {"file": path.name, "bytes": path.stat().st_size}
        if role == "dynamic_ts":
            with engine_of_the_pi():
                scores = torchscript_scores(path, validation.clips, tail)
            exports[role]["quality"] = validation.quality(scores)
        elif role.startswith("ts_buffer_"):
            # The gate has shown that the file equals this network; in batches it is faster.
            longer = quantized_twin(with_buffer(student, int(role[-1])), weights)
            exports[role]["quality"] = validation.quality(stream_scores(longer, store))
    return {
        "keyword": manifest.keyword,
        "corpus": manifest.training.get("corpus"),
        "columns": columns,
        "exports": exports,
        "front_end_macs_clip": front_end_macs(manifest.front_end),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}",
    }


ROWS: tuple[tuple[str, str, str], ...] = (
    ("parameters", "parameters", "{:,.0f}"),
    ("MACs, 1 s clip", "macs_clip", "{:,.0f}"),
    ("MACs, 1 s of stream", "macs_stream_second", "{:,.0f}"),
    ("bytes, state dict", "bytes_state_dict", "{:,.0f}"),
    ("bytes, weights", "bytes_weights", "{:,.0f}"),
    ("bytes, .onnx", "bytes_onnx", "{:,.0f}"),
    ("µs CPU a step", "microseconds_per_step", "{:.1f}"),
)
QUALITY_ROWS: tuple[tuple[str, str, str], ...] = (
    ("1 - AUC", "one_minus_auc", "{:.2e}"),
    ("AU", "au", "{:.2e}"),
    ("AU at 2.68 % positives", "au_scaled", "{:.2e}"),
    ("missed at 0.1 % false accepts", "miss_at_0.1%", "{:.1%}"),
    ("missed at 1 % false accepts", "miss_at_1%", "{:.1%}"),
)


def show(figures: dict[str, Any]) -> None:
    """Prints the two tables."""
    columns = figures["columns"]
    table = Table(title=f"{figures['keyword']}: {figures['corpus']['name']}", title_justify="left")
    table.add_column("")
    for name in (*columns, "teacher / student", "base / student"):
        table.add_column(name, justify="right")

    def row(label: str, form: str, values: dict[str, float | None], ratio: bool = True) -> None:
        cells = ["-" if v is None else form.format(v) for v in values.values()]
        for name in ("teacher", "base"):
            above, below = values.get(name), values.get("student")
            cells.append(f"{above / below:.2f}" if ratio and above and below else "")
        table.add_row(label, *cells)

    for label, key, form in ROWS:
        row(label, form, {name: column.get(key) for name, column in columns.items()})
    front_end = figures["front_end_macs_clip"]
    row("front end, MACs of 1 s", "{:,.0f}", dict.fromkeys(columns, front_end), ratio=False)
    for group, quality in columns["student"]["quality"].items():
        table.add_section()
        table.add_row(f"{group} clips: {quality['keywords']} keyword, {quality['others']} other")
        for label, key, form in QUALITY_ROWS:
            row(
                label,
                form,
                {
                    n: c["quality"][group][key] if "quality" in c else None
                    for n, c in columns.items()
                },
            )
    console.print(table)
    groups = list(columns["student"]["quality"])
    exports = Table(title="Exported files", title_justify="left")
    for heading in ("role", "file", "bytes", *(f"1 - AUC, {g} clips" for g in groups)):
        exports.add_column(heading, justify="left" if heading in ("role", "file") else "right")
    for role, entry in figures["exports"].items():
        quality = entry.get("quality") or (
            columns["student"]["quality"] if role in ("onnx", "ts", "frontend_onnx") else {}
        )
        gaps = [f"{quality[g]['one_minus_auc']:.2e}" if quality else "" for g in groups]
        exports.add_row(role, entry["file"], f"{entry['bytes']:,}", *gaps)
    console.print(exports)
    console.print(f"Measured with {figures['machine']}.", highlight=False)


def find_manifest(build: Path) -> Path:
    """The one manifest of a build folder. Raises ExportError when there is none."""
    found = [p for p in build.glob("*.json") if p.with_suffix(".onnx").is_file()]
    if len(found) != 1:
        raise ExportError(f"{build}: holds no exported model; run `make export` first")
    return found[0]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Prints the result table of a build folder.")
    parser.add_argument("--build", type=Path, required=True, help="folder of the exported model")
    args = parser.parse_args(arguments)
    try:
        figures = measure(args.build)
        path = find_manifest(args.build)
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    show(figures)
    path.with_suffix(".table.json").write_text(json.dumps(figures, indent=2) + "\n")
    manifest: Manifest = read_manifest(path)
    summary = {key: value for key, value in figures.items() if key not in ("keyword", "corpus")}
    dataclasses.replace(manifest, figures=summary).write(path)
    console.print(f"The table as JSON: {path.with_suffix('.table.json')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
