"""The network in tests/loud is the one that its script writes."""

from pathlib import Path

import pytest

from device.manifest import read_manifest

LOUD = Path(__file__).resolve().parent / "loud"


def test_stored_network_is_the_written_one(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    import energy_model

    energy_model.write(tmp_path)
    stored, written = (onnx.load(folder / "loud.onnx") for folder in (LOUD, tmp_path))
    assert stored.graph == written.graph
    ours, theirs = (read_manifest(folder / "loud.json") for folder in (LOUD, tmp_path))
    assert (ours.states, ours.detection) == (theirs.states, theirs.detection)
