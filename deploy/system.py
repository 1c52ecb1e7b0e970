"""What a Raspberry Pi must be to take the package."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

OLDEST_DEBIAN = 13
SYSTEMS = ("debian", "raspbian")
"""As /etc/os-release calls Debian and Raspberry Pi OS, the latter on 64 and on 32 bits."""
SPARE_KIB = 8 * 1024
"""Room for what apt and dpkg write beside the package's own files."""


def read_answers(text: str) -> dict[str, str]:
    """The lines `kws-pi WORD VALUE`, whatever else a login prints around them."""
    answers = {}
    for line in text.splitlines():
        words = line.strip().split(maxsplit=2)
        if len(words) == 3 and words[0] == "kws-pi":
            answers[words[1]] = words[2]
    return answers


def check_system(answers: Mapping[str, str], package: Path) -> str:
    """What keeps a system from taking the package, as one sentence; empty when nothing does.

    `answers`: of ansible/scripts/probe.sh.
    """
    machine, packages = answers.get("machine", "unknown"), answers.get("packages", "none")
    architecture, installed_kib = _package(package)
    if architecture not in ("all", packages):
        return (
            f"it takes packages for {packages} (machine {machine}) and this one is for "
            f"{architecture}; install Raspberry Pi OS (64-bit) on it"
        )
    system, version = answers.get("system", "unknown"), answers.get("version", "")
    release = version.split(".")[0]
    if system not in SYSTEMS or not release.isdigit() or int(release) < OLDEST_DEBIAN:
        return (
            f"it runs {system} {version or 'of unknown version'}; kws-pi needs Raspberry Pi "
            f"OS or Debian {OLDEST_DEBIAN}"
        )
    free = answers.get("free_kib", "")
    # The package travels, is unpacked, and the old version is packed to be put back.
    needed = 3 * installed_kib + SPARE_KIB
    if free.isdigit() and int(free) < needed:
        return (
            f"its disk is full ({int(free) // 1024} MiB free, {needed // 1024} MiB needed); make "
            "room there (`sudo apt-get clean` often does) and run this again"
        )
    return ""


def _package(package: Path) -> tuple[str, int]:
    """Architecture and installed size in KiB."""
    done = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Architecture", "Installed-Size"],
        capture_output=True,
        text=True,
        check=True,
    )
    fields = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    return fields["Architecture"], int(fields["Installed-Size"])
