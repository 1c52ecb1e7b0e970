"""Exports: the graphs, the TorchScript, the gate, and the command with its refusals."""

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from shapes import PRUNED, STUDENT  # noqa: E402

import export.gate  # noqa: E402
from device.engine import ROLES  # noqa: E402
from device.errors import ExportError, ManifestError  # noqa: E402
from device.manifest import Detection, read_manifest  # noqa: E402
from device.model import load_model  # noqa: E402
from export.__main__ import export_references, export_student, main  # noqa: E402
from export.gate import (  # noqa: E402
    check_dynamic,
    check_exports,
    gate_speech,
    odd_chunks,
    offline,
    run_torchscript,
    steps,
)
from export.graph import IR_VERSION, OPSET, write_network, write_with_front_end  # noqa: E402
from export.quantize import quantize_network, quantized_twin  # noqa: E402
from export.torchscript import (  # noqa: E402
    engine_of_the_pi,
    save,
    with_buffer,
    write_dynamic,
    write_streaming,
)
from train_host.corpus import Clip  # noqa: E402
from train_host.frontend import LogMel  # noqa: E402
from train_host.network import (  # noqa: E402
    BASE_32,
    BASE_64,
    Network,
    load_checkpoint,
    save_checkpoint,
)
from train_host.verifier import Confirmation  # noqa: E402

SHAPES = {"base 32": BASE_32, "base 64": BASE_64, "student": STUDENT, "pruned": PRUNED}


@pytest.fixture(scope="module")
def speech():
    """Four seconds of bursts of coloured noise, for what needs no words."""
    rng = np.random.default_rng(0)
    noise = np.cumsum(rng.standard_normal(64_000)) * 0.01
    noise -= np.convolve(noise, np.ones(100) / 100, "same")
    return (noise * (np.sin(np.arange(64_000) / 3000) > 0)).astype(np.float32)


def random_network(shape):
    torch.manual_seed(1)
    return Network(shape).eval()


def run_onnx(model, network, mel):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    state = {s.name: np.full(s.shape, s.initial, np.float32) for s in network.state_layout()}
    names, found = ["probability", *(f"{name}_next" for name in state)], []
    for start in range(0, mel.shape[1], 8):
        probability, *after = session.run(names, {"mel": mel[:, start : start + 8], **state})
        state = dict(zip(state, after, strict=True))
        found.append(probability[0])
    return np.array(found)


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_onnx_equals_the_network(shape, int8):
    """With ONNX Runtime's default options, as another program would load it."""
    network = random_network(shape)
    weights = quantize_network(network) if int8 else {}
    mel = torch.randn(1, 400, 40) * 3 - 6
    with torch.no_grad():
        logits, _ = quantized_twin(network, weights).stream(mel, network.initial_state())
    expected = torch.softmax(logits, 2)[0, :, 1].numpy()
    found = run_onnx(write_network(network, weights), network, mel.numpy())
    assert np.abs(found - expected).max() < 1e-5


def test_onnx_is_old_enough_and_self_contained():
    network = random_network(STUDENT)
    for write in (write_network, write_with_front_end):
        model = write(network, quantize_network(network))
        assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION)
        assert OPSET <= 17
        assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_int8_onnx_is_a_tenth_of_the_base():
    network = random_network(STUDENT)
    size = len(write_network(network, quantize_network(network)).SerializeToString())
    assert 106_803 / size >= 10.3


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_torchscript_equals_the_network_in_any_chunks(shape, speech, tmp_path: Path):
    network = random_network(shape)
    weights = quantize_network(network)
    expected = offline(quantized_twin(network, weights), speech, 1280)
    save(write_streaming(network, weights), tmp_path / "a.ts")
    module = torch.jit.load(tmp_path / "a.ts")
    for chunks in (steps(speech, 1280), odd_chunks(speech)):
        module.reset()
        found = torch.cat([module(torch.from_numpy(chunk)) for chunk in chunks]).numpy()
        assert np.abs(found - expected).max() < 1e-5


def test_torchscript_names_no_path_of_this_machine(tmp_path: Path):
    network = random_network(STUDENT)
    save(write_streaming(network, quantize_network(network)), tmp_path / "a.ts")
    with zipfile.ZipFile(tmp_path / "a.ts") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"def forward" in content
    assert str(Path(export.gate.__file__).parent).encode() not in content


def test_torchscript_holds_int8_weights_only(tmp_path: Path):
    network = random_network(STUDENT)
    weights = quantize_network(network)
    module = write_streaming(network, weights)
    largest_float = max(
        tensor.numel()
        for name, tensor in module.state_dict().items()
        if tensor.dtype == torch.float32 and name.startswith("step.")
    )
    assert largest_float < min(w.values.numel() for w in weights.values() if w.values.dim() > 2)
    assert sum(t.dtype == torch.int8 for t in module.state_dict().values()) == len(weights)


