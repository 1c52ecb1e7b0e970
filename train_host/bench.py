"""Measures the base and every exported model side by side: `make bench`.

    python -m train_host.bench [--model MODEL.json] [--json FILE] [--instructions]

Every file runs in a process of its own, in turns, and its best round counts,
so that a busy moment of the machine spoils no comparison. Times are of one
thread's CPU. What each is set against is the hidden-32 base in the same run:
MACs against its MACs, bytes against its state dict, times against its float
file of the same kind. Instructions are those that valgrind counts, which no
other work on the machine disturbs, of the two engines that the device has.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from device.engine import ROLES
from device.errors import ExportError, KwsPiError
from device.manifest import Detection, Manifest, describe_file, read_manifest
from device.model import manifests_in
from export.gate import gate_speech
from export.graph import write_network, write_with_front_end
from export.npz import npz_bytes
from export.quantize import quantize_network
from train_host.machine import machine
from train_host.macs import count_graph_macs, state_dict_bytes
from train_host.network import Network, load_checkpoint
from train_host.worker import Worker, count_instructions

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "models" / "base"
SECONDS = 60
ROUNDS = 5
COUNTED_SECONDS = 10
"""Audio in which instructions are counted: under valgrind the device is fifty times slower."""

console = Console(width=max(130, Console().width))


@dataclass(frozen=True)
class Subject:
    """One file to measure."""

    model: str
    role: str
    manifest: Path
    """A manifest that lists the file in that role."""
    macs_clip: int
    macs_stream_second: float
    bytes: int
    against: str | None
    """The row of the base with whose times its own are compared; None in those rows."""

    @property
    def name(self) -> str:
        return f"{self.model} {self.role}"


def worker_of(subject: Subject, recording: Path) -> tuple[str, ...]:
    """What runs a subject over a recording: a name, a module and its arguments."""
    module = "train_host.bench_worker"
    return subject.name, module, str(subject.manifest), subject.role, str(recording)


def base_subjects(folder: Path) -> list[Subject]:
    """The hidden-32 base in every form that it is compared in, written into `folder`."""
    network, record = load_checkpoint(BASE / "base.pt")
    for name, weights in (("base", {}), ("base.int8", quantize_network(network))):
        graph = write_network(network, weights)
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
        (folder / f"{name}.npz").write_bytes(npz_bytes(graph))
    (folder / "base.frontend.onnx").write_bytes(
        write_with_front_end(network, {}).SerializeToString()
    )
    shutil.copy(BASE / "base.ts", folder)
    forms = {
        "base": {
            "npz": "base.npz",
            "onnx": "base.onnx",
            "frontend_onnx": "base.frontend.onnx",
            "ts": "base.ts",
        },
        "base int8": {"npz": "base.int8.npz", "onnx": "base.int8.onnx"},
    }
    found = []
    for model, files in forms.items():
        path = folder / f"{model}.json"
        manifest_of(network, record["keyword"], folder, files).write(path)
        found += subjects_of(path, model)
    return [dataclasses.replace(s, against=None) if s.model == "base" else s for s in found]


def manifest_of(network: Network, keyword: str, folder: Path, files: dict[str, str]) -> Manifest:
    """A manifest for files in `folder` by role, with a detector that was never calibrated."""
    return Manifest(
        keyword=keyword,
        front_end=network.front_end,
        step_samples=network.shape.stride[1] * network.front_end.hop,
        states=network.state_layout(),
        detection=Detection(0.5, smoothing_steps=2, rearm=0.25, refractory_s=1.0, mute_steps=3),
        files={role: describe_file(folder / name) for role, name in files.items()},
    )


def subjects_of(path: Path, model: str) -> list[Subject]:
    """Every file of a manifest.

    Raises ManifestError when one is absent or altered, and ExportError when
    its network is none of ours.
    """
    manifest = read_manifest(path)
    network = manifest.file(path, "onnx")
    try:
        macs = count_graph_macs(onnx.load(str(network)), manifest.front_end)
    except ExportError as error:
        raise ExportError(f"{network}: {error}") from error
    return [
        Subject(
            model,
            role,
            path,
            macs.clip,
            macs.stream_second,
            sum(file.stat().st_size for file in _files(manifest, path, role)),
            f"base {'ts' if 'ts' in role else role}",
        )
        for role in manifest.files
        if not role.startswith("verifier_")
    ]


def _files(manifest: Manifest, path: Path, role: str) -> list[Path]:
    """What is loaded to run the model by the file in that role."""
    if role in ROLES.values():
        return manifest.engine_files(path, role)
    return [manifest.file(path, role)]


def write_recording(keyword: str, seconds: float, path: Path) -> None:
    """Speech of the embedded corpus as a WAV file of 16 bits."""
    speech = gate_speech(keyword, 16000)
    samples = np.resize(speech, round(seconds * 16000))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def measure(subjects: list[Subject], seconds: float, rounds: int) -> dict[str, Any]:
    """The figures of every subject, and what they were measured with and on.

    `seconds` of audio make a round. Raises ExportError when a file cannot be run.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kws-pi-bench-")))
        recording = folder / "speech.wav"
        write_recording(read_manifest(subjects[0].manifest).keyword, seconds, recording)
        status = stack.enter_context(console.status("starting a process for each file"))
        workers = {}
        for subject in subjects:
            workers[subject] = Worker(*worker_of(subject, recording))
            stack.callback(workers[subject].end)
            workers[subject].ask("memory")  # it is there once it answers
        step = dict.fromkeys(subjects, float("inf"))
        listen = dict.fromkeys(subjects, float("inf"))
        for number in range(rounds):
            status.update(f"round {number + 1} of {rounds}")
            for subject, worker in workers.items():
                step[subject] = min(step[subject], worker.ask("step"))
                listen[subject] = min(listen[subject], worker.ask("listen"))
        memory = {subject: int(worker.ask("memory")) for subject, worker in workers.items()}
        start = {subject: worker.ask("start") for subject, worker in workers.items()}
    rows = {
        s.name: {
            "model": s.model,
            "role": s.role,
            "file": read_manifest(s.manifest).files[s.role].name,
            "macs_clip": s.macs_clip,
            "macs_stream_second": s.macs_stream_second,
            "bytes": s.bytes,
            "microseconds_per_step": step[s],
            "cpu_ms_per_second": 1000 * listen[s] / seconds,
            "peak_memory": memory[s],
            "cpu_ms_to_start": 1000 * start[s],
        }
        for s in subjects
    }
    return {
        "machine": f"{machine()}, onnxruntime {onnxruntime.__version__}",
        "seconds": seconds,
        "rounds": rounds,
        "rows": rows,
    }


