"""The network in tests/loud is the one that its script writes."""

from pathlib import Path

import numpy as np
import pytest

from device.manifest import read_manifest

LOUD = Path(__file__).resolve().parent / "loud"


def test_stored_network_is_the_written_one(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    import energy_model

    energy_model.write(tmp_path)
    stored, written = (onnx.load(folder / "loud.onnx") for folder in (LOUD, tmp_path))
    assert stored.graph == written.graph
    stored, written = (dict(np.load(folder / "loud.npz")) for folder in (LOUD, tmp_path))
    assert stored.keys() == written.keys()
    assert all(np.array_equal(stored[name], written[name]) for name in stored)
    ours, theirs = (read_manifest(folder / "loud.json") for folder in (LOUD, tmp_path))
    assert (ours.states, ours.detection) == (theirs.states, theirs.detection)
