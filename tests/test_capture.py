"""The ring of recordings: what they hold, how many are kept, and what goes wrong with a disk."""

import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device import capture as module
from device.capture import Capture, FileRing, Recording
from device.settings import CaptureSettings
from device.spotter import Hit

HIT = Hit("sheila", 1.0, 0.9, 5.0)
RATE = 100


def recordings(folder: Path) -> list[np.ndarray]:
    """The samples of the files, oldest first."""
    found = []
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path), "rb") as file:
            assert file.getparams()[:3] == (1, 2, RATE)
            found.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    return found


def counting(start: int, end: int) -> np.ndarray:
    """Samples that say which they are, once they are 16-bit numbers."""
    return (np.arange(start, end) / 32768).astype(np.float32)


def make(folder: Path, said: list[str], before_s: float = 2.0, after_s: float = 1.0) -> Capture:
    kept = CaptureSettings(True, before_s, after_s, 50, 10.0, str(folder))
    return Capture(kept, RATE, said.append)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from([(2.0, 1.0), (0.1, 0.0), (0.5, 3.0)]),
)
def test_each_holds_the_seconds_around_its_detection(
    blocks: list[int], hits: list[bool], around: tuple[float, float]
) -> None:
    said: list[str] = []
    expected = []
    end = sum(blocks)
    before, after = round(around[0] * RATE), round(around[1] * RATE)
    with tempfile.TemporaryDirectory() as folder:
        capture = make(Path(folder), said, *around)
        capture._worker._room = threading.Semaphore(100)  # no disk is too slow here
        at = 0
        for size, hit in zip(blocks, hits, strict=False):
            capture.heard(counting(at, at + size), after_gap=at == 0)
            at += size
            if hit:
                capture.detected(HIT, 0.0)
                expected.append((max(0, at - before), min(end, at + after)))
        capture.close()
        got = [(int(r[0]), int(r[-1]) + 1) for r in recordings(Path(folder))]
        assert all(
            np.array_equal(r, np.arange(r[0], r[0] + len(r))) for r in recordings(Path(folder))
        )
    assert got == expected
    assert said == []


def test_a_gap_ends_a_recording_and_what_was_before_it_is_not_in_the_next(tmp_path: Path) -> None:
    said: list[str] = []
    capture = make(tmp_path / "x", said)
    capture.heard(counting(0, 300), False)
    capture.detected(HIT, 0.0)
    capture.heard(counting(300, 350), False)
    capture.heard(counting(1000, 1050), True)
    capture.detected(HIT, 0.0)
    capture.heard(counting(1050, 1200), False)
    capture.close()
    first, second = recordings(tmp_path / "x")
    assert (first[0], first[-1]) == (100, 349)
    assert (second[0], second[-1]) == (1000, 1149)


def test_without_a_detection_nothing_is_written(tmp_path: Path) -> None:
    capture = make(tmp_path / "x", [])
    for at in range(0, 10000, 100):
        capture.heard(counting(at, at + 100), False)
        capture.tick(at)
    capture.close()
    assert not (tmp_path / "x").exists()


def test_they_are_for_the_owner_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        capture = make(tmp_path / "x", [])
        capture.heard(counting(0, 300), False)
        capture.detected(HIT, 0.0)
        capture.close()
    finally:
        os.umask(mask)
    (path,) = (tmp_path / "x").iterdir()
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name.startswith("000001-") and path.name.endswith("Z-sheila-0.900.wav")


def recording(seconds: float, word: str = "sheila") -> Recording:
    return Recording(word, 0.9, 0.0, np.zeros(round(seconds * RATE), np.int16))


@given(st.integers(1, 6), st.integers(244, 2000), st.lists(st.floats(0, 1), max_size=12))
@settings(max_examples=40, deadline=None)
def test_number_and_bytes_are_bounded(files: int, limit: int, lengths: list[float]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stranger = folder / "000000-mine.wav"
        stranger.write_bytes(bytes(5000))
        ring = FileRing(folder, files, limit, RATE)
        for seconds in lengths:
            newest = ring.add(recording(seconds))
            own = sorted(set(folder.iterdir()) - {stranger})
            assert len(own) <= files
            assert sum(path.stat().st_size for path in own) <= limit
            assert own[-1] == newest
        assert stranger.exists()


def test_it_goes_on_where_it_was_and_clears_what_a_power_cut_left(tmp_path: Path) -> None:
    FileRing(tmp_path, 10, 10**6, RATE).add(recording(1))
    left = tmp_path / "000007-20260101T000000Z-sheila-0.900.part"
    left.write_bytes(b"x")
    path = FileRing(tmp_path, 10, 10**6, RATE).add(recording(1, "../été"))
    assert path.name == "000008-19700101T000000Z-____t_-0.900.wav"
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_slow_disk_does_not_hold_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    add = FileRing.add

    def slow(self: FileRing, recording: Recording) -> Path:
        go.wait(10)
        return add(self, recording)

    monkeypatch.setattr(FileRing, "add", slow)
    said: list[str] = []
    capture = make(tmp_path / "x", said)
    longest = 0.0
    for at in range(0, 5000, 500):
        began = time.monotonic()
        capture.heard(counting(at, at + 500), False)
        capture.detected(HIT, 0.0)
        longest = max(longest, time.monotonic() - began)
    assert longest < 0.5  # the disk takes ten seconds
    assert said == [
        "the disk is too slow for the recordings of so many detections; listening goes on"
    ]
    go.set()
    capture.close()
    # One more may have been on its way to the disk already.
    assert module.WAITING <= len(recordings(tmp_path / "x")) <= module.WAITING + 1


def test_a_full_disk_is_said_once_and_so_is_its_end(tmp_path: Path) -> None:
    """A real file system of 64 KiB, full."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs root, to mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        filler = folder / "filler"
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        said: list[str] = []
        capture = make(folder / "x", said)

        def detect() -> None:
            capture.heard(counting(0, 300), True)
            capture.detected(HIT, 0.0)
            capture.heard(counting(300, 400), False)
            settle(capture)

        detect()
        detect()
        complaint = f"{folder / 'x'}: a recording cannot be kept (No space left on device)"
        assert said == [f"{complaint}; listening goes on"]
        assert list((folder / "x").glob("*")) == []
        filler.unlink()
        detect()
        assert said[1:] == [f"{folder / 'x'}: recordings are kept again"]
        assert len(recordings(folder / "x")) == 1
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        detect()
        detect()
        assert len(said) == 3
        assert "Read-only file system" in said[2]
        capture.close()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def settle(capture: Capture) -> None:
    """Waits until what is to be written has been tried."""
    deadline = time.monotonic() + 5
    while capture._worker._room._value < module.WAITING and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_folder_that_cannot_be_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    capture = make(tmp_path / "file" / "x", said)
    for _ in range(3):
        capture.heard(counting(0, 400), True)
        capture.detected(HIT, 0.0)
        settle(capture)
    capture.close()
    assert said == [
        f"{tmp_path / 'file' / 'x'}: a recording cannot be kept (Not a directory); "
        "listening goes on"
    ]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5
    while any(t.name == "the capture" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
