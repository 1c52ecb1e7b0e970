"""The soak, short: what `make soak` checks over a day holds over two minutes of sound."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from device_kit import LOUD, ROOT, bursts, write_wav
from soak import DRIFT, MEMORY_KIB, Mark, complaints

pytest.importorskip("alsaaudio")


def test_memory_stays_flat_and_silence_silent(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "bursts.wav", bursts(6.0, (1.0, 3.0)))
    command = [sys.executable, str(ROOT / "tests" / "soak.py"), "--hours", "3", "--hour-s", "50"]
    command += ["--quiet-s", "40", "--model", str(LOUD), "--sound", str(sound)]
    command += ["--json", str(tmp_path / "marks.json")]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    marks = [Mark(**mark) for mark in json.loads((tmp_path / "marks.json").read_text())]
    at = [mark.audio_h * 3600 for mark in marks]
    assert [at[1] - at[0], at[2] - at[1]] == pytest.approx([50, 50], abs=0.1)
    # That of the start.
    assert [mark.gaps for mark in marks] == [1, 1, 1]
    assert 0 < marks[0].detections <= marks[1].detections <= marks[2].detections
    assert len({mark.probability for mark in marks}) == 1


def test_what_has_grown_or_drifted_is_named() -> None:
    first = Mark(1.0, 60000, 0.001, 0, 0)
    grown = Mark(2.0, 60001 + MEMORY_KIB, 0.001, 0, 0)
    drifted = Mark(3.0, 60000, 0.001 + 2 * DRIFT, 0, 0)
    assert complaints([first, first]) == []
    assert complaints([first, grown]) == [
        f"memory has grown by {MEMORY_KIB + 1} KiB since the first hour"
    ]
    assert complaints([first, drifted]) == ["the probability in quiet has drifted by 0.0002"]
