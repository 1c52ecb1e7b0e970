"""Loading a model, and which one is the default."""

from pathlib import Path

import numpy as np
import pytest
from device_kit import LOUD

from device.errors import ManifestError
from device.model import default_manifest, load_model


def add_models(folder: Path, *names: str) -> None:
    """Manifests and networks by name alone: which is chosen does not depend on what they hold."""
    for name in names:
        (folder / f"{name}.json").write_text("{}")
        (folder / f"{name}.onnx").touch()


def test_reset_returns_to_the_start() -> None:
    model = load_model(LOUD)
    sound = (np.random.default_rng(0).standard_normal((3, 1280)) * 0.1).astype(np.float32)
    first = [model.step(step) for step in sound]
    assert [model.step(step) for step in sound] != first
    model.reset()
    assert [model.step(step) for step in sound] == first


def test_default_names_the_model(tmp_path: Path) -> None:
    add_models(tmp_path, "a", "b")
    (tmp_path / "default").write_text("b.json\n")
    assert default_manifest((tmp_path,)) == tmp_path / "b.json"


def test_only_model_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    add_models(tmp_path / "installed", "a")
    (tmp_path / "installed" / "a.table.json").write_text("{}")
    folders = (tmp_path / "absent", tmp_path / "installed")
    assert default_manifest(folders) == tmp_path / "installed" / "a.json"


def test_several_models_and_no_default(tmp_path: Path) -> None:
    add_models(tmp_path, "a", "b")
    with pytest.raises(ManifestError, match=r"a\.json, b\.json.*--model"):
        default_manifest((tmp_path,))


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no model is installed"):
        default_manifest((tmp_path,))
