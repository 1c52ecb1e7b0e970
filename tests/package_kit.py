"""Small packages for the tests of packaging and deploying."""

import subprocess
import sys
from pathlib import Path

LOUD = Path(__file__).resolve().parent / "loud" / "loud.json"
ROOT = Path(__file__).resolve().parent.parent


def build_elsewhere(output: Path, environment: dict[str, str], umask: int) -> Path:
    """Builds the package in a process, folder and environment of its own."""
    output.mkdir(parents=True)
    code = (
        "import os, sys; from pathlib import Path; from deploy.build_deb import build; "
        f"os.umask({umask}); print(build(*map(Path, sys.argv[1:])))"
    )
    command = [sys.executable, "-c", code, str(LOUD), str(output)]
    done = subprocess.run(
        command, cwd=output, env=environment, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())
