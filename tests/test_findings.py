"""Reading what the laboratory and the search wrote."""

import json
from pathlib import Path

import pytest

from device.errors import ExportError
from train_host.findings import read_laboratory, read_search

LABORATORY = {
    "machine": "a laptop",
    "steps": 1500,
    "seeds": [0, 1, 2],
    "corpus": "a corpus",
    "rows": [
        {
            "method": "soft labels",
            "group": "distillation",
            "setting": "T = 2",
            "parameters": 100,
            "macs_clip": 1000,
            "bytes_onnx": 400,
            "one_minus_auc": {"real": [], "synthetic": [0.02, 0.03, 0.01]},
            "note": "",
        }
    ],
    "did_not_help": ["this"],
}
SEARCH = {
    "machine": "a laptop",
    "corpus": "a corpus",
    "steps": 1,
    "objective": "1 - AUC",
    "trials": [
        {
            "number": number,
            "label": "x",
            "macs_clip": 1,
            "bytes_onnx": 2,
            "one_minus_auc": gap,
            "front": False,
            "state": state,
        }
        for number, gap, state in ((0, 0.1, "complete"), (1, None, "pruned"))
    ],
}


def test_laboratory(tmp_path: Path):
    path = tmp_path / "laboratory.json"
    path.write_text(json.dumps(LABORATORY))
    found = read_laboratory(path)
    assert found.rows[0].number == 1
    assert found.rows[0].one_minus_auc == {"synthetic": (0.02, 0.03, 0.01)}
    assert found.conditions == "on a corpus, 1,500 steps of training, 3 seeds, a laptop"


def test_starts_come_first(tmp_path: Path):
    path = tmp_path / "laboratory.json"
    row = LABORATORY["rows"][0]
    rows = [row, row | {"group": "of its own"}, row | {"group": "start"}]
    path.write_text(json.dumps(LABORATORY | {"rows": rows}))
    found = read_laboratory(path)
    assert [r.group for r in found.rows] == ["start", "distillation", "of its own"]
    assert [r.number for r in found.rows] == [1, 2, 3]


def test_search_tells_complete_trials_from_pruned_ones(tmp_path: Path):
    path = tmp_path / "search.json"
    path.write_text(json.dumps(SEARCH))
    found = read_search(path)
    assert len(found.trials) == 2
    assert [trial.number for trial in found.complete] == [0]


def test_absent_files_are_none(tmp_path: Path):
    assert read_laboratory(tmp_path / "laboratory.json") is None
    assert read_search(tmp_path / "search.json") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps(LABORATORY | {"rows": [{}]}), json.dumps(LABORATORY | {"rows": 3})],
)
def test_another_file_gives_one_sentence(tmp_path: Path, text: str):
    path = tmp_path / "laboratory.json"
    path.write_text(text)
    with pytest.raises(ExportError, match="run `make methods` again or remove the file"):
        read_laboratory(path)
