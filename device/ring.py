"""A bounded ring of samples between the thread that captures and the one that decides.

When the ring is full the writer waits: what cannot be taken in time is then
lost in the sound device's own buffer, where ALSA reports it, so that there is
one place where samples get lost and one count of it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Block:
    """Consecutive samples, without a gap among them."""

    samples: NDArray[np.float32]
    taken_at: float
    """When the last of them left the sound device."""
    after_gap: bool
    """Samples were lost just before the first of them."""


class Ring:
    """Samples in the order they were written, each with its time, and the gaps between them.

    One thread writes, one reads. The capacity is at least what is written at
    a time and what is read at a time together, or each would wait for the other.
    """

    def __init__(self, capacity: int) -> None:
        self._buffer = np.zeros(capacity, np.float32)
        self._written = 0
        self._read = 0
        # Positions count from the start of the stream.
        self._times: deque[tuple[int, float]] = deque()
        self._gaps: deque[int] = deque()
        self._closed = False
        self._error: Exception | None = None
        self._changed = threading.Condition()

    def write(self, samples: NDArray[np.float32], taken_at: float, after_gap: bool = False) -> bool:
        """Appends samples, float32 (n,), n at most the capacity; waits while there is no room.

        Returns False, and writes nothing, when the ring is closed.
        """
        count, capacity = len(samples), len(self._buffer)
        if count > capacity:
            raise ValueError(f"{count} samples do not fit into a ring of {capacity}")
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._free() >= count)
            if self._closed:
                return False
            if after_gap:
                self._mark_gap()
            start = self._written % capacity
            first = min(count, capacity - start)
            self._buffer[start : start + first] = samples[:first]
            self._buffer[: count - first] = samples[first:]
            self._written += count
            self._times.append((self._written, taken_at))
            self._changed.notify_all()
            return True

    def read(self, count: int, timeout: float) -> Block | None:
        """The next `count` samples, or those up to the next gap or the end if they are fewer.

        Returns None when they have not come within `timeout` seconds. At the
        end raises the error with which the ring was closed, or EOFError.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready(count), timeout):
                return None
            after_gap = bool(self._gaps) and self._gaps[0] == self._read
            if after_gap:
                self._gaps.popleft()
            end = min(self._read + count, self._written)
            if self._gaps:
                end = min(end, self._gaps[0])
            if end == self._read:
                raise self._error or EOFError
            start = self._read % len(self._buffer)
            first = self._buffer[start : start + end - self._read]
            rest = self._buffer[: end - self._read - len(first)]
            samples = np.concatenate([first, rest])
            while self._times[0][0] < end:
                self._times.popleft()
            taken_at = self._times[0][1]
            self._read = end
            self._changed.notify_all()
            return Block(samples, taken_at, after_gap)

    def skip(self) -> None:
        """Throws away what is left to read; what is written next comes after a gap."""
        with self._changed:
            self._read = self._written
            self._gaps.clear()
            self._times.clear()
            self._mark_gap()
            self._changed.notify_all()

    def close(self, error: Exception | None = None) -> None:
        """Ends the stream: no more is written, and what is left can still be read."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._error = error
            self._changed.notify_all()

    def _mark_gap(self) -> None:
        if not self._gaps or self._gaps[-1] != self._written:
            self._gaps.append(self._written)

    def _free(self) -> int:
        return len(self._buffer) - (self._written - self._read)

    def _ready(self, count: int) -> bool:
        if self._closed or self._written - self._read >= count:
            return True
        # Samples before a gap will never be joined by more.
        return any(position > self._read for position in self._gaps)