def test_dynamic_quantizes_gru_and_linear(speech):
    network = random_network(STUDENT)
    module = write_dynamic(network)
    assert "quantized_gru" in module.step.inlined_graph.__str__()
    expected = offline(network, speech, 1280)
    found = torch.cat([module(torch.from_numpy(c)) for c in steps(speech, 1280)]).numpy()
    assert 0 < np.abs(found - expected).max() < 0.1


def test_buffer_lengthens_the_attention_only():
    longer = with_buffer(random_network(STUDENT), 3)
    assert longer.shape == dataclasses.replace(STUDENT, window=36)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build folder with checkpoints of random weights."""
    detection = {
        "threshold": 0.5,
        "smoothing_steps": 2,
        "rearm": 0.25,
        "refractory_s": 1.0,
        "mute_steps": 3,
    }
    save_checkpoint(
        random_network(STUDENT),
        tmp_path / "student.pt",
        keyword="sheila",
        corpus={"name": "none", "kind": "embedded"},
        detection=detection,
    )
    save_checkpoint(random_network(BASE_32), tmp_path / "base.pt")
    save_checkpoint(random_network(BASE_64), tmp_path / "teacher.pt")
    return tmp_path


def test_export_writes_every_file_of_the_manifest(build: Path):
    manifest_path = export_student(build)
    export_references(build)
    manifest = read_manifest(manifest_path)
    assert set(manifest.files) == {
        "onnx",
        "npz",
        "frontend_onnx",
        "ts",
        "ts_buffer_1",
        "ts_buffer_2",
        "ts_buffer_3",
        "dynamic_ts",
    }
    for role, entry in manifest.files.items():
        path = manifest.file(manifest_path, role)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        assert path.stat().st_size == entry.bytes
    assert {p.name for p in build.glob("*.onnx")} >= {"base.onnx", "base.int8.onnx", "teacher.onnx"}
    sound = torch.randn(16000, generator=torch.Generator().manual_seed(2)) * 0.1
    expected = offline(load_checkpoint(build / "base.pt")[0], sound.numpy(), 1280)
    found = torch.jit.load(build / "base.ts")(sound).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_the_small_size_is_in_every_name(build: Path):
    network, record = load_checkpoint(build / "student.pt")
    save_checkpoint(network, build / "student.pt", **record, size="small")
    manifest_path = export_student(build)
    manifest = read_manifest(manifest_path)
    assert manifest_path.name == "sheila-small.json"
    assert manifest.keyword == "sheila"
    assert manifest.training["size"] == "small"
    assert all(file.name.startswith("sheila-small.") for file in manifest.files.values())


def test_a_cascade_is_one_manifest(build: Path, capsys):
    student, record = load_checkpoint(build / "student.pt")
    record["detection"]["threshold"] = 0.99
    speech = gate_speech("sheila", 16000)[: 10 * 16000]
    first = quantized_twin(student, quantize_network(student))
    alone = offline(first, speech, 1280)
    gate = float(np.median(alone))
    verifiers = [random_network(BASE_32), random_network(STUDENT)]
    numbers = [
        {"gate": gate, "steps": 14, "weight": 1.0},
        {"gate": gate, "steps": 14, "weight": 2.0, "alignments": 4},
    ]
    for number, verifier in enumerate(verifiers, 1):
        save_checkpoint(verifier, build / f"verifier_{number}.pt")
    save_checkpoint(student, build / "student.pt", **record, size="large", verifiers=numbers)
    path = export_student(build)
    manifest = read_manifest(path)
    assert [v.weight for v in manifest.verifiers] == [1.0, 2.0]
    names = {role: file.name for role, file in manifest.files.items()}
    assert names["verifier_2_npz"] == "sheila-large.verifier-2.npz"
    # Both engines of the device are what training calculates.
    twins = [quantized_twin(v, quantize_network(v)) for v in verifiers]
    with torch.no_grad():
        mel = LogMel(first.front_end).whole(torch.from_numpy(speech)[None])
    confirm = Confirmation(list(zip(manifest.verifiers, twins, strict=True)))
    expected = confirm(alone, mel[0].numpy())
    asked = alone >= gate
    assert np.abs(expected - alone)[asked].max() > 1e-3
    clear = np.abs(alone - gate) > 1e-5  # the gate parts what differs by rounding alone
    for engine in ROLES:
        model = load_model(path, engine)
        found = np.array([model.step(chunk) for chunk in steps(speech, 1280)])
        assert np.abs(found - expected)[clear].max() < 1e-4
    # A verifier that is not what was exported is refused.
    network = path.with_name(names["verifier_1_npz"])
    network.write_bytes(network.read_bytes() + b"x")
    with pytest.raises(ManifestError, match="SHA-256"):
        load_model(path)
    (build / "verifier_1.pt").unlink()
    assert main(["--build", str(build)]) == 1
    assert "verifier_1.pt: not a checkpoint; run `make train` again" in " ".join(
        capsys.readouterr().out.split()
    )


def test_an_unknown_size_is_one_sentence(build: Path, capsys):
    network, record = load_checkpoint(build / "student.pt")
    save_checkpoint(network, build / "student.pt", **record, size="big")
    assert main(["--build", str(build)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said == "error: no size is called 'big'; choose one of tiny, small, medium, large"


def test_gate_names_a_file_that_differs(build: Path):
    manifest_path = export_student(build)
    manifest = read_manifest(manifest_path)
    torch.manual_seed(9)
    speech = gate_speech("sheila", 16000)
    of_another = offline(Network(STUDENT).eval(), speech, 1280)
    with pytest.raises(ExportError, match="onnx differs from the network by"):
        check_exports(manifest_path, manifest, speech, of_another, {})


def test_nothing_is_written_when_the_gate_refuses(build: Path, monkeypatch, capsys):
    monkeypatch.setattr(export.gate, "TOLERANCE", -1.0)
    before = sorted(build.iterdir())
    assert main(["--build", str(build)]) == 1
    assert "nothing was written" in " ".join(capsys.readouterr().out.split())
    assert sorted(build.iterdir()) == before


def test_missing_checkpoint_is_one_sentence(tmp_path: Path, capsys):
    assert main(["--build", str(tmp_path)]) == 1
    assert "no such checkpoint; run `make train` first" in " ".join(capsys.readouterr().out.split())


def test_dynamic_form_alone_is_left_out_when_it_detects_otherwise(build: Path, monkeypatch, capsys):
    monkeypatch.setattr(export.gate, "DYNAMIC_TOLERANCE", -1.0)
    manifest_path = export_student(build)
    assert "left out: dynamic_ts differs" in " ".join(capsys.readouterr().out.split())
    assert "dynamic_ts" not in read_manifest(manifest_path).files
    assert not (build / "sheila.dynamic.ts").exists()
    assert (build / "sheila.onnx").exists()


def test_of_a_cascade_the_dynamic_form_counts_as_the_verifiers_confirm_it(build, monkeypatch):
    manifest = read_manifest(export_student(build))
    path = build / manifest.files["dynamic_ts"].name
    network = load_checkpoint(build / "student.pt")[0]
    speech = gate_speech("sheila", 16000)
    exact = offline(quantized_twin(network, quantize_network(network)), speech, 1280)
    with engine_of_the_pi():
        rounded = run_torchscript(path, steps(speech, 1280))
    # A threshold between the two, where they differ most, parts them.
    monkeypatch.setattr(export.gate, "SAME_DETECTION_STEPS", 0)
    step = int(np.argmax(np.abs(rounded - exact)))
    detection = Detection(
        threshold=float(rounded[step] + exact[step]) / 2,
        smoothing_steps=1,
        rearm=0.0,
        refractory_s=99.0,
        mute_steps=step,
    )
    manifest = dataclasses.replace(manifest, detection=detection)
    with pytest.raises(ExportError, match="dynamic_ts detects at the steps"):
        check_dynamic(path, manifest, speech, exact, Confirmation([]))

    def never(probabilities, frames):
        assert frames.shape == (8 * len(probabilities), 40)
        return np.zeros_like(probabilities)

    difference = check_dynamic(path, manifest, speech, exact, never)
    assert difference == pytest.approx(np.abs(rounded - exact).max())


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_other_storage_passes_the_gate_too(storage: str, build: Path):
    network, record = load_checkpoint(build / "student.pt")
    save_checkpoint(network, build / "student.pt", **record, storage=storage)
    manifest = read_manifest(export_student(build))
    assert manifest.training["storage"] == storage
    graph = onnx.load(build / manifest.files["onnx"].name).graph
    types = {constant.data_type for constant in graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in types) == (storage == "float16")
    assert onnx.TensorProto.INT8 not in types


def test_the_gate_hears_a_keyword_that_the_embedded_corpus_lacks(tmp_path):
    spoken = np.full(16000, 0.25, np.float32)
    soundfile.write(tmp_path / "a.wav", spoken, 16000, subtype="PCM_16")
    clip = Clip("hey marvin", "a", "validation", "real", tmp_path / "a.wav")
    speech = gate_speech("hey marvin", 16000, others=[clip])
    assert np.isclose(speech, 0.25).mean() > 0.1
    assert np.isclose(gate_speech("hey marvin", 16000), 0.25).mean() < 0.01
