"""The ONNX Runtime engine: states carried, and graphs that disagree with their manifest."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from device_kit import LOUD

from device.engine import OnnxEngine
from device.errors import ManifestError, SetupError
from device.manifest import Manifest, State, describe_file, read_manifest


@pytest.fixture
def manifest() -> Manifest:
    return read_manifest(LOUD)


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_state_is_carried_and_reset(manifest: Manifest) -> None:
    engine = OnnxEngine(manifest, LOUD)
    first, second = (np.full((8, 40), value, np.float32) for value in (-3.0, -1.5))
    for _ in range(2):
        # The network adds this step's mean to the one before, which starts at -20.
        assert engine.step(first) == pytest.approx(sigmoid(-3.0 - 20.0 + 4.0), abs=1e-6)
        assert engine.step(second) == pytest.approx(sigmoid(-1.5 - 3.0 + 4.0), abs=1e-6)
        assert engine.step(first) == pytest.approx(sigmoid(-3.0 - 1.5 + 4.0), abs=1e-6)
        engine.reset()


def test_two_engines_do_not_share_state(manifest: Manifest) -> None:
    one, other = OnnxEngine(manifest, LOUD), OnnxEngine(manifest, LOUD)
    mel = np.zeros((8, 40), np.float32)
    one.step(mel)
    assert other.step(mel) == pytest.approx(sigmoid(-16.0), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"states": ()}, "does not know the network's input 'count'"),
        (
            {"states": (State("tail", (1, 5), 0.0), State("count", (1,), 0.0))},
            r"input 'tail' is tensor\(float\) \[1, 4\] and should be tensor\(float\) \[1, 5\]",
        ),
        (
            {
                "states": (
                    State("tail", (1, 4), 0.0),
                    State("count", (1,), 0.0),
                    State("hidden", (1,), 0.0),
                )
            },
            "the network has no input 'hidden'",
        ),
        ({"step_samples": 640}, r"input 'mel' is .* should be tensor\(float\) \[1, 4, 40\]"),
        ({"files": {}}, "no file for 'onnx'"),
    ],
)
def test_graph_that_disagrees(manifest: Manifest, change: dict, sentence: str) -> None:
    with pytest.raises(ManifestError, match=sentence) as caught:
        OnnxEngine(dataclasses.replace(manifest, **change), LOUD)
    assert "\n" not in str(caught.value)


def test_file_that_is_no_network(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "loud.onnx").write_bytes(b"not a network")
    files = {"onnx": describe_file(tmp_path / "loud.onnx")}
    with pytest.raises(ManifestError, match="cannot load the network") as caught:
        OnnxEngine(dataclasses.replace(manifest, files=files), tmp_path / "loud.json")
    assert "\n" not in str(caught.value)


def test_altered_file(manifest: Manifest, tmp_path: Path) -> None:
    network = bytearray((LOUD.parent / "loud.onnx").read_bytes())
    network[-1] ^= 1
    (tmp_path / "loud.onnx").write_bytes(network)
    shutil.copy(LOUD, tmp_path)
    with pytest.raises(ManifestError, match="SHA-256 differs"):
        OnnxEngine(manifest, tmp_path / "loud.json")


def test_missing_onnx_runtime(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SetupError, match="ONNX Runtime cannot be imported"):
        OnnxEngine(manifest, LOUD)


def test_32_bit_system(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(SetupError, match="64-bit Raspberry Pi OS"):
        OnnxEngine(manifest, LOUD)