def add_instructions(figures: dict[str, Any], subjects: list[Subject], seconds: float) -> None:
    """Counts the instructions for a second of audio of every file that the device can run.

    Raises ExportError when there is no valgrind.
    """
    with tempfile.TemporaryDirectory(prefix="kws-pi-bench-") as folder:
        recording = Path(folder) / "speech.wav"
        write_recording(read_manifest(subjects[0].manifest).keyword, seconds, recording)
        for subject in subjects:
            if subject.role in ROLES.values():
                with console.status(f"counting the instructions of {subject.name}"):
                    counted = count_instructions("listen", *worker_of(subject, recording))
                figures["rows"][subject.name]["instructions_per_second"] = counted / seconds


def add_ratios(figures: dict[str, Any], subjects: list[Subject], state_dict: int) -> None:
    """Sets every row against the base: above 1 is less than the base takes."""
    rows = figures["rows"]
    base = rows["base onnx"]
    figures["base_state_dict_bytes"] = state_dict
    for subject in subjects:
        row = rows[subject.name]
        row["against"] = subject.against
        twin = rows[subject.against or subject.name]
        row["ratios"] = {
            "macs_clip": base["macs_clip"] / row["macs_clip"],
            "macs_stream_second": base["macs_stream_second"] / row["macs_stream_second"],
            "bytes": state_dict / row["bytes"],
            "microseconds_per_step": twin["microseconds_per_step"] / row["microseconds_per_step"],
            "cpu_ms_per_second": twin["cpu_ms_per_second"] / row["cpu_ms_per_second"],
        }


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("MACs, 1 s clip", "macs_clip", "{:,.0f}"),
    ("bytes", "bytes", "{:,.0f}"),
    ("µs CPU a step", "microseconds_per_step", "{:,.1f}"),
    ("ms CPU a second", "cpu_ms_per_second", "{:,.2f}"),
)
"""Each is followed by a column with its ratio."""


