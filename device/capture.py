"""The capture: keeps the seconds around each detection as WAV files, if the user asks for it.

A bounded ring of files: before a new one is written, the oldest go until
number and bytes fit. Files are numbered, since a Raspberry Pi has no clock of
its own and may begin in the past. Only files named like its own are counted
and removed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import time
import wave
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.actions import Action, Say
from device.settings import CaptureSettings
from device.spotter import Hit
from device.worker import Worker

NAME = re.compile(r"(\d{6,})-\d{8}T\d{6}Z-[A-Za-z0-9_-]{1,40}-\d\.\d{3}\.(wav|part)")
WAITING = 3
"""Recordings that may wait for a slow disk; together a few hundred kilobytes."""
CLOSE_S = 1.0


@dataclass(frozen=True)
class Recording:
    """What was heard around one detection."""

    keyword: str
    probability: float
    taken_at: float
    """Wall clock of the detection, in seconds since 1970."""
    samples: NDArray[np.int16]


class Capture(Action):
    """Keeps what was heard last in memory, and writes it after a detection."""

    def __init__(self, settings: CaptureSettings, sample_rate: int, say: Say) -> None:
        self._before = round(settings.before_s * sample_rate)
        self._after = round(settings.after_s * sample_rate)
        self._folder = FileRing(
            Path(settings.folder), settings.files, round(settings.megabytes * 1e6), sample_rate
        )
        self._say = say
        self._complaint = ""
        self._worker: Worker[Recording] = Worker("the capture", self._write, WAITING, say)
        # The newest samples, oldest first after a roll; `_heard` counts those since the last gap.
        self._memory = np.zeros(self._before + self._after, np.int16)
        self._heard = 0
        self._due: deque[tuple[int, Hit, float]] = deque()

    def heard(self, samples: NDArray[np.float32], after_gap: bool) -> None:
        """Keeps a block; a recording is complete when the seconds after its detection are."""
        if after_gap:
            self._finish()
            self._heard = 0
        whole = _to_int16(samples)
        # In pieces that fit beside what a recording still needs.
        while len(whole):
            room = self._due[0][0] - self._heard if self._due else len(self._memory)
            piece, whole = whole[:room], whole[room:]
            self._keep(piece)
            while self._due and self._due[0][0] == self._heard:
                self._cut()

    def detected(self, hit: Hit, now: float) -> None:
        """Notes a detection, made of the block that was heard last."""
        self._due.append((self._heard + self._after, hit, time.time()))
        if not self._after:
            self._cut()

    def close(self) -> None:
        """Writes what is complete, and what is not, as far as it was heard."""
        self._finish()
        self._worker.close(CLOSE_S)

    def _keep(self, piece: NDArray[np.int16]) -> None:
        size = len(self._memory)
        start = self._heard % size
        first = min(len(piece), size - start)
        self._memory[start : start + first] = piece[:first]
        self._memory[: len(piece) - first] = piece[first:]
        self._heard += len(piece)

    def _finish(self) -> None:
        while self._due:
            self._cut()

    def _cut(self) -> None:
        """Hands the samples of the oldest detection over to the thread that writes."""
        due, hit, taken_at = self._due.popleft()
        missing = due - self._heard
        count = min(self._heard, self._before + self._after - missing)
        samples = self._memory[np.arange(self._heard - count, self._heard) % len(self._memory)]
        if not self._worker.offer(Recording(hit.keyword, hit.probability, taken_at, samples)):
            self._complain("the disk is too slow for the recordings of so many detections")

    def _write(self, recording: Recording) -> None:
        try:
            self._folder.add(recording)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EROFS:
                reason += "; the service writes only with /usr/share/kws-pi/drop-ins/capture.conf"
            self._complain(f"{self._folder.path}: a recording cannot be kept ({reason})")
        else:
            if self._complaint:
                self._say(f"{self._folder.path}: recordings are kept again")
            self._complaint = ""

    def _complain(self, complaint: str) -> None:
        """Says the same only once, until a recording was kept again."""
        if complaint != self._complaint:
            self._complaint = complaint
            self._say(f"{complaint}; listening goes on")


class FileRing:
    """A folder of numbered WAV files, bounded in number and bytes."""

    def __init__(self, path: Path, files: int, limit: int, sample_rate: int) -> None:
        self.path = path
        self._files = files
        self._limit = limit
        self._sample_rate = sample_rate

    def add(self, recording: Recording) -> Path:
        """Writes a recording, for the owner's eyes alone, after making room. Returns its path.

        Raises OSError; then nothing half written stays behind.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = _wav(recording.samples, self._sample_rate)
        number = self._make_room(len(data))
        taken = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(recording.taken_at))
        word = re.sub(r"[^A-Za-z0-9_-]", "_", recording.keyword)[:40] or "_"
        path = self.path / f"{number:06d}-{taken}-{word}-{recording.probability:.3f}.wav"
        part = path.with_suffix(".part")
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            part.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        return path

    def _make_room(self, size: int) -> int:
        """Removes the oldest until one more of `size` bytes fits; returns the next number."""
        kept: list[tuple[int, int, Path]] = []
        last = 0
        for path in self.path.iterdir():
            match = NAME.fullmatch(path.name)
            if not match or path.is_symlink() or not path.is_file():
                continue
            last = max(last, int(match[1]))
            if match[2] == "part":
                path.unlink()  # of a write that a power cut ended
            else:
                kept.append((int(match[1]), path.stat().st_size, path))
        kept.sort()
        total = sum(length for _, length, _ in kept)
        while kept and (len(kept) >= self._files or total + size > self._limit):
            _, length, path = kept.pop(0)
            path.unlink()
            total -= length
        return last + 1


def _to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    scaled = np.rint(samples * np.float32(32768))
    whole: NDArray[np.int16] = np.clip(scaled, -32768, 32767).astype("<i2")
    return whole


def _wav(samples: NDArray[np.int16], sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
