"""The gate: an export is written only if it computes what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from device.detector import Detector
from device.engine import ROLES, open_network
from device.errors import ExportError
from device.frontend import LogMel as DeviceLogMel
from device.manifest import FrontEnd, Manifest
from device.model import Model
from export.torchscript import engine_of_the_pi
from train_host.corpus import Clip, load, read_embedded
from train_host.frontend import LogMel
from train_host.network import Network
from train_host.verifier import Confirmation

TOLERANCE = 1e-4
"""Largest difference in probability for the exact exports ..."""
DYNAMIC_TOLERANCE = 0.1
"""... and for the one whose activations are quantized too."""
SECONDS = 75
"""Speech to compare on."""
KEYWORD_EVERY = 6
SAME_DETECTION_STEPS = 1
"""A detection is the same if it comes at the same step or the next."""

Floats = npt.NDArray[np.float32]


def gate_speech(keyword: str, rate: int, seed: int = 0, others: Sequence[Clip] = ()) -> Floats:
    """75 s of speech: clips of the embedded corpus, every sixth the keyword if there is one.

    Of a keyword that the embedded corpus does not hold, `others` may hold clips.
    """
    corpus = read_embedded()
    rng = np.random.default_rng(seed)
    clips = [c for c in corpus.clips if c.word != keyword]
    keywords = (
        [c for c in corpus.clips if c.word == keyword]
        or [c for c in others if c.word == keyword]
        or clips
    )
    pieces: list[Floats] = []
    while sum(map(len, pieces)) < SECONDS * rate:
        source = keywords if len(pieces) % KEYWORD_EVERY == 0 else clips
        pieces.append(load(source[int(rng.integers(len(source)))]))
    return np.concatenate(pieces)


def offline(network: Network, speech: Floats, step_samples: int) -> Floats:
    """The float network over the whole recording, the same bounded attention at every step."""
    mel = log_mel(network.front_end, speech, step_samples)
    with torch.no_grad():
        logits, _ = network.stream(mel, network.initial_state())
        return torch.softmax(logits, 2)[0, :, 1].numpy()


def log_mel(front_end: FrontEnd, speech: Floats, step_samples: int) -> Tensor:
    """Log-mel of the recording's whole steps, (1, frames, bands)."""
    whole = speech[: len(speech) // step_samples * step_samples]
    return LogMel(front_end).whole(torch.from_numpy(whole)[None])


def odd_chunks(speech: Floats, seed: int = 0) -> Iterator[Floats]:
    """The speech in pieces of 1 to 5,000 samples."""
    rng = np.random.default_rng(seed)
    start = 0
    while start < len(speech):
        size = int(rng.integers(1, 5001))
        yield speech[start : start + size]
        start += size


def steps(speech: Floats, step_samples: int) -> Iterator[Floats]:
    """The speech in whole steps."""
    for start in range(0, len(speech) - step_samples + 1, step_samples):
        yield speech[start : start + step_samples]


def run_torchscript(path: Path, chunks: Iterator[Floats]) -> Floats:
    """A streaming TorchScript file over chunks of speech."""
    module = torch.jit.load(str(path))
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(chunk)).numpy() for chunk in chunks])


def run_device(
    path: Path, stage: Manifest, engine: str, chunks: Iterator[Floats], prefix: str = ""
) -> Floats:
    """The device's own front end and one of its engines, fed with whole steps.

    `stage`: one network of a manifest, `prefix` that of its files' roles.
    """
    network = open_network(engine, stage, stage.file(path, prefix + ROLES[engine]))
    model = Model(stage, DeviceLogMel(stage.front_end, stage.step_samples), network)
    return np.array([model.step(chunk) for chunk in chunks], np.float32)


