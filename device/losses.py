"""Samples that were lost without a word, found by the time that passed."""

from __future__ import annotations


class LossClock:
    """Finds lost samples by comparing what came with the time that passed.

    How far the samples lag behind the clock stays nearly the same; a jump
    means that some were lost. The two clocks may differ by 0.1 %, which no
    working device reaches.
    """

    def __init__(self, rate: int, tolerance_s: float) -> None:
        self._rate = rate
        self._tolerance_s = tolerance_s
        self._frames = 0
        self._smallest_lag: float | None = None
        self._checked_at = 0.0

    def took(self, frames: int) -> None:
        """So many frames came."""
        self._frames += frames

    def lost(self, now: float) -> bool:
        """At `now` everything that was captured has been taken: is some of it missing?"""
        lag = now - self._frames / self._rate
        if self._smallest_lag is None:
            self._smallest_lag, self._checked_at = lag, now
            return False
        allowed = self._smallest_lag + 0.001 * (now - self._checked_at)
        self._smallest_lag, self._checked_at = min(lag, allowed), now
        if lag - allowed <= self._tolerance_s:
            return False
        self._smallest_lag = lag
        return True
