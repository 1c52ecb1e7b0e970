"""The numpy engine's file: what it must hold, and that nothing else is taken for it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from device_kit import LOUD, kws_pi, python

from device.engine_numpy import NumpyEngine
from device.errors import ManifestError
from device.manifest import Manifest, read_manifest

ARRAYS = dict(np.load(LOUD.with_suffix(".npz")))
LEVELS = (-5.0, -7.0, -4.0, -4.5)


def opened(folder: Path, arrays: dict, manifest: Manifest | None = None) -> NumpyEngine:
    np.savez(folder / "x.npz", **arrays)
    return NumpyEngine(manifest or read_manifest(LOUD), folder / "x.npz")


def run(engine: NumpyEngine) -> list[float]:
    return [engine.step(np.full((8, 40), level, np.float32)) for level in LEVELS]


def test_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    floats = {name: value.astype(np.float32) for name, value in ARRAYS.items()}
    for name in [name for name in floats if name.endswith(".scale")]:
        of = name.removesuffix(".scale")
        rows = floats.pop(name)
        floats[of] = floats[of] * rows.reshape(-1, *[1] * (floats[of].ndim - 1))
    assert run(opened(tmp_path, floats)) == run(opened(tmp_path, ARRAYS))
    halves = {name: value.astype(np.float16) for name, value in floats.items()}
    assert run(opened(tmp_path, halves)) == pytest.approx(run(opened(tmp_path, ARRAYS)), abs=0.01)


def test_pruned_inputs_are_the_chosen_features(tmp_path: Path) -> None:
    wide = dict(ARRAYS)
    for name in ("pointwise", "pointwise.scale", "pointwise.bias"):
        wide[name] = np.concatenate([ARRAYS[name] * 0, ARRAYS[name]])
    wide["inputs"] = np.array([1], np.int64)
    assert run(opened(tmp_path, wide)) == run(opened(tmp_path, ARRAYS))


def test_states_start_as_the_manifest_says(tmp_path: Path) -> None:
    manifest = read_manifest(LOUD)
    loud_past = {"values": 1.0, "energies": 0.0}
    states = tuple(
        dataclasses.replace(s, initial=loud_past.get(s.name, s.initial)) for s in manifest.states
    )
    engine = opened(tmp_path, ARRAYS, dataclasses.replace(manifest, states=states))
    # Half the window is quiet, half full: 27 / 2 - 20.
    assert engine.step(np.full((8, 40), -20, np.float32)) == pytest.approx(1 / (1 + np.exp(6.5)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classifier": None}, "it has no 'classifier'"),
        ({"spare": np.zeros(1)}, "it holds 'spare', which no network has"),
        ({"classifier.bias": np.zeros(3, np.float32)}, r"is \[3\] and should be \[2\]"),
        ({"pointwise": np.zeros((0, 40), np.int8)}, r"is \[0, 40\] and should be \['any', 40\]"),
        ({"classifier.bias": np.zeros(2)}, "'classifier.bias' holds float64"),
        ({"energy.bias": np.array([np.nan], np.float32)}, "numbers that are not finite"),
        ({"inputs": np.array([0, 1])}, "'inputs' must lie between 0 and 0"),
        ({"inputs": np.array([0.5])}, "'inputs' must be a list of whole numbers"),
        ({"classifier": np.array([{}])}, "holds no network .*allow_pickle"),
    ],
)
def test_other_arrays_are_refused(change: dict, sentence: str, tmp_path: Path) -> None:
    arrays = {name: value for name, value in (ARRAYS | change).items() if value is not None}
    with pytest.raises(ManifestError, match=sentence) as caught:
        opened(tmp_path, arrays)
    assert "\n" not in str(caught.value)


def test_onnx_runtime_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from device.model import load_model\n"
        f"load_model(Path({str(LOUD)!r}))\n"
        "assert 'onnxruntime' not in sys.modules\n"
    )
    done = python(code, {})
    assert done.returncode == 0, done.stderr


def test_command_line_refuses_another_engine(tmp_path: Path) -> None:
    done = kws_pi("listen", tmp_path, "--engine", "torch")
    assert done.returncode == 2
    assert "invalid choice: 'torch'" in done.stderr
