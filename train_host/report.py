"""Measures teacher, base and student, prints the result table and writes the report's page.

    python -m train_host.report --build build/sheila

Keeps the figures as KEYWORD.table.json and the scores of every clip as
scores.npz; report.html is made of them (see train_host/page.py).

The student's quality is that of the exported ONNX file in the device's own
loop, scored as `kws-pi score` does: each clip from the start of a stream, half
a second of quiet noise after it, the highest probability counts. Teacher and
base are scored as the origin scored them, on clips of one second.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from device.engine_onnxruntime import open_session
from device.errors import ExportError, KwsPiError
from device.manifest import Manifest, read_manifest
from device.model import load_model
from device.score import score_samples
from export.quantize import quantized_twin
from export.storage import STORAGE
from export.torchscript import engine_of_the_pi, with_buffer
from train_host.corpus import Clip, load, read_list
from train_host.evaluate import TAIL_FRAMES, clip_scores, stream_scores
from train_host.features import build_store
from train_host.machine import machine
from train_host.macs import (
    count_macs,
    count_stream_macs,
    front_end_macs,
    parameters,
    state_dict_bytes,
)
from train_host.metrics import (
    RESAMPLES,
    V01_POSITIVES,
    area_under_errors,
    bootstrap,
    miss_at,
    one_minus_auc,
)
from train_host.network import load_checkpoint
from train_host.page import write_page
from train_host.page_contents import SCORES
from train_host.table import (
    TRAINED_HERE,
    export_rows,
    find_manifest,
    headings,
    notes,
    result_sections,
)

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

    def quality(self, scores: Scores) -> dict[str, dict[str, Any]]:
        """The figures of quality of each group."""
        speakers = [clip.speaker for clip in self.clips]
        found: dict[str, dict[str, Any]] = {}
        for name, rows in self.groups().items():
            positives, negatives = scores[rows & self.is_keyword], scores[rows & ~self.is_keyword]
            gap = one_minus_auc(positives, negatives)
            share = len(positives) / (len(positives) + len(negatives))
            found[name] = {
                "keywords": len(positives),
                "others": len(negatives),
                "one_minus_auc": gap,
                "one_minus_auc_interval": bootstrap(
                    scores[rows], self.is_keyword[rows], list(compress(speakers, rows))
                ),
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
    clips = read_list(path)
    return Validation(
        clips,
        np.array([c.word == keyword for c in clips]),
        np.array([c.kind == "real" for c in clips]),
    )


def device_scores(manifest_path: Path, clips: tuple[Clip, ...]) -> Scores:
    """The highest probability of each clip by the exported ONNX file."""
    model = load_model(manifest_path, "onnxruntime")
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


def microseconds_per_step(paths: dict[str, Path]) -> dict[str, float]:
    """CPU time of one step of each ONNX file, in turns: the least of several rounds."""
    steppers: dict[str, Callable[[], None]] = {}
    for name, path in paths.items():
        steppers[name] = _stepper(path)
    best = dict.fromkeys(paths, float("inf"))
    for _ in range(TIMED_ROUNDS):
        for name, stepper in steppers.items():
            begin = time.process_time()
            for _ in range(TIMED_STEPS):
                stepper()
            best[name] = min(best[name], (time.process_time() - begin) / TIMED_STEPS * 1e6)
    return best


def _stepper(path: Path) -> Callable[[], None]:
    session = open_session(path)
    feeds = {i.name: np.full(i.shape, -5, np.float32) for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]

    def step() -> None:
        for name, value in zip(names, session.run(names, feeds), strict=True):
            if name.endswith("_next"):
                feeds[name.removesuffix("_next")] = value

    return step


def measure(build: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Every figure of the table, by column, and the scores of the validation clips."""
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
    storage = manifest.training.get("storage", "int8")
    forms = {name: "int8" if name.endswith("int8") else "float32" for name in onnx_files}
    stored = {
        name: STORAGE[form](networks[name.split()[0]])
        for name, form in (forms | {"student": storage}).items()
    }
    columns: dict[str, dict[str, Any]] = {}
    for name in onnx_files:
        network = networks[name.split()[0]]
        columns[name] = {
            "parameters": parameters(network),
            "macs_clip": count_macs(network),
            "macs_stream_second": count_stream_macs(network),
            "bytes_state_dict": state_dict_bytes(network) if name != "base int8" else None,
            "bytes_weights": stored[name].payload,
            "bytes_onnx": onnx_files[name].stat().st_size,
        }
    scores: dict[str, npt.NDArray[Any]] = {
        "teacher": clip_scores(networks["teacher"], store),
        "base": clip_scores(networks["base"], store),
        "base int8": clip_scores(stored["base int8"].twin, store),
        "student": device_scores(manifest_path, validation.clips),
    }
    for name, of_clips in scores.items():
        columns[name]["quality"] = validation.quality(of_clips)
    _count_verifiers(columns["student"], manifest, manifest_path)
    for name, value in microseconds_per_step(onnx_files).items():
        columns[name]["microseconds_per_step"] = value
    student = stored["student"]
    exports: dict[str, dict[str, Any]] = {}
    for role, path in files.items():
        exports[role] = {"file": path.name, "bytes": path.stat().st_size}
        if role == "dynamic_ts":
            with engine_of_the_pi():
                of_clips = torchscript_scores(path, validation.clips, tail)
            exports[role]["quality"] = validation.quality(of_clips)
        elif role.startswith("ts_buffer_"):
            # The gate has shown that the file equals this network; in batches it is faster.
            longer = quantized_twin(with_buffer(student.network, int(role[-1])), student.weights)
            exports[role]["quality"] = validation.quality(stream_scores(longer, store))
        elif manifest.verifiers and role in ("ts", "frontend_onnx"):
            exports[role]["quality"] = validation.quality(stream_scores(student.twin, store))
    figures = {
        "keyword": manifest.keyword,
        "corpus": manifest.training.get("corpus"),
        "date": time.strftime("%Y-%m-%d"),
        "teacher": manifest.training.get("teacher", TRAINED_HERE),
        "columns": columns,
        "exports": exports,
        "front_end_macs_clip": front_end_macs(manifest.front_end),
        "resamples": RESAMPLES,
        "machine": f"{machine()}, onnxruntime {onnxruntime.__version__}",
    }
    return figures, scores | {"is_keyword": validation.is_keyword, "is_real": validation.is_real}


