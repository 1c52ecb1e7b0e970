"""Log-mel features of many clips, computed once and kept on disk.

A store holds the frames of all its clips one after the other as float16 and
is read through a memory map, so that a corpus larger than memory trains too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from device.manifest import FrontEnd
from train_host.augment import Augmenter
from train_host.corpus import Clip, load
from train_host.frontend import LogMel
from train_host.rooms import write_rooms

CHUNK = 200
"""Clips that one worker takes at a time."""
ACTIVE_DB = 30.0
"""A frame belongs to the word while it is within this of the clip's loudest."""
ROOMS = 32


@dataclass(frozen=True)
class FeatureStore:
    """Frames of clips, and where each clip's lie."""

    frames: npt.NDArray[np.float16]
    """(all frames, mel bands), log-mel."""
    bounds: npt.NDArray[np.int64]
    """(clips + 1,): clip i has the frames bounds[i] to bounds[i + 1]."""
    active: npt.NDArray[np.int64]
    """(clips, 2): the frames within the clip from the word's beginning to its end."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.float16]:
        """(frames, mel bands) of one clip."""
        return self.frames[self.bounds[index] : self.bounds[index + 1]]

    def select(self, indices: npt.NDArray[np.int_]) -> FeatureStore:
        """A store of some of the clips, in memory."""
        pieces = [self[index] for index in indices]
        return FeatureStore(
            np.concatenate([self.frames[:0], *pieces]),
            np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64),
            self.active[indices],
        )


def active_frames(log_mel: npt.NDArray[np.floating]) -> tuple[int, int]:
    """From the first to one past the last frame within 30 dB of the loudest.

    The energy is a mean over five frames, so that a click is not a word.
    """
    energy = np.exp(log_mel.astype(np.float32)).sum(axis=1)
    smooth = np.convolve(energy, np.ones(5) / 5, mode="same")
    loud = np.flatnonzero(smooth >= smooth.max() * 10 ** (-ACTIVE_DB / 10))
    return int(loud[0]), int(loud[-1]) + 1


def build_store(
    clips: Sequence[Clip],
    cache: Path,
    *,
    front_end: FrontEnd,
    versions: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> FeatureStore:
    """Features of the clips as they are, and of `versions` augmented forms of each.

    The store's order is all clips unchanged, then all clips in their first
    augmented form, and so on. A store that was built from the same clips with
    the same numbers is read from `cache` instead. `progress` is told how many
    clips have been done since the last call.
    """
    cache.mkdir(parents=True, exist_ok=True)
    key = _key(clips, front_end, versions, seed)
    final = cache / key
    last = final / "active.npy"
    if not last.exists():
        # Of two trainings that begin at once, the second waits for what the first makes.
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not last.exists():
                _make(final, clips, versions, front_end, seed, progress)
    frames = np.memmap(final / "frames.raw", np.float16, "r").reshape(-1, front_end.mel_bands)
    return FeatureStore(frames, np.load(final / "bounds.npy"), np.load(last))


def _make(
    final: Path,
    clips: Sequence[Clip],
    versions: int,
    front_end: FrontEnd,
    seed: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Writes a store to a folder, which is there once the store is whole."""
    rooms = write_rooms(final.parent / "rooms", ROOMS, front_end.sample_rate, seed=0)
    jobs = [
        (list(clips[start : start + CHUNK]), version, start, front_end, rooms, seed)
        for version in range(versions + 1)
        for start in range(0, len(clips), CHUNK)
    ]
    partial = final.with_name(f"{final.name}.partial")
    partial.mkdir(exist_ok=True)
    lengths: list[int] = []
    active: list[tuple[int, int]] = []
    with (partial / "frames.raw").open("wb") as raw:
        for frames, job_lengths, job_active in _run(jobs):
            raw.write(frames.tobytes())
            lengths += job_lengths
            active += job_active
            if progress:
                progress(len(job_lengths))
    np.save(partial / "bounds.npy", np.cumsum([0, *lengths], dtype=np.int64))
    np.save(partial / "active.npy", np.asarray(active, dtype=np.int64).reshape(-1, 2))
    partial.rename(final)


Job = tuple[list[Clip], int, int, FrontEnd, Path, int]
Result = tuple[npt.NDArray[np.float16], list[int], list[tuple[int, int]]]


def _run(jobs: list[Job]):  # type: ignore[no-untyped-def]
    if len(jobs) == 1:
        yield _extract(jobs[0])
        return
    # A forked copy of a process that has run torch's threads can hang, so spawn.
    context = multiprocessing.get_context("spawn")
    workers = min(len(jobs), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_extract, jobs)


def _extract(job: Job) -> Result:
    clips, version, start, front_end, rooms, seed = job
    torch.set_num_threads(1)
    log_mel = LogMel(front_end)
    augment = Augmenter(front_end.sample_rate, rooms, hash_seed(seed, version, start))
    pieces, lengths, active = [], [], []
    for clip in clips:
        samples = load(clip)
        if version:
            samples = augment(samples)
        with torch.no_grad():
            frames = log_mel.whole(torch.from_numpy(samples)[None])[0].numpy()
        pieces.append(frames.astype(np.float16))
        lengths.append(len(frames))
        active.append(active_frames(frames))
    return np.concatenate(pieces), lengths, active


def hash_seed(*parts: int) -> int:
    """One 32-bit seed of several whole numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _key(clips: Sequence[Clip], front_end: FrontEnd, versions: int, seed: int) -> str:
    digest = hashlib.sha256(json.dumps([repr(front_end), versions, seed]).encode())
    for clip in clips:
        stat = clip.path.stat()
        digest.update(repr((clip, stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()[:24]