def run_front_end_onnx(path: Path, manifest: Manifest, chunks: Iterator[Floats]) -> Floats:
    """The ONNX file that takes samples."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state: dict[str, Any] = {"audio_tail": np.zeros((1, manifest.front_end.tail), np.float32)}
    state |= {s.name: np.full(s.shape, s.initial, np.float32) for s in manifest.states}
    names = ["probability", *(f"{name}_next" for name in state)]
    found = []
    for chunk in chunks:
        probability, *after = session.run(names, {"samples": chunk[None], **state})
        state = dict(zip(state, after, strict=True))
        found.append(probability[0])
    return np.array(found, np.float32)


def detections(probabilities: Floats, manifest: Manifest) -> list[int]:
    """The steps at which the detector fires."""
    detector = Detector(manifest.detection, manifest.step_samples / manifest.front_end.sample_rate)
    return [k for k, p in enumerate(probabilities) if detector.step(float(p)) is not None]


def check_exports(
    manifest_path: Path,
    manifest: Manifest,
    speech: Floats,
    reference: Floats,
    longer: dict[str, Network],
) -> dict[str, float]:
    """Compares every exact file with the offline network on the same speech.

    `reference` is what the float network with the int8 weights gives there;
    `longer` is that network with the window of each further role. Returns the
    largest difference of each comparison; raises ExportError when one is too
    large.
    """
    size = manifest.step_samples
    (_, first), *_ = manifest.stages
    paths = {role: manifest_path.parent / f.name for role, f in manifest.files.items()}

    exact: dict[str, tuple[Callable[[], Floats], Floats]] = {
        "onnx": (
            lambda: run_device(manifest_path, first, "onnxruntime", steps(speech, size)),
            reference,
        ),
        "npz": (lambda: run_device(manifest_path, first, "numpy", steps(speech, size)), reference),
        "frontend_onnx": (
            lambda: run_front_end_onnx(paths["frontend_onnx"], manifest, steps(speech, size)),
            reference,
        ),
        "ts": (lambda: run_torchscript(paths["ts"], steps(speech, size)), reference),
        "ts in odd chunks": (lambda: run_torchscript(paths["ts"], odd_chunks(speech)), reference),
    }
    for role, network in longer.items():
        path, expected = paths[role], offline(network, speech, size)
        exact[role] = (lambda path=path: run_torchscript(path, odd_chunks(speech)), expected)  # type: ignore[misc]
    differences = {}
    for name, (run, expected) in exact.items():
        differences[name] = _difference(name, run(), expected, TOLERANCE)
    return differences


def check_verifiers(
    manifest_path: Path, manifest: Manifest, speech: Floats, twins: dict[str, Network]
) -> dict[str, float]:
    """Compares each verifier, as a stream of its own, with its offline network.

    `twins`: the float networks with the int8 weights, by the prefix of their
    roles. Returns the largest differences; raises ExportError as
    `check_exports` does.
    """
    size, differences = manifest.step_samples, {}
    for prefix, stage in manifest.stages[1:]:
        expected = offline(twins[prefix], speech, size)
        for engine, role in ROLES.items():
            found = run_device(manifest_path, stage, engine, steps(speech, size), prefix)
            name = prefix + role
            differences[name] = _difference(name, found, expected, TOLERANCE)
    return differences


def check_npz(manifest_path: Path, manifest: Manifest) -> float:
    """Compares the numpy engine with ONNX Runtime on the gate's speech.

    Returns the largest difference; raises ExportError when it is too large.
    """
    speech = gate_speech(manifest.keyword, manifest.front_end.sample_rate)
    found, expected = (
        run_device(manifest_path, manifest, engine, steps(speech, manifest.step_samples))
        for engine in ("numpy", "onnxruntime")
    )
    return _difference("npz", found, expected, TOLERANCE)


def check_dynamic(
    path: Path, manifest: Manifest, speech: Floats, reference: Floats, confirm: Confirmation
) -> float:
    """Compares the dynamically quantized file with the offline network on the same speech.

    Of a cascade the file is the first network, so that detections are those that
    `confirm`, the verifiers, makes of either. Returns the largest difference;
    raises ExportError when it is above 0.1 or when the detections are not the same.
    """
    with engine_of_the_pi():
        dynamic = run_torchscript(path, steps(speech, manifest.step_samples))
    difference = _difference("dynamic_ts", dynamic, reference, DYNAMIC_TOLERANCE)
    frames = log_mel(manifest.front_end, speech, manifest.step_samples)[0].numpy()
    ours, theirs = (detections(confirm(p, frames), manifest) for p in (reference, dynamic))
    if len(ours) != len(theirs) or any(
        abs(a - b) > SAME_DETECTION_STEPS for a, b in zip(ours, theirs, strict=True)
    ):
        raise ExportError(
            f"dynamic_ts detects at the steps {theirs} and the network at {ours}; "
            "train longer, or with another seed"
        )
    return difference


def _difference(name: str, found: Floats, expected: Floats, tolerance: float) -> float:
    if found.shape != expected.shape:
        raise ExportError(
            f"{name} gives {len(found)} probabilities where the network gives {len(expected)}; "
            "this is a fault of the exporter, please report it"
        )
    difference = float(np.abs(found - expected).max())
    if not difference <= tolerance:
        raise ExportError(
            f"{name} differs from the network by {difference:.1e} in probability "
            f"(at most {tolerance:g} is allowed); nothing was written, please report it"
        )
    return difference