def _count_verifiers(column: dict[str, Any], manifest: Manifest, manifest_path: Path) -> None:
    """Adds the networks that confirm the student to its column."""
    build = manifest_path.parent
    for number, verifier in enumerate(manifest.verifiers, 1):
        network, _ = load_checkpoint(build / f"verifier_{number}.pt")
        column["parameters"] += parameters(network)
        column["bytes_state_dict"] += state_dict_bytes(network)
        column["bytes_weights"] += STORAGE["int8"](network).payload
        column["bytes_onnx"] += (
            manifest.file(manifest_path, f"verifier_{number}_onnx").stat().st_size
        )
        of_step = count_macs(network, network.shape.kernel[1])
        steps = verifier.steps * verifier.alignments
        column["macs_asked"] = column.get("macs_asked", 0) + steps * of_step


def show(figures: dict[str, Any]) -> None:
    """Prints the two tables and what to know about them."""
    table = Table(title=f"{figures['keyword']}: {figures['corpus']['name']}", title_justify="left")
    table.add_column("")
    for name in headings(figures):
        table.add_column(name, justify="right")
    for section in result_sections(figures):
        if section.heading:
            table.add_section()
            table.add_row(section.heading)
        for row in section.rows:
            table.add_row(row.label, *row.cells)
    console.print(table)
    exports = Table(title="Exported files", title_justify="left")
    names, rows = export_rows(figures)
    for name in names:
        exports.add_column(name, justify="left" if name in ("role", "file") else "right")
    for row in rows:
        exports.add_row(row.label, *row.cells)
    console.print(exports)
    for note in notes(figures):
        console.print(note, highlight=False)
    console.print(f"Measured with {figures['machine']}.", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Prints the result table of a build folder.")
    parser.add_argument("--build", type=Path, required=True, help="folder of the exported model")
    args = parser.parse_args(arguments)
    try:
        figures, scores = measure(args.build)
        path = find_manifest(args.build)
        show(figures)
        path.with_suffix(".table.json").write_text(json.dumps(figures, indent=2) + "\n")
        np.savez_compressed(args.build / SCORES, allow_pickle=False, **scores)
        manifest: Manifest = read_manifest(path)
        summary = {key: value for key, value in figures.items() if key not in ("keyword", "corpus")}
        dataclasses.replace(manifest, figures=summary).write(path)
        page = write_page(args.build)
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    console.print(f"The table as JSON: {path.with_suffix('.table.json')}", soft_wrap=True)
    console.print(f"The page to look at: {page}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
