"""The benchmark: that every form computes the same, what it says, and that the base is the base."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from shapes import STUDENT  # noqa: E402

from device.errors import ExportError  # noqa: E402
from device.manifest import read_manifest  # noqa: E402
from device.model import manifests_in  # noqa: E402
from export.gate import offline  # noqa: E402
from export.graph import write_network, write_with_front_end  # noqa: E402
from export.npz import npz_bytes  # noqa: E402
from export.quantize import quantize_network, quantized_twin  # noqa: E402
from export.torchscript import save, write_streaming  # noqa: E402
from train_host import bench  # noqa: E402
from train_host.bench_worker import open_model, peak_memory, time_listening, time_steps  # noqa: E402
from train_host.macs import count_graph_macs, count_macs, parameters  # noqa: E402
from train_host.network import BASE_32, Network, load_checkpoint  # noqa: E402
from train_host.worker import count_instructions  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LOUD = ROOT / "tests" / "loud" / "loud.json"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    return Network(STUDENT).eval()


@pytest.fixture(scope="module")
def manifest_path(network, tmp_path_factory) -> Path:
    """A student of random weights in four forms."""
    folder = tmp_path_factory.mktemp("student")
    weights = quantize_network(network)
    (folder / "x.onnx").write_bytes(write_network(network, weights).SerializeToString())
    (folder / "x.frontend.onnx").write_bytes(
        write_with_front_end(network, weights).SerializeToString()
    )
    (folder / "x.npz").write_bytes(npz_bytes(onnx.load(folder / "x.onnx")))
    save(write_streaming(network, weights), folder / "x.ts")
    files = {"npz": "x.npz", "onnx": "x.onnx", "frontend_onnx": "x.frontend.onnx", "ts": "x.ts"}
    bench.manifest_of(network, "sheila", folder, files).write(folder / "x.json")
    return folder / "x.json"


def test_every_form_computes_what_the_network_does(network, manifest_path: Path):
    sound = (np.random.default_rng(0).standard_normal(20 * 1280) * 0.1).astype(np.float32)
    expected = offline(quantized_twin(network, quantize_network(network)), sound, 1280)
    for role in read_manifest(manifest_path).files:
        model = open_model(manifest_path, role)
        for _ in range(2):
            model.reset()
            found = [model.step(step) for step in sound.reshape(-1, 1280)]
            assert np.abs(np.array(found) - expected).max() < 1e-4, role


def test_time_is_that_of_the_work(manifest_path: Path, tmp_path: Path):
    model = open_model(manifest_path, "onnx")
    bench.write_recording("sheila", 2, tmp_path / "short.wav")
    bench.write_recording("sheila", 40, tmp_path / "long.wav")
    shorter = min(time_listening(model, tmp_path / "short.wav") for _ in range(3))
    assert 0 < 4 * shorter < time_listening(model, tmp_path / "long.wav")
    assert 1 < time_steps(model) < 1e5
    assert peak_memory() > 20 * 2**20


def test_table_sets_every_file_against_the_base(manifest_path: Path, capsys, tmp_path: Path):
    figures = bench.bench({"student": manifest_path}, seconds=1, rounds=1)
    rows = figures["rows"]
    assert list(rows) == [
        "base npz", "base onnx", "base frontend_onnx", "base ts",
        "base int8 npz", "base int8 onnx",
        "student npz", "student onnx", "student frontend_onnx", "student ts",
    ]  # fmt: skip
    base, student = rows["base onnx"], rows["student onnx"]
    assert base["macs_clip"] == 432_672
    assert student["macs_clip"] == count_macs(Network(STUDENT))
    assert student["bytes"] == (manifest_path.parent / "x.onnx").stat().st_size
    assert figures["base_state_dict_bytes"] == pytest.approx(106_803, rel=0.01)
    assert student["ratios"]["macs_clip"] == 432_672 / student["macs_clip"]
    assert student["ratios"]["bytes"] == figures["base_state_dict_bytes"] / student["bytes"]
    for name, row in rows.items():
        assert row["microseconds_per_step"] > 0
        assert row["cpu_ms_per_second"] > 0
        twin = rows[row["against"] or name]
        for key in ("microseconds_per_step", "cpu_ms_per_second"):
            assert row["ratios"][key] == twin[key] / row[key]
    assert rows["student ts"]["against"] == "base ts"
    assert rows["student npz"]["against"] == rows["base int8 npz"]["against"] == "base npz"
    assert all(row["cpu_ms_to_start"] > 20 for row in rows.values())
    # ONNX Runtime takes its memory in the processes of its own files alone ...
    assert rows["student npz"]["peak_memory"] < rows["student onnx"]["peak_memory"] - 10 * 2**20
    # ... and torch takes its memory in the processes of its own files alone.
    assert rows["student onnx"]["peak_memory"] < rows["student ts"]["peak_memory"] / 2

    bench.show(figures)
    bench.write_json(figures, tmp_path / "bench.json")
    shown = capsys.readouterr().out
    for text in ("432,672", "base.int8.onnx", "x.frontend.onnx", f"{student['bytes']:,}"):
        assert text in shown
    assert json.loads((tmp_path / "bench.json").read_text()) == figures


def test_instructions_are_those_of_the_audio(manifest_path: Path, tmp_path: Path):
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    subject = bench.subjects_of(manifest_path, "student")[0]
    assert subject.role == "npz"
    figures = {"rows": {subject.name: {}}}
    bench.add_instructions(figures, [subject], seconds=3)
    # 12.5 steps, each of some dozens of thousands.
    assert 2e5 < figures["rows"][subject.name]["instructions_per_second"] < 2e7


def test_without_valgrind_nothing_is_counted(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ExportError, match="apt-get install valgrind"):
        count_instructions("listen", "nothing", "nothing")


def test_file_that_cannot_be_run_is_named(manifest_path: Path, network, tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes((manifest_path.parent / "x.onnx").read_bytes())
    (tmp_path / "x.ts").write_bytes(b"no TorchScript")
    files = {"onnx": "x.onnx", "ts": "x.ts"}
    bench.manifest_of(network, "sheila", tmp_path, files).write(tmp_path / "x.json")
    subjects = bench.subjects_of(tmp_path / "x.json", "broken")
    with pytest.raises(ExportError, match="broken ts cannot be measured: ") as caught:
        bench.measure(subjects, seconds=1, rounds=1)
    assert "\n" not in str(caught.value)


def test_model_that_cannot_be_measured_is_one_sentence(network, tmp_path: Path, capsys):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1,))
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1,))
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "other", [value], [other])),
        tmp_path / "other.onnx",
    )
    files = {"onnx": "other.onnx"}
    bench.manifest_of(network, "sheila", tmp_path, files).write(tmp_path / "other.json")
    for name, sentence in (
        ("absent.json", "the manifest cannot be read"),
        ("other.json", "other.onnx: its MACs cannot be counted"),
    ):
        assert bench.main(["--model", str(tmp_path / name)]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert said.startswith("error: ")
        assert sentence in said


def test_a_model_named_twice_is_measured_once(tmp_path: Path):
    named = bench.name_models([LOUD, LOUD.parent / ".." / "loud" / "loud.json"])
    assert named == {"loud/loud": LOUD}


def test_base_is_the_hidden_32_base_in_both_forms():
    network, record = load_checkpoint(bench.BASE / "base.pt")
    assert network.shape == BASE_32
    assert parameters(network) == 25_387
    assert record["keyword"] == "sheila"
    sound = torch.randn(32000, generator=torch.Generator().manual_seed(1)) * 0.1
    expected = offline(network, sound.numpy(), 1280)
    found = torch.jit.load(bench.BASE / "base.ts")(sound).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_base_names_no_path_of_the_machine_that_made_it():
    with zipfile.ZipFile(bench.BASE / "base.ts") as archive:
        assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]


def test_shipped_figures_name_the_macs_of_the_shipped_graph():
    shipped = manifests_in(ROOT / "models")
    if not shipped:
        pytest.skip("no model is shipped yet")
    for path in shipped:
        manifest = read_manifest(path)
        graph = onnx.load(str(manifest.file(path, "onnx")))
        counted = count_graph_macs(graph, manifest.front_end)
        assert counted.clip == manifest.figures["columns"]["student"]["macs_clip"]