def show(figures: dict[str, Any]) -> None:
    """Prints the table, a row for each file."""
    table = Table(title="Base and models", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right")
        table.add_column("base / it", justify="right")
    for heading in ("M instr. a second", "ms CPU to start", "MiB, peak"):
        table.add_column(heading, justify="right")
    before = None
    for row in figures["rows"].values():
        if row["model"] != before:
            table.add_section()
            table.add_row(row["model"])
        cells = []
        for _, key, form in COLUMNS:
            cells += [form.format(row[key]), f"{row['ratios'][key]:.2f}"]
        counted = row.get("instructions_per_second")
        cells.append(f"{counted / 1e6:.2f}" if counted else "-")
        cells += [f"{row['cpu_ms_to_start']:.0f}", f"{row['peak_memory'] / 2**20:.1f}"]
        table.add_row(f"  {row['file']}", *cells)
        before = row["model"]
    console.print(table)
    console.print(
        "MACs are the network's, without the log-mel. A step is 80 ms: of the file alone, which in "
        ".frontend.onnx and .ts holds the log-mel too; .npz is for the engine in numpy. CPU and "
        "instructions a second of audio and peak memory: the whole loop of `kws-pi listen` in a "
        "process of its own; CPU to start: until its model is loaded, measured once. Bytes are set "
        f"against the base's state dict ({figures['base_state_dict_bytes']:,} bytes), times "
        "against the base's float file of the same kind.",
        highlight=False,
    )
    console.print(
        f"Best of {figures['rounds']} rounds of {figures['seconds']:g} s of speech, in turns; "
        f"{figures['machine']}.",
        highlight=False,
    )


def bench(
    models: dict[str, Path], seconds: float, rounds: int, counted_seconds: float = 0
) -> dict[str, Any]:
    """Every figure of the base and of the models, by name.

    Instructions are counted in `counted_seconds` of audio, if any.
    """
    with tempfile.TemporaryDirectory(prefix="kws-pi-base-") as folder:
        subjects = base_subjects(Path(folder))
        for name, path in models.items():
            subjects += subjects_of(path, name)
        figures = measure(subjects, seconds, rounds)
        network, _ = load_checkpoint(BASE / "base.pt")
        add_ratios(figures, subjects, state_dict_bytes(network))
        if counted_seconds:
            add_instructions(figures, subjects, counted_seconds)
    return figures


def name_models(paths: list[Path]) -> dict[str, Path]:
    """The manifests by folder and name, each once."""
    return {f"{path.parent.name}/{path.stem}": path for path in map(Path.resolve, paths)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measures base and models side by side.")
    parser.add_argument("--model", type=Path, help="manifest of one more model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures here")
    parser.add_argument("--instructions", action="store_true", help="count instructions as well")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        paths = [*manifests_in(ROOT / "models"), *([args.model] if args.model else [])]
        counted = COUNTED_SECONDS if args.instructions else 0
        figures = bench(name_models(paths), SECONDS, ROUNDS, counted)
        show(figures)
        if args.json:
            write_json(figures, args.json)
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    return 0


def write_json(figures: dict[str, Any], path: Path) -> None:
    """Raises ExportError when the file cannot be written."""
    try:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror})") from error
    console.print(f"The table as JSON: {path}")


if __name__ == "__main__":
    sys.exit(main())
