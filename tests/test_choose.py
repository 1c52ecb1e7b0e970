"""Which model is deployed, and what is said about it."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy.choose import choose_model, describe
from device.errors import ManifestError
from device.manifest import read_manifest

LOUD = Path(__file__).resolve().parent / "loud" / "loud.json"


def add_model(
    folder: Path, kind: str, age_s: float = 0, name: str = "loud", **changes: Any
) -> Path:
    """A copy of the test's model as if it had been built from a corpus of that kind."""
    folder.mkdir(parents=True)
    path = folder / f"{name}.json"
    for suffix in (".onnx", ".npz"):
        shutil.copy(LOUD.with_suffix(suffix), path.with_suffix(suffix))
    training = {"corpus": {"name": f"the {kind} corpus", "kind": kind}}
    dataclasses.replace(read_manifest(LOUD), training=training, **changes).write(path)
    time = 1e9 - age_s
    os.utime(path, (time, time))
    return path


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    add_model(folder, "recordings")
    (folder / "default").write_text("loud.json\n")
    return folder


def test_the_named_model_wins(tmp_path: Path, shipped: Path) -> None:
    add_model(tmp_path / "build" / "a", "recordings")
    named = add_model(tmp_path / "build" / "b", "embedded")
    assert choose_model(named, tmp_path / "build", shipped) == named


def test_the_last_from_recordings_comes_next(tmp_path: Path, shipped: Path) -> None:
    add_model(tmp_path / "build" / "older", "recordings", age_s=60)
    newer = add_model(tmp_path / "build" / "newer", "recordings", age_s=30)
    add_model(tmp_path / "build" / "newest", "embedded")
    (newer.parent / "loud.table.json").write_text("{}")
    assert choose_model(None, tmp_path / "build", shipped) == newer


def test_both_sizes_of_a_keyword_are_seen(tmp_path: Path, shipped: Path) -> None:
    add_model(tmp_path / "build" / "loud", "recordings", age_s=60)
    small = add_model(tmp_path / "build" / "loud-small", "recordings", name="loud-small")
    assert choose_model(None, tmp_path / "build", shipped) == small


def test_an_embedded_model_is_not_taken_unasked(tmp_path: Path, shipped: Path) -> None:
    add_model(tmp_path / "build" / "a", "embedded")
    assert choose_model(None, tmp_path / "build", shipped) == shipped / "loud.json"


def test_a_broken_build_is_passed_over(tmp_path: Path, shipped: Path) -> None:
    add_model(tmp_path / "build" / "a", "recordings").write_text("{")
    assert choose_model(None, tmp_path / "build", shipped) == shipped / "loud.json"


def test_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no model is installed"):
        choose_model(None, tmp_path / "build", tmp_path / "models")


def test_describe_names_corpus_and_figures(tmp_path: Path) -> None:
    quality = {"keywords": 11, "others": 900, "one_minus_auc": 0.00123, "miss_at_1%": 0.25}
    student = {"parameters": 2671, "bytes_onnx": 4773, "quality": {"real": quality}}
    figures = {"columns": {"student": student}}
    text = describe(add_model(tmp_path / "a", "recordings", figures=figures))
    assert "corpus     the recordings corpus" in text
    assert "parameters: 2,671" in text
    assert "1 - AUC 1.23e-03" in text
    assert "25.0%" in text
    assert "not for use" not in text


def test_describe_warns_of_the_embedded_corpus(tmp_path: Path) -> None:
    text = describe(add_model(tmp_path / "a", "embedded"))
    assert "not for use" in text
    assert "none were measured" in text


def test_describe_refuses_an_altered_network(tmp_path: Path) -> None:
    path = add_model(tmp_path / "a", "recordings")
    path.with_suffix(".npz").write_bytes(b"another")
    with pytest.raises(ManifestError, match="SHA-256"):
        describe(path)
