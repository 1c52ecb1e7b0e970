"""Small packages for the tests of packaging and deploying."""

import subprocess
import sys
import zipfile
from pathlib import Path

LOUD = Path(__file__).resolve().parent / "loud" / "loud.json"
ROOT = Path(__file__).resolve().parent.parent


def write_wheel(path: Path) -> Path:
    """A wheel laid out like ONNX Runtime's, without its 50 MB."""
    with zipfile.ZipFile(path, "w") as wheel:
        for name in (
            "onnxruntime/__init__.py",
            "onnxruntime/capi/_pybind_state.py",
            "onnxruntime/capi/onnxruntime_pybind11_state.cpython-313-aarch64-linux-gnu.so",
            "onnxruntime/capi/libonnxruntime_providers_shared.so",
            "onnxruntime/capi/libonnxruntime.so.1.32.0",
            "onnxruntime/tools/check.py",
            "onnxruntime/quantization/__init__.py",
            "onnxruntime-1.32.0.dist-info/METADATA",
        ):
            wheel.writestr(name, "")
    return path


def build_elsewhere(wheel: Path, output: Path, environment: dict[str, str], umask: int) -> Path:
    """Builds the package in a process, folder and environment of its own."""
    output.mkdir(parents=True)
    code = (
        "import os, sys; from pathlib import Path; from deploy.build_deb import build; "
        f"os.umask({umask}); print(build(*map(Path, sys.argv[1:])))"
    )
    command = [sys.executable, "-c", code, str(LOUD), str(wheel), str(output)]
    done = subprocess.run(
        command, cwd=output, env=environment, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())
