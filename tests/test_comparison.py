"""Ours beside the peers: counted alike, measured alike, and shown in one table and plot."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import soundfile
from device_kit import LOUD
from stand_in import StandIn

from device.engine import DEFAULT_ENGINE, ROLES
from device.errors import ExportError
from device.manifest import read_manifest
from train_host import bench_peers, evaluation_peers, folds, spotter_cost, tape_conditions
from train_host.bench import COUNTED_SECONDS
from train_host.comparison import FILE, cost_rows, read_comparison
from train_host.corpus import Clip
from train_host.evaluation_peers import main
from train_host.page_peers import main as make_page
from train_host.page_peers import peers_section
from train_host.peers import PEERS
from train_host.spotter_cost import Subject, measure, our_subject, peer_subject
from train_host.tape import RATE

ROOT = Path(__file__).resolve().parent.parent
SHEILA = ROOT / "models" / "sheila.json"
OURS = SHEILA.with_suffix(f".{ROLES[DEFAULT_ENGINE]}")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short tapes and rounds, and a stand-in for the packages."""
    monkeypatch.setattr(tape_conditions, "HOUR", 20 * RATE)
    monkeypatch.setattr(evaluation_peers, "SECONDS", 1.0)
    monkeypatch.setattr(evaluation_peers, "ROUNDS", 1)
    monkeypatch.setattr(evaluation_peers, "peers_for", lambda _: ["stand-in"])
    monkeypatch.setattr(evaluation_peers, "open_peer", lambda *_: StandIn())
    # The stand-in is opened as a model of ours, which a manifest names.
    monkeypatch.setattr(
        evaluation_peers, "peer_subject", lambda peer, _: peer_subject(peer, str(LOUD))
    )


