"""The manifest: what training, export and the device must agree on.

`MODEL.json` lies beside the model's files and carries everything that the
device needs to run them: the front end's numbers, the step, the streaming
state, the detector's numbers and the SHA-256 of each file. It is plain JSON,
read without running code and checked key by key.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device.errors import ManifestError

# hashlib loads OpenSSL, which takes 5 MiB; the standard library's `random` does the same.
try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:  # Python 3.11
    from hashlib import sha256

FORMAT = 1

LARGEST = {
    "sample_rate": 192_000,
    "window": 1 << 16,
    "hop": 1 << 16,
    "mel_bands": 1024,
    "smoothing_steps": 1000,
    "mute_steps": 10_000,
    "steps": 1000,
    "alignments": 100,
    "refractory_s": 3600,
}
"""More than this no model needs, and memory or patience would end."""
LONGEST_STEP_S = 10
LARGEST_STATE = 1 << 20
"""Numbers in one state."""


@dataclass(frozen=True)
class FrontEnd:
    """Numbers of the log-mel front end (the origin's, see docs/decisions)."""

    sample_rate: int = 16000
    """Samples per second."""
    window: int = 400
    """Length of the periodic Hann window and of the FFT, in samples."""
    hop: int = 160
    """Samples from one frame to the next."""
    mel_bands: int = 40
    """Number of triangular mel bands (HTK scale, not normalised) from 0 Hz to half the rate."""
    floor: float = 1e-9
    """Mel energies are clamped to this before the logarithm ..."""
    ceiling: float = 1e9
    """... and to this."""

    @property
    def tail(self) -> int:
        """Samples that the next frame shares with the past: window - hop."""
        return self.window - self.hop


@dataclass(frozen=True)
class Detection:
    """Numbers of the detector, chosen on validation recordings."""

    threshold: float
    """The smoothed probability at which the keyword counts as said, 0 to 1."""
    smoothing_steps: int
    """The detector looks at the mean probability of this many steps."""
    rearm: float
    """The smoothed probability must fall below this before the next detection."""
    refractory_s: float
    """Shortest time between two detections, in seconds."""
    mute_steps: int
    """Steps after a start or a gap that are not believed (the receptive field is not full)."""


@dataclass(frozen=True)
class State:
    """One streaming state: input `name`, output `name` + "_next", both float32."""

    name: str
    shape: tuple[int, ...]
    initial: float
    """Every element's value at the start of a stream."""


@dataclass(frozen=True)
class Verifier:
    """A further network of a cascade, see `device/cascade.py`."""

    states: tuple[State, ...]
    gate: float
    """It listens while the first network's probability is at least this ..."""
    steps: int
    """... and begins with the last so many steps."""
    weight: float
    """How many times its logit counts; the first network's counts once."""
    alignments: int = 1
    """So often it hears the stream, with steps that end at as many places within a step,
    evenly spaced; each of these opinions counts a like share of `weight`."""


@dataclass(frozen=True)
class ModelFile:
    """One file of the model, named relative to the manifest."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything known about one exported model.

    The network in `files["onnx"]` takes `mel`, float32 (1, frames per step,
    mel_bands), and the states; it returns `probability`, float32 (1,), and
    the states' next values. `files["npz"]` holds the same network's numbers.
    The files of a verifier are alike, with states of their own.
    """

    keyword: str
    front_end: FrontEnd
    step_samples: int
    """Samples per step of the network: 1,280 (80 ms)."""
    states: tuple[State, ...]
    detection: Detection
    files: Mapping[str, ModelFile]
    """By role: `onnx`, `npz`, `frontend_onnx`, `ts`, `ts_buffer_1`, ..., `dynamic_ts`, and
    of the verifiers `verifier_1_onnx`, `verifier_1_npz`, ..."""
    verifiers: tuple[Verifier, ...] = ()
    """What confirms the network above, if anything does."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How and on what the model was trained; `training["corpus"]` names the corpus."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """The result table, as `make compress` measured it."""

    @property
    def frames_per_step(self) -> int:
        return self.step_samples // self.front_end.hop

    @property
    def stages(self) -> tuple[tuple[str, Manifest], ...]:
        """The networks, each as a prefix of its files' roles and a manifest with its states."""
        alone = dataclasses.replace(self, verifiers=())
        return (
            ("", alone),
            *(
                (f"verifier_{number}_", dataclasses.replace(alone, states=verifier.states))
                for number, verifier in enumerate(self.verifiers, 1)
            ),
        )

    def to_json(self) -> str:
        table = dataclasses.asdict(self)
        if not self.verifiers:
            del table["verifiers"]
        return json.dumps({"format": FORMAT, **table}, indent=2) + "\n"

    def write(self, path: Path) -> None:
        path.write_text(self.to_json(), encoding="utf-8")

    def file(self, manifest_path: Path, role: str) -> Path:
        """The path of the model's file in a role, its size and hash checked.

        Raises ManifestError when the file is absent or is not the one that
        the manifest was written for.
        """
        if role not in self.files:
            raise ManifestError(
                f"{manifest_path}: the model has no file for {role!r}; export it again"
            )
        entry = self.files[role]
        path = manifest_path.parent / entry.name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ManifestError(
                f"{path}: cannot be read ({error.strerror}); copy all of the model's files"
            ) from error
        if sha256(content).hexdigest() != entry.sha256:
            raise ManifestError(
                f"{path}: its SHA-256 differs from the one in {manifest_path.name}; "
                "copy or export the model again"
            )
        return path

    def engine_files(self, manifest_path: Path, role: str) -> list[Path]:
        """What an engine loads: the file in its role and those of the verifiers.

        Raises ManifestError as `file` does.
        """
        return [self.file(manifest_path, prefix + role) for prefix, _ in self.stages]


def describe_file(path: Path) -> ModelFile:
    """The manifest's entry for a file that has just been written."""
    content = path.read_bytes()
    return ModelFile(path.name, sha256(content).hexdigest(), len(content))


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a manifest.

    Raises ManifestError, one sentence that names the key, when the file
    cannot be read, is not a manifest, or holds a value out of range.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(
            f"{path}: the manifest cannot be read ({error.strerror}); "
            "give the path of a MODEL.json that `make compress` wrote"
        ) from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path}: not a manifest (not JSON); give the path of a MODEL.json"
        ) from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ManifestError(f"{path}: not a kws-pi manifest of format {FORMAT}; export it again")
    raw.pop("format")
    raw.setdefault("verifiers", [])
    try:
        manifest = Manifest(
            **{
                **_keys(raw, Manifest),
                "keyword": _text(raw, "keyword"),
                "front_end": FrontEnd(**_numbers(_table(raw, "front_end"), FrontEnd)),
                "step_samples": _whole(raw, "step_samples"),
                "states": _states(raw),
                "detection": Detection(**_numbers(_table(raw, "detection"), Detection)),
                "files": {
                    role: ModelFile(
                        _file_name(entry), _text(entry, "sha256"), _whole(entry, "bytes")
                    )
                    for role, entry in _table(raw, "files").items()
                },
                "verifiers": tuple(_verifier(entry) for entry in _list(raw, "verifiers")),
                "training": _table(raw, "training"),
                "figures": _table(raw, "figures"),
            }
        )
        _check(manifest)
    except _Wrong as error:
        raise ManifestError(f"{path}: {error}; export the model again") from error
    return manifest


