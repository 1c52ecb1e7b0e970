"""The result table, measured on an export of random weights and a few embedded clips."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

from device.manifest import read_manifest  # noqa: E402
from export.__main__ import export_references, export_student  # noqa: E402
from train_host.corpus import read_embedded  # noqa: E402
from train_host.macs import state_dict_bytes  # noqa: E402
from train_host.network import BASE_32, BASE_64, Network, save_checkpoint  # noqa: E402
from train_host.page import main as page_main  # noqa: E402
from train_host.report import main, microseconds_per_step  # noqa: E402


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "sheila"
    folder.mkdir()
    torch.manual_seed(5)
    detection = {
        "threshold": 0.5, "smoothing_steps": 2, "rearm": 0.2, "refractory_s": 1.0, "mute_steps": 3,
    }  # fmt: skip
    corpus = {"name": "embedded", "kind": "embedded"}
    for name, shape in (("student", STUDENT), ("base", BASE_32), ("teacher", BASE_64)):
        save_checkpoint(
            Network(shape),
            folder / f"{name}.pt",
            keyword="sheila",
            corpus=corpus,
            detection=detection,
        )
    clips = read_embedded().of("validation")
    chosen = [c for c in clips if c.word == "sheila"][:5] + [
        c for c in clips if c.word != "sheila"
    ][:20]
    rows = [asdict(c) | {"path": str(c.path)} for c in chosen]
    (folder / "validation.json").write_text(json.dumps(rows))
    export_student(folder)
    export_references(folder)
    return folder


def test_table_holds_every_figure_of_every_column(build: Path, capsys):
    assert main(["--build", str(build)]) == 0
    shown = capsys.readouterr().out
    figures = json.loads((build / "sheila.table.json").read_text())
    columns = figures["columns"]
    assert set(columns) == {"teacher", "base", "base int8", "student"}
    assert columns["base"]["macs_clip"] == 432_672
    assert columns["base"]["parameters"] == 25_387
    assert columns["student"]["bytes_onnx"] == (build / "sheila.onnx").stat().st_size
    for name in ("teacher", "base", "student"):
        quality = columns[name]["quality"]["synthetic"]
        assert (quality["keywords"], quality["others"]) == (5, 20)
        low, high = quality["one_minus_auc_interval"]
        assert 0 <= low <= quality["one_minus_auc"] <= high <= 1
    for column in columns.values():
        assert column["microseconds_per_step"] > 0
    assert figures["exports"]["ts_buffer_3"]["quality"]["synthetic"]["keywords"] == 5
    for text in ("432,672", "25,387", "1 - AUC", "sheila.buffer_2.ts"):
        assert text in shown


def test_page_is_made_and_can_be_made_again(build: Path, capsys):
    main(["--build", str(build)])
    capsys.readouterr()
    page = build / "report.html"
    first = page.read_text(encoding="utf-8")
    page.unlink()
    assert page_main(["--build", str(build)]) == 0
    assert page.read_text(encoding="utf-8") == first
    gap = json.loads((build / "sheila.table.json").read_text())["columns"]["base int8"]["quality"]
    assert f"{gap['synthetic']['one_minus_auc']:.2e}" in first


def test_manifest_carries_the_figures(build: Path):
    main(["--build", str(build)])
    manifest = read_manifest(build / "sheila.json")
    assert manifest.figures["columns"]["student"]["macs_clip"] > 0


def test_without_an_export_one_sentence(tmp_path: Path, capsys):
    assert main(["--build", str(tmp_path)]) == 1
    assert "run `make export` first" in " ".join(capsys.readouterr().out.split())


def test_steps_are_timed_in_one_run(build: Path):
    found = microseconds_per_step({"a": build / "base.onnx", "b": build / "sheila.onnx"})
    assert np.isfinite(list(found.values())).all()


def test_state_dict_of_the_base_has_the_origins_size():
    assert state_dict_bytes(Network(BASE_32)) == pytest.approx(106_803, rel=0.01)
