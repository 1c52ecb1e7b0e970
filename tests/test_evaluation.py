"""`make evaluate`, from folders to the page, with a model that fires at noise."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from device_kit import LOUD

from device.manifest import read_manifest
from train_host import folds, tape_conditions
from train_host.calibrate import THRESHOLDS
from train_host.corpus import Clip
from train_host.evaluation import main
from train_host.evaluation_figures import FILE, read_evaluation
from train_host.page_evaluation import evaluation_section
from train_host.tape import RATE

pytestmark = pytest.mark.usefixtures("short_hour")


@pytest.fixture
def short_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape_conditions, "HOUR", 20 * RATE)


def sounds(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Loud bursts as the keyword, quiet noise as everything else."""
    rng = np.random.default_rng(seed)
    found = {}
    for kind, seconds, level in (("keywords", 0.5, 0.2), ("speech", 12, 2e-4), ("noise", 12, 2e-4)):
        path = folder / kind / f"speaker{seed}_nohash_0.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, level, round(seconds * RATE)), RATE)
        found[kind] = path
    return found


def test_folders_in_figures_and_a_page_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds(tmp_path)
    status = main(
        [
            *("--model", str(LOUD), "--output", str(tmp_path / "build")),
            *("--positives", str(tmp_path / "keywords")),
            *("--negatives", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise")),
        ]
    )
    assert status == 0, capsys.readouterr().out
    keyword = read_manifest(LOUD).keyword
    found = read_evaluation(tmp_path / "build" / keyword / FILE)
    assert found is not None
    (system,) = found.systems
    assert system.own.negatives.count == 0
    assert system.hours == pytest.approx(12 / 3600)
    clean = system.own.row("clean", "real")
    assert clean is not None
    assert (clean.missed, clean.keywords, clean.clips) == (0, 6, 1)
    assert clean.latency_s is not None
    assert -0.5 < clean.latency_s[0] < 0.5
    page = (tmp_path / "build" / keyword / "evaluation.html").read_text()
    assert "0 of 6: 0.0 %" in page
    assert "<polyline" in page
    assert "clean" in capsys.readouterr().out


def make_fold(folder: Path, seed: int, threshold: float) -> Path:
    """A build with the loud model, and what it held out."""
    manifest = read_manifest(LOUD)
    detection = dataclasses.replace(manifest.detection, threshold=threshold, rearm=threshold / 2)
    held = sounds(folder, seed)
    clips = {
        kind: (Clip("x", f"speaker{seed}", "validation", "real", path),)
        for kind, path in held.items()
    }
    folds.HeldOut(clips["speech"], clips["noise"], clips["keywords"]).write(folder)
    shutil.copytree(LOUD.parent, folder, dirs_exist_ok=True)
    dataclasses.replace(manifest, detection=detection).write(folder / LOUD.name)
    return folder


def test_folds_hear_what_they_held_out_and_are_pooled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [str(make_fold(tmp_path / f"fold{n}", n, t)) for n, t in enumerate((0.5, 0.75))]
    status = main(["--folds", *made, "--output", str(tmp_path / "build")])
    assert status == 0, capsys.readouterr().out
    found = read_evaluation(tmp_path / "build" / read_manifest(LOUD).keyword / FILE)
    assert found is not None
    (system,) = found.systems
    # Silent sounds ask no more of either than the lowest threshold.
    assert system.thresholds == (float(THRESHOLDS[0]),) * 2
    assert system.hours == pytest.approx(24 / 3600)
    clean = system.own.row("clean", "real")
    assert clean is not None
    assert (clean.missed, clean.keywords, clean.clips, clean.speakers) == (0, 12, 2, 2)
    assert "the pooled figure is not its own" in evaluation_section(found)
    # Each further speaker is heard by one of them.
    further = sounds(tmp_path / "further", 7)["keywords"].parent
    given = ["--positives", str(further), "--output", str(tmp_path / "more")]
    assert main(["--folds", *made, *given]) == 0
    found = read_evaluation(tmp_path / "more" / read_manifest(LOUD).keyword / FILE)
    assert found is not None
    clean = found.systems[0].own.row("clean", "real")
    assert clean is not None
    assert (clean.clips, clean.speakers) == (3, 3)
    # The same fold twice would count its recordings twice.
    assert main(["--folds", made[0], made[0], "--output", str(tmp_path)]) == 1
    assert "each fold once" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--negatives", "/nowhere"], "no such folder"),
        (["--keyword", "rutabaga"], "no shipped model listens"),
        (["--model", "/nowhere.json"], "manifest cannot be read"),
        (["--folds", "/nowhere"], "holds no exported model"),
        (["--folds", "/nowhere", "--held-out"], "give FOLDS without MODEL"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "Traceback" not in out


def test_the_page_escapes_what_it_was_given(tmp_path: Path) -> None:
    held = sounds(tmp_path)
    odd = held["speech"].parent.rename(tmp_path / "<script>alert(1)")
    folder = Path(shutil.copytree(LOUD.parent, tmp_path / "loud"))
    model = (folder / LOUD.name).rename(folder / "<b>.json")
    arguments = ["--model", str(model), "--negatives", str(odd), "--output", str(tmp_path)]
    folders = [
        f"--{option}={held[kind].parent}"
        for option, kind in (("positives", "keywords"), ("noise", "noise"))
    ]
    assert main([*arguments, *folders]) == 0
    (page,) = tmp_path.rglob("evaluation.html")
    text = page.read_text()
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "<b>" not in text
