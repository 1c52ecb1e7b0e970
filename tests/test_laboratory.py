"""The method table and the search, from end to end on a handful of embedded clips."""

import json
import shutil
from pathlib import Path

import optuna
import pytest

torch = pytest.importorskip("torch")

from shapes import few_embedded_clips  # noqa: E402

from train_host import corpus as corpora  # noqa: E402
from train_host import laboratory, search, stores, train  # noqa: E402
from train_host.findings import read_laboratory, read_search  # noqa: E402
from train_host.laboratory import did_not_help  # noqa: E402
from train_host.search import MOST_MACS, Objective, label  # noqa: E402


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build folder with teacher and tutor, trained on few clips; and the patches it needs."""
    folder = tmp_path_factory.mktemp("build")
    small = few_embedded_clips()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "read_embedded", lambda: small)
        patch.setattr(
            train, "QUICK", train.Effort(base=1, teacher=1, tutor=1, student=2, verifier=1)
        )
        for module in (train, laboratory):
            patch.setattr(module, "BATCH", 6)
        patch.setattr(stores, "KEYWORD_VERSIONS", {"embedded": 0})
        patch.setattr(stores, "OTHER_VERSIONS", 0)
        assert train.main(["--output", str(folder), "--cache", str(folder / "cache")]) == 0
        yield folder


def arguments(build: Path, tmp_path: Path) -> list[str]:
    given = {"--build": build, "--cache": build / "cache", "--output": tmp_path / "found.json"}
    return [str(word) for pair in given.items() for word in pair]


def test_every_method_gets_a_row(build, tmp_path: Path, monkeypatch):
    some = tmp_path / "methods"
    for name in (
        "start/2_separable-student",
        "distillation/8_attention-map",
        "quantization/5_dynamic",
    ):
        target = some / f"{name}.toml"
        target.parent.mkdir(parents=True)
        shutil.copy(laboratory.METHODS / f"{name}.toml", target)
    monkeypatch.setattr(laboratory, "METHODS", some)
    more = ["--steps", "4", "--seeds", "2", "--processes", "1", "--scratch", str(tmp_path / "s")]
    assert laboratory.main([*arguments(build, tmp_path), *more]) == 0
    table = read_laboratory(tmp_path / "found.json")
    assert table is not None
    rows = {row.method: row for row in table.rows}
    assert set(rows) == {"separable student", "attention map", "dynamic"}
    assert all(len(row.one_minus_auc["synthetic"]) == 2 for row in table.rows)
    assert rows["separable student"].macs_clip == rows["dynamic"].macs_clip
    assert rows["separable student"].bytes_onnx < rows["dynamic"].bytes_onnx
    # What is done is not done again.
    monkeypatch.setattr(laboratory, "_job", None)
    assert laboratory.main([*arguments(build, tmp_path), *more]) == 0


def test_what_did_not_help_is_what_ends_no_better_than_without():
    def row(group, method, gap):
        gaps = {"synthetic": [gap, gap]}
        return {"group": group, "method": method, "setting": "so", "one_minus_auc": gaps}

    rows = [
        row("start", "separable student", 0.02),
        row("distillation", "good", 0.01),
        row("distillation", "bad", 0.03),
        row("pruning", "cheaper", 0.05),
        row("pruning", "ruinous", 0.5),
    ]
    found = did_not_help(rows)
    assert [line.split(":")[0] for line in found] == ["bad (so)", "ruinous (so)"]


def test_a_search_goes_on_where_it_was_and_shows_its_front(build, tmp_path: Path, capsys):
    more = ["--steps", "4", "--trials", "2"]
    assert search.main([*arguments(build, tmp_path), *more]) == 0
    first = json.loads((tmp_path / "found.json").read_text())
    assert search.main([*arguments(build, tmp_path), *more]) == 0
    second = json.loads((tmp_path / "found.json").read_text())
    assert [t for t in second["trials"] if t["number"] < 2] == [
        t | {"front": u["front"]} for t, u in zip(first["trials"], second["trials"], strict=False)
    ]
    assert (tmp_path / "found.db").is_file()
    found = read_search(tmp_path / "found.json")
    assert found is not None
    complete = [t for t in found.trials if t.state == "complete"]
    for trial in complete:
        beaten = any(
            o.macs_clip <= trial.macs_clip
            and o.bytes_onnx <= trial.bytes_onnx
            and o.one_minus_auc < trial.one_minus_auc
            for o in complete
        )
        assert not (trial.front and beaten)
    assert all(t.macs_clip <= MOST_MACS for t in found.trials)
    assert "The front" in capsys.readouterr().out


def test_a_hopeless_trial_is_given_up_early(build, tmp_path: Path, monkeypatch):
    runs = []

    def gap(self, recipe, steps):
        runs.append(steps)
        return 0.1 if len(runs) <= 2 else 0.5

    monkeypatch.setattr(Objective, "_run", gap)
    study = optuna.create_study(directions=["minimize"] * 3)
    params = {
        **{"hidden": 12, "channels": 16, "attention": "flat", "frames": 16, "window": 12},
        **{"rate": 4e-3, "soft_labels": False, "cut_down": False, "quantize_aware": True},
    }
    study.enqueue_trial(params)
    study.enqueue_trial(params)
    study.optimize(Objective(None, 100), n_trials=2)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED"]
    assert runs == [25, 100, 25]
    assert label(params) == "16x12 k16 QAT"


def test_refusals_are_one_sentence(build, tmp_path: Path, capsys):
    given = arguments(build, tmp_path)
    assert search.main([*given, "--storage", "nonsense://x"]) == 1
    assert "give STORAGE= a URL" in " ".join(capsys.readouterr().out.split())
    given[1] = str(tmp_path / "none")
    assert search.main([*given, "--steps", "2", "--trials", "1"]) == 1
    assert "run `make train` again" in " ".join(capsys.readouterr().out.split())
