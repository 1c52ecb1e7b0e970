"""Both engines: states carried, and files that disagree with their manifest."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from device_kit import LOUD

from device.engine import ROLES, open_engine
from device.errors import ManifestError, SetupError
from device.manifest import Manifest, State, describe_file, read_manifest


@pytest.fixture
def manifest() -> Manifest:
    return read_manifest(LOUD)


@pytest.fixture(params=ROLES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def probability(*levels: float) -> float:
    """What the network of tests/energy_model.py gives after steps of constant log-mel."""
    outputs = [np.tanh(max(0.0, level + 6)) for level in levels[-2:]]
    return float(1 / (1 + np.exp(20 - 27 * np.mean(outputs))))


def test_state_is_carried_and_reset(engine: str, manifest: Manifest) -> None:
    opened = open_engine(engine, manifest, LOUD)
    levels = (-5.0, -4.9, -9.0, -5.2, -5.1)
    for _ in range(2):
        for step, level in enumerate(levels):
            mel = np.full((8, 40), level, np.float32)
            assert opened.step(mel) == pytest.approx(probability(*levels[: step + 1]), abs=1e-5)
        opened.reset()


def test_two_engines_do_not_share_state(engine: str, manifest: Manifest) -> None:
    one, other = (open_engine(engine, manifest, LOUD) for _ in range(2))
    one.step(np.full((8, 40), -5.5, np.float32))
    assert other.step(np.full((8, 40), -5, np.float32)) == pytest.approx(probability(-5), abs=1e-5)


def test_an_engine_does_not_keep_the_frames_that_it_is_given(
    engine: str, manifest: Manifest
) -> None:
    one, other = (open_engine(engine, manifest, LOUD) for _ in range(2))
    reused = np.empty((8, 40), np.float32)
    for level in (-5.0, -5.5):
        reused.fill(level)
        found = one.step(reused)
        assert found == other.step(np.full((8, 40), level, np.float32))


LAYOUT = {
    "conv_tail": (1, 8, 40),
    "hidden": (1, 1, 1),
    "energies": (1, 2),
    "values": (1, 2, 1),
}


def states(**shapes: tuple[int, ...]) -> dict[str, tuple[State, ...]]:
    return {"states": tuple(State(n, s, 0.0) for n, s in (LAYOUT | shapes).items())}


@pytest.mark.parametrize(
    ("change", "graph", "arrays"),
    [
        (
            {"states": ()},
            "does not know the network's input 'conv_tail'",
            "the manifest's states are those of another network",
        ),
        (
            states(conv_tail=(1, 12, 40)),
            r"input 'conv_tail' is tensor\(float\) \[1, 8, 40\] and should be .*\[1, 12, 40\]",
            r"'depthwise' is \[40, 16\] and should be \[40, 20\]",
        ),
        (
            states(values=(1, 2, 3)),
            "input 'values' is",
            r"the manifest's state 'values' is \[1, 2, 3\] and should be \[1, 2, 1\]",
        ),
        (
            states(more=(1,)),
            "the network has no input 'more'",
            "the manifest's states are those of another network",
        ),
        (
            states(hidden=(2, 1, 1)),
            "input 'hidden' is",
            "it has no 'gru.1.input'",
        ),
        (
            {"step_samples": 640},
            r"input 'mel' is .* should be tensor\(float\) \[1, 4, 40\]",
            r"'depthwise' is \[40, 16\] and should be \[40, 12\]",
        ),
        ({"files": {}}, "no file for 'onnx'", "no file for 'npz'"),
    ],
)
def test_network_that_disagrees(manifest: Manifest, change: dict, graph: str, arrays: str) -> None:
    changed = dataclasses.replace(manifest, **change)
    for engine, sentence in {"onnxruntime": graph, "numpy": arrays}.items():
        with pytest.raises(ManifestError, match=sentence) as caught:
            open_engine(engine, changed, LOUD)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not a network", "cannot load the network|holds no network"),
        (b"PK\3\4 and then nothing", "cannot load the network|holds no network"),
        (b"", "cannot load the network|holds no network"),
    ],
)
def test_file_that_is_no_network(
    engine: str, content: bytes, sentence: str, manifest: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / f"loud.{ROLES[engine]}"
    path.write_bytes(content)
    files = {ROLES[engine]: describe_file(path)}
    with pytest.raises(ManifestError, match=sentence) as caught:
        open_engine(engine, dataclasses.replace(manifest, files=files), tmp_path / "loud.json")
    assert "\n" not in str(caught.value)


def test_altered_file(engine: str, manifest: Manifest, tmp_path: Path) -> None:
    name = f"loud.{ROLES[engine]}"
    network = bytearray((LOUD.parent / name).read_bytes())
    network[-1] ^= 1
    (tmp_path / name).write_bytes(network)
    shutil.copy(LOUD, tmp_path)
    with pytest.raises(ManifestError, match="SHA-256 differs"):
        open_engine(engine, manifest, tmp_path / "loud.json")


def test_missing_onnx_runtime(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SetupError, match="ONNX Runtime cannot be imported"):
        open_engine("onnxruntime", manifest, LOUD)


def test_32_bit_system_has_numpy_only(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(SetupError, match="choose the engine numpy"):
        open_engine("onnxruntime", manifest, LOUD)
    open_engine("numpy", manifest, LOUD)
