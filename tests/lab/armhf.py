"""`make armhf`: the package in a 32-bit Debian 13, whose programs run here through qemu.

    python -m pytest -v tests/lab/armhf.py

It has no systemd that runs and no sound card: it shows that the package installs there, finds all
that it needs, and computes what it computes on the host.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from machine import CACHE  # noqa: E402
from target import Word, find_word  # noqa: E402

from deploy.build_deb import build  # noqa: E402
from device.model import default_manifest, load_model  # noqa: E402
from device.score import score_files  # noqa: E402

ROOT = CACHE / "armhf"


def run(*command: str) -> str:
    """What a program prints in the 32-bit system."""
    done = subprocess.run(
        ["chroot", str(ROOT), *command],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def system(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The system with the package in it."""
    subprocess.run([HERE / "armhf.sh", ROOT], check=True)
    package = build(default_manifest(), tmp_path_factory.mktemp("package"))
    shutil.copy(package, ROOT / "kws-pi.deb")
    for name in ("passwd", "group"):
        (ROOT / "etc" / name).touch()
    # What it depends on is unpacked and not configured.
    run("dpkg", "--force-depends", "--install", "/kws-pi.deb")


@pytest.fixture(autouse=True)
def it_listens_again() -> None:
    """Nothing does, in a system without a sound card; the emulated Pi stays off."""


@pytest.fixture(scope="module")
def word(system: None) -> Word:
    return find_word(ROOT / "word.wav")


def test_it_is_a_32_bit_system_and_the_package_is_installed() -> None:
    assert run("dpkg", "--print-architecture").strip() == "armhf"
    assert run("python3", "-c", "import struct; print(8 * struct.calcsize('P'))").strip() == "32"
    state = run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Architecture}", "kws-pi")
    assert state.split() == ["ii", "all"]


def test_it_finds_the_keyword(word: Word) -> None:
    hits = [
        json.loads(line) for line in run("kws-pi", "listen", "--json", "/word.wav").splitlines()
    ]
    keyword = load_model(default_manifest()).manifest.keyword
    assert [hit["keyword"] for hit in hits] == [keyword]


def test_it_computes_what_the_host_computes(word: Word, tmp_path: Path) -> None:
    run("kws-pi", "score", "/word.wav", "--output", "/there.npz")
    score_files(load_model(default_manifest()), [word.path], tmp_path / "here.npz", print)
    with np.load(ROOT / "there.npz") as there, np.load(tmp_path / "here.npz") as here:
        assert there.files == here.files == ["word"]
        assert here["word"].max() > 0.9
        np.testing.assert_allclose(there["word"], here["word"], atol=1e-4, rtol=0)


def test_without_a_microphone_it_says_so() -> None:
    done = subprocess.run(
        ["chroot", str(ROOT), "kws-pi", "devices"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("kws-pi: no microphone found")
    assert done.stderr.count("\n") == 1


def test_the_other_engine_is_refused_in_one_sentence() -> None:
    command = ["kws-pi", "listen", "--engine", "onnxruntime", "/word.wav"]
    done = subprocess.run(
        ["chroot", str(ROOT), *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "this is a 32-bit system" in done.stderr
    assert done.stderr.count("\n") == 1
