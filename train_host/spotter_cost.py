"""What it costs to listen: CPU, memory and bytes of ours and of the peers, in one run.

Every spotter runs in a process of its own (`train_host/cost_worker.py`), in
turns, and its best round counts, so that a busy moment of the machine spoils
no comparison.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import device
from device.engine import DEFAULT_ENGINE, ROLES
from device.manifest import read_manifest
from device.model import default_manifest
from train_host.bench import COUNTED_SECONDS, write_recording
from train_host.cost_worker import OURS
from train_host.peers import Peer
from train_host.worker import Worker, count_instructions

SECONDS = 30.0
ROUNDS = 5


@dataclass(frozen=True)
class Subject:
    """One spotter to measure."""

    name: str
    """What tables call it."""
    version: str
    """The package that runs it."""
    spotter: str
    which: str
    """How `cost_worker` is told to open it."""
    files: tuple[Path, ...]
    """The files of its model that it loads."""


@dataclass(frozen=True)
class Cost:
    """What one spotter takes."""

    name: str
    version: str
    cpu_ms_per_second: float
    """CPU time, in all threads, for a second of audio."""
    peak_mib: float
    """Peak memory of its process."""
    model_bytes: int
    """Bytes of the files that hold its model."""
    files: tuple[str, ...]
    """Their names."""
    instructions_per_second: float | None = None
    """What valgrind counts for a second of audio, where it was asked to."""


def our_subject(manifest: Path, name: str) -> Subject:
    """A model of ours in the engine that the device uses unless told otherwise.

    Raises ManifestError when manifest or file cannot be read.
    """
    files = read_manifest(manifest).engine_files(manifest, ROLES[DEFAULT_ENGINE])
    version = f"kws-pi {device.__version__}, {DEFAULT_ENGINE}"
    return Subject(name, version, OURS, str(manifest.resolve()), tuple(files))


def peer_subject(peer: Peer, keyword: str) -> Subject:
    return Subject(peer.name, peer.version, peer.package, keyword, peer.files)


def cost_note(rounds: int, seconds: float) -> str:
    """How `measure` measures, for readers of its figures."""
    return (
        f"Each in a process of its own, in turns, the best of {rounds} rounds of {seconds:g} s of "
        "speech, every sixth word of it the shipped keyword; instructions over "
        f"{COUNTED_SECONDS} s of it. CPU is that of all threads; bytes are those of the model's "
        "files, without the libraries that run them."
    )


def measure(
    subjects: Sequence[Subject],
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = print,
    instructions: bool = False,
) -> tuple[Cost, ...]:
    """The cost of every subject over the same speech of the embedded corpus.

    Every sixth word of it is the shipped keyword, so that a cascade's verifiers
    have work. `seconds` of audio make a round; with `instructions`, those are
    counted too. Raises ExportError when one cannot be run, and without valgrind
    when instructions are asked for.
    """
    keyword = read_manifest(default_manifest()).keyword
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kws-pi-cost-")))
        recording = folder / "speech.wav"
        write_recording(keyword, seconds, recording)
        workers = []
        for subject in subjects:
            worker = Worker(*_worker_of(subject, recording))
            stack.callback(worker.end)
            worker.ask("memory")  # it is there once it answers
            workers.append(worker)
        cpu = [float("inf")] * len(subjects)
        for number in range(rounds):
            say(f"CPU and memory, round {number + 1} of {rounds}")
            cpu = [
                min(best, worker.ask("listen")) for best, worker in zip(cpu, workers, strict=True)
            ]
        memory = [worker.ask("memory") for worker in workers]
        counted: list[float | None] = [None] * len(subjects)
        if instructions:
            write_recording(keyword, COUNTED_SECONDS, recording)
            for number, subject in enumerate(subjects):
                say(f"counting the instructions of {subject.name}")
                total = count_instructions("listen", *_worker_of(subject, recording))
                counted[number] = total / COUNTED_SECONDS
    return tuple(
        Cost(
            subject.name,
            subject.version,
            1000 * used / seconds,
            peak / 2**20,
            sum(file.stat().st_size for file in subject.files),
            tuple(file.name for file in subject.files),
            per_second,
        )
        for subject, used, peak, per_second in zip(subjects, cpu, memory, counted, strict=True)
    )


def _worker_of(subject: Subject, recording: Path) -> tuple[str, ...]:
    module = "train_host.cost_worker"
    return subject.name, module, subject.spotter, subject.which, str(recording)