class _Wrong(Exception):  # noqa: N818 - reads as what it means
    """What is wrong, without the path."""


def _check(manifest: Manifest) -> None:
    front_end, detection = manifest.front_end, manifest.detection
    if min(front_end.sample_rate, front_end.hop, front_end.mel_bands) < 1:
        raise _Wrong("'front_end' must hold positive numbers")
    if not front_end.hop <= front_end.window:
        raise _Wrong("'front_end.window' is shorter than the hop")
    if not 0 < front_end.floor < front_end.ceiling:
        raise _Wrong("'front_end.floor' must lie between 0 and the ceiling")
    if manifest.step_samples < 1 or manifest.step_samples % front_end.hop:
        raise _Wrong("'step_samples' is not a multiple of the hop")
    if manifest.step_samples > LONGEST_STEP_S * front_end.sample_rate:
        raise _Wrong(f"'step_samples' is more than {LONGEST_STEP_S} seconds")
    states = [state for _, stage in manifest.stages for state in stage.states]
    if any(math.prod(state.shape) > LARGEST_STATE for state in states):
        raise _Wrong(f"'states' holds one of more than {LARGEST_STATE} numbers")
    if not 0 < detection.threshold <= 1:
        raise _Wrong("'detection.threshold' must be above 0 and at most 1")
    if not 0 <= detection.rearm <= detection.threshold:
        raise _Wrong("'detection.rearm' must lie between 0 and the threshold")
    if detection.smoothing_steps < 1 or detection.mute_steps < 0 or detection.refractory_s < 0:
        raise _Wrong("'detection' holds a number that is too small")
    for verifier in manifest.verifiers:
        if not 0 < verifier.gate < detection.threshold:
            raise _Wrong("'gate' of a verifier must lie between 0 and the threshold")
        if min(verifier.steps, verifier.alignments) < 1 or not verifier.weight > 0:
            raise _Wrong("'verifiers' holds a number that is too small")
        if manifest.frames_per_step % verifier.alignments:
            raise _Wrong("'alignments' of a verifier must divide the frames of a step")