def sounds(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Loud bursts as the keyword, quiet noise as everything else."""
    rng = np.random.default_rng(seed)
    found = {}
    for kind, seconds, level in (("keywords", 0.5, 0.2), ("speech", 12, 2e-4), ("noise", 12, 2e-4)):
        found[kind] = folder / kind / f"speaker{seed}_nohash_0.wav"
        found[kind].parent.mkdir(parents=True)
        soundfile.write(found[kind], rng.normal(0, level, round(seconds * RATE)), RATE)
    return found


@pytest.mark.usefixtures("short")
def test_models_and_peers_hear_the_same_and_are_shown_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds(tmp_path)
    build = tmp_path / "build"
    status = main(
        [
            *("--keyword", "loud", "--model", str(LOUD), "--model", str(SHEILA)),
            *("--positives", str(tmp_path / "keywords"), "--output", str(build)),
            *("--negatives", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise")),
        ]
    )
    said = capsys.readouterr().out
    assert status == 0, said
    found = read_comparison(build / "loud" / FILE)
    assert found is not None
    ours, peer = found.evaluation.systems
    assert (ours.name, peer.name) == ("loud", "stand-in")
    for system in (ours, peer):
        assert system.own.negatives.count == 0
        row = system.own.row("clean", "real")
        assert row is not None
        assert (row.missed, row.keywords) == (0, 6)
    # A model for another word shows only what it costs.
    assert [cost.name for cost in found.costs] == ["loud", 'sheila (for "sheila")', "stand-in"]
    for system, cost in zip((ours, peer), (found.costs[0], found.costs[2]), strict=True):
        assert cost.cpu_ms_per_second > 0
        assert system.cpu_ms_per_second == cost.cpu_ms_per_second
        assert system.peak_mib == cost.peak_mib > 15
    assert found.costs[1].model_bytes == OURS.stat().st_size
    for text in ("What it takes to listen", "stand-in", "0 of 6: 0.0 %", OURS.name, "MiB"):
        assert text in said
    page = (build / "loud" / "peers.html").read_text()
    assert page.count("<polyline") == 2
    assert "What it takes to listen" in page
    # Again from the figures, without the script of any name in them.
    hostile = dataclasses.replace(found.costs[0], name="<script>")
    dataclasses.replace(found, costs=(hostile,)).write(build / "loud" / FILE)
    assert make_page([str(build / "loud")]) == 0
    assert "&lt;script&gt;" in (build / "loud" / "peers.html").read_text()


@pytest.mark.usefixtures("short")
def test_peers_hear_each_fold_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_manifest(LOUD)
    made = []
    for seed in range(2):
        held = sounds(tmp_path / f"held{seed}", seed)
        clips = {
            kind: (Clip("x", f"speaker{seed}", "validation", "real", path),)
            for kind, path in held.items()
        }
        for name in ("loud", "louder"):
            folder = tmp_path / f"{name}{seed}"
            folder.mkdir()
            folds.HeldOut(clips["speech"], clips["noise"], clips["keywords"]).write(folder)
            files = {}
            for role, file in manifest.files.items():
                files[role] = dataclasses.replace(file, name=f"{name}.{role}")
                shutil.copy(LOUD.parent / file.name, folder / files[role].name)
            dataclasses.replace(manifest, files=files).write(folder / f"{name}.json")
            made.append(str(folder))
    status = main(["--keyword", "loud", "--folds", *made, "--output", str(tmp_path / "build")])
    assert status == 0, capsys.readouterr().out
    found = read_comparison(tmp_path / "build" / "loud" / FILE)
    assert found is not None
    names = ["loud (cross-fitted, 2 folds)", "louder (cross-fitted, 2 folds)", "stand-in"]
    assert [system.name for system in found.evaluation.systems] == names
    for system in found.evaluation.systems:
        assert system.hours == pytest.approx(24 / 3600)
    assert {cost.name for cost in found.costs} == set(names)
    assert main(["--folds", *made, "--output", str(tmp_path / "build")]) == 1
    assert "listens for 'loud' and not for 'alexa'" in " ".join(capsys.readouterr().out.split())


def test_costs_alone_with_instructions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counting takes minutes: valgrind is stood in for here, and real in tests/test_bench.py."""
    monkeypatch.setattr(bench_peers, "SECONDS", 1.0)
    monkeypatch.setattr(bench_peers, "ROUNDS", 1)
    monkeypatch.setattr(bench_peers, "peers_for", lambda _: ["stand-in"])
    monkeypatch.setattr(bench_peers, "open_peer", lambda *_: StandIn())
    monkeypatch.setattr(bench_peers, "peer_subject", lambda peer, _: peer_subject(peer, str(LOUD)))
    counts = {"sheila": 12_345_678 * COUNTED_SECONDS, "stand-in": 67_890_123 * COUNTED_SECONDS}
    monkeypatch.setattr(spotter_cost, "count_instructions", lambda _, name, *__: counts[name])
    assert bench_peers.main(["--model", str(SHEILA), "--instructions"]) == 0
    said = capsys.readouterr().out
    for text in ("What it takes to listen", "stand-in", "12.3", "67.9", OURS.name):
        assert text in said


def test_cpu_and_memory_are_each_spotters_own() -> None:
    ours, again = measure(
        [our_subject(SHEILA, "ours"), our_subject(SHEILA, "again")], 2.0, 2, say=lambda _: None
    )
    assert 0.01 < ours.cpu_ms_per_second < 1000
    assert 0.2 < ours.peak_mib / again.peak_mib < 5
    assert 15 < ours.peak_mib < 200
    assert ours.files == (OURS.name,)
    cells = cost_rows([ours])[0].cells
    assert cells[0].startswith("kws-pi ")
    assert cells[1] == f"{ours.cpu_ms_per_second:.2f}"
    assert f"{ours.model_bytes:,}" in cells[4]


@pytest.mark.parametrize("package", PEERS)
def test_peers_are_measured_in_processes_of_their_own(package: str) -> None:
    pytest.importorskip(package.replace("-", "_"), reason="run `train_host/setup.sh peers`")
    peer = PEERS[package]("alexa")
    (cost,) = measure([peer_subject(peer, "alexa")], 1.0, 1, say=lambda _: None)
    assert cost.name == peer.name
    assert 0.1 < cost.cpu_ms_per_second < 10_000
    # Without torch, onnxruntime and our own models.
    assert 20 < cost.peak_mib < 60
    assert cost.model_bytes == sum(file.stat().st_size for file in peer.files)


def test_a_spotter_that_cannot_be_run_is_named() -> None:
    subject = Subject("broken", "x", "kws-pi", "/nowhere.json", ())
    with pytest.raises(ExportError, match=r"broken cannot be measured: .*manifest cannot be read"):
        measure([subject], 1.0, 1, say=lambda _: None)


def test_without_figures_the_page_says_so(tmp_path: Path) -> None:
    assert read_comparison(tmp_path / FILE) is None
    assert "make evaluate-peers" in peers_section(None)
    assert make_page([str(tmp_path)]) == 1
    for text in ("[]", "{", '{"evaluation": 1, "costs": []}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ExportError, match="not what `make evaluate-peers` writes"):
            read_comparison(tmp_path / FILE)
