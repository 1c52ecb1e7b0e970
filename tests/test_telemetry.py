"""ONNX Runtime must not report its use, nor leave an identifier of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("package", ["device", "export", "train_host"])
def test_nothing_is_left_in_the_home_folder(package: str, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    network = str(TESTS / "loud" / "loud.onnx")
    code = f"import {package}, onnxruntime; onnxruntime.InferenceSession({network!r})"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS.parent,
        env={**environment, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        check=True,
    )
    assert list(tmp_path.iterdir()) == []
