"""Wheels for the emulated Pi, held to the hashes of requirements/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GLIBC = 41
"""Debian 13 has glibc 2.41."""
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(GLIBC, 16, -1)]


def fetch(lock: Path, names: tuple[str, ...], folder: Path) -> list[Path]:
    """Downloads the wheels of packages that a lock file names, for Python 3.13 on a 64-bit Pi.

    Raises RuntimeError for a package that is not in it, CalledProcessError when pip fails.
    """
    text = lock.read_text(encoding="utf-8")
    wanted = []
    for name in names:
        found = re.search(rf"^{name}==(\S+).*((?:\n    --hash\S+(?: \\)?)+)", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"{lock}: {name} is not in it")
        wanted.append(f"{name}=={found[1]} \\{found[2]}\n")
    folder.mkdir(parents=True, exist_ok=True)
    list_of_them = folder / "wheels.txt"
    list_of_them.write_text("".join(wanted), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version=3.13"]
    command += [f"--platform={platform}" for platform in (*PLATFORMS, "manylinux2014_aarch64")]
    subprocess.run([*command, f"--dest={folder}", f"--requirement={list_of_them}"], check=True)
    return sorted(folder.glob("*.whl"))
