"""The numpy engine against ONNX Runtime and the network itself, for shapes of every kind."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from shapes import PRUNED, STUDENT, random_network  # noqa: E402

from device.engine import ROLES, open_network, open_streams  # noqa: E402
from device.errors import ExportError, ManifestError  # noqa: E402
from device.manifest import read_manifest  # noqa: E402
from export import gate  # noqa: E402
from export.gate import offline, run_device, steps  # noqa: E402
from export.graph import write_network  # noqa: E402
from export.npz import add_npz, main, npz_bytes  # noqa: E402
from export.quantize import quantize_network  # noqa: E402
from export.storage import STORAGE  # noqa: E402
from train_host.bench import manifest_of  # noqa: E402
from train_host.network import BASE_32, Network, Shape  # noqa: E402

LOUD = Path(__file__).resolve().parent / "loud" / "loud.json"
SHAPES = {
    "student": STUDENT,
    "base": BASE_32,
    "pruned": PRUNED,
    "deep": Shape("separable", 6, 9, 2, "deep", (5, 16), attention_width=4, inputs=(1, 2, 5)),
    "wide": Shape("full", 3, 7, 2, "flat", kernel=(7, 24), stride=(3, 8), window=36),
    "ten milliseconds": Shape("separable", 4, 5, 1, "flat", kernel=(5, 3), stride=(2, 1)),
}


def sharp_network(shape: Shape) -> Network:
    """Random weights, large enough that the probability moves."""
    network = random_network(shape)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 2
    return network


def write_model(network: Network, storage: str, folder: Path) -> Path:
    onnx_bytes = STORAGE[storage](network).onnx
    (folder / "x.onnx").write_bytes(onnx_bytes)
    (folder / "x.npz").write_bytes(npz_bytes(onnx.load_from_string(onnx_bytes)))
    names = {role: f"x.{role}" for role in ROLES.values()}
    manifest_of(network, "sheila", folder, names).write(folder / "x.json")
    return folder / "x.json"


@pytest.fixture(scope="module")
def minutes():
    """Three minutes of coloured noise whose loudness and colour change."""
    rng = np.random.default_rng(0)
    time = np.arange(180 * 16000)
    white = rng.standard_normal(len(time))
    dark = np.cumsum(white) * 0.1
    dark -= np.convolve(dark, np.ones(200) / 200, "same")
    sound = dark * np.maximum(0, np.sin(time / 9000)) + 0.3 * white * (np.sin(time / 23000) > 0.5)
    return (0.1 * sound).astype(np.float32)


@pytest.mark.parametrize("storage", ["int8", "float16", "float32"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_both_engines_compute_what_the_network_does(shape, storage, minutes, tmp_path: Path):
    network = sharp_network(shape)
    path = write_model(network, storage, tmp_path)
    manifest = read_manifest(path)
    size = manifest.step_samples
    sound = minutes[: 10 * 16000]
    expected = offline(STORAGE[storage](network).twin, sound, size)
    assert np.ptp(expected) > 0.05
    for engine in ROLES:
        found = run_device(path, manifest, engine, steps(sound, size))
        assert np.abs(found - expected).max() < 1e-5, engine


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_streams_that_run_together_are_those_that_run_alone(shape, tmp_path: Path):
    path = write_model(sharp_network(shape), "int8", tmp_path)
    manifest = read_manifest(path)
    rng = np.random.default_rng(1)
    size = (12, 3, manifest.frames_per_step, manifest.front_end.mel_bands)
    mel = rng.normal(-6, 3, size).astype(np.float32)
    for engine, role in ROLES.items():
        network = manifest.file(path, role)
        together = open_streams(engine, manifest, network, 3)
        for _ in range(2):  # and again after a reset
            alone = [open_network(engine, manifest, network) for _ in range(3)]
            expected = [
                [one.step(own) for one, own in zip(alone, step, strict=True)] for step in mel
            ]
            found = [together.step(step) for step in mel]
            assert np.ptp(expected) > 0.05
            assert np.abs(np.subtract(found, expected)).max() < 1e-5, engine
            together.reset()


@pytest.mark.parametrize("shape", [STUDENT, BASE_32], ids=["student", "base"])
def test_engines_stay_equal_for_minutes(shape, minutes, tmp_path: Path):
    path = write_model(sharp_network(shape), "int8", tmp_path)
    manifest = read_manifest(path)
    ours, theirs = (run_device(path, manifest, engine, steps(minutes, 1280)) for engine in ROLES)
    assert len(ours) == 2250
    assert np.ptp(theirs) > 0.05
    assert np.abs(ours - theirs).max() < 1e-4


def test_int8_weights_stay_int8_in_the_file():
    network = sharp_network(STUDENT)
    weights = quantize_network(network)
    model = write_network(network, weights)
    data = npz_bytes(model)
    assert data == npz_bytes(model)
    arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
    stored = [a for a in arrays.values() if a.dtype == np.int8]
    assert sum(a.size for a in stored) == sum(w.values.numel() for w in weights.values())
    assert len(stored) == len(weights)


def test_an_older_model_is_given_the_file(tmp_path: Path):
    path = write_model(sharp_network(STUDENT), "int8", tmp_path)
    written = (tmp_path / "x.npz").read_bytes()
    manifest = read_manifest(path)
    older = {role: entry for role, entry in manifest.files.items() if role != "npz"}
    dataclasses.replace(manifest, files=older).write(path)
    (tmp_path / "x.npz").unlink()
    assert main([str(path)]) == 0
    assert (tmp_path / "x.npz").read_bytes() == written
    assert read_manifest(path) == manifest


def test_nothing_is_written_when_the_engines_differ(tmp_path: Path, monkeypatch, capsys):
    path = write_model(sharp_network(STUDENT), "int8", tmp_path)
    (tmp_path / "x.npz").unlink()
    before = sorted(tmp_path.iterdir()), path.read_bytes()
    monkeypatch.setattr(gate, "TOLERANCE", -1.0)
    assert main([str(path)]) == 1
    assert "npz differs from the network by" in " ".join(capsys.readouterr().out.split())
    assert (sorted(tmp_path.iterdir()), path.read_bytes()) == before


def test_another_graph_is_one_sentence(tmp_path: Path):
    path = write_model(sharp_network(STUDENT), "int8", tmp_path)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,))
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "other", [value], [other])
    with pytest.raises(ExportError, match="no network that `make export` wrote"):
        npz_bytes(helper.make_model(graph))
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(ManifestError, match="SHA-256"):
        add_npz(path)