def _verifier(entry: Any) -> Verifier:
    if not isinstance(entry, dict):
        raise _Wrong("'verifiers' must hold tables")
    states = _states(entry)
    # What is left must be numbers; the states have been read. Once every verifier heard one.
    table = {"alignments": 1, **entry, "states": 0}
    return Verifier(**_numbers(table, Verifier) | {"states": states})


def _states(table: dict[str, Any]) -> tuple[State, ...]:
    return tuple(_state(entry) for entry in _list(table, "states"))


def _keys(table: dict[str, Any], kind: type) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(kind)}
    for key in table:
        if key not in names:
            raise _Wrong(f"unknown key {key!r}")
    for name in names:
        if name not in table:
            raise _Wrong(f"key {name!r} is missing")
    return table


def _numbers(table: dict[str, Any], kind: type) -> dict[str, Any]:
    _keys(table, kind)
    for f in dataclasses.fields(kind):
        value = table[f.name]
        whole = f.type == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise _Wrong(f"{f.name!r} must be a {'whole ' if whole else ''}number")
        if not abs(value) <= LARGEST.get(f.name, sys.float_info.max):
            raise _Wrong(f"{f.name!r} must be finite, and no larger than a model has use for")
    return table


def _whole(table: dict[str, Any], key: str) -> int:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong(f"{key!r} must be a whole number")
    return value


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{key!r} must be text")
    return value


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    if not isinstance(value, dict):
        raise _Wrong(f"{key!r} must be a table")
    return value


def _list(table: dict[str, Any], key: str) -> list[Any]:
    value = table.get(key)
    if not isinstance(value, list):
        raise _Wrong(f"{key!r} must be a list")
    return value


def _file_name(entry: Any) -> str:
    if not isinstance(entry, dict):
        raise _Wrong("'files' must hold tables")
    name = _text(_keys(entry, ModelFile), "name")
    if name != Path(name).name or name in (".", ".."):
        raise _Wrong(f"file {name!r} must lie beside the manifest")
    return name


def _state(entry: Any) -> State:
    if not isinstance(entry, dict):
        raise _Wrong("'states' must hold tables")
    _keys(entry, State)
    shape = _list(entry, "shape")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 1 << 20 for n in shape):
        raise _Wrong("'shape' must hold positive whole numbers")
    initial = entry["initial"]
    if isinstance(initial, bool) or not isinstance(initial, (int, float)):
        raise _Wrong("'initial' must be a number")
    if not abs(initial) <= sys.float_info.max:
        raise _Wrong("'initial' must be finite")
    return State(_text(entry, "name"), tuple(shape), float(initial))
