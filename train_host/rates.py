"""Rates and what is known about them: exact Poisson intervals, misses by speaker, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Bootstrap resamples behind the interval of a miss rate."""


@dataclass(frozen=True)
class FalseAccepts:
    """How often a detector fired in so many hours at what was not the keyword."""

    count: int
    hours: float

    @property
    def per_hour(self) -> float:
        return self.count / self.hours if self.hours else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the rate per hour."""
        if not self.hours:
            return 0.0, float("inf")
        low, high = poisson_interval(self.count)
        return low / self.hours, high / self.hours

    def __add__(self, other: FalseAccepts) -> FalseAccepts:
        return FalseAccepts(self.count + other.count, self.hours + other.hours)


@dataclass(frozen=True)
class Misses:
    """How many of the keywords were not detected."""

    missed: int
    keywords: int
    interval: tuple[float, float]
    """95 % of the miss rate, by a bootstrap over speakers."""

    @property
    def rate(self) -> float:
        return self.missed / self.keywords if self.keywords else float("nan")


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a Poisson mean of which `count` was seen.

    From the quantiles of chi-squared (F. Garwood, "Fiducial limits for the
    Poisson distribution", Biometrika 28, 1936). Of zero events the upper end
    is 3.69, so an hour without a false accept still allows for three.
    """
    outside = (1 - confidence) / 2
    low = chi2.ppf(outside, 2 * count) / 2 if count else 0.0
    return float(low), float(chi2.ppf(1 - outside, 2 * (count + 1)) / 2)


def misses(
    missed: Sequence[bool] | npt.NDArray[np.bool_], speakers: Sequence[str], seed: int = 0
) -> Misses:
    """The miss rate of keywords of which it is known which were missed and who said each.

    Whole speakers are drawn with replacement, each with all of their
    keywords, because those are alike; the interval is the percentile one
    (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters
    8 and 13). It has no width where all or none are missed, and says little
    where there are only a few speakers.
    """
    flags = np.asarray(missed, bool)
    if not len(flags):
        return Misses(0, 0, (0.0, 1.0))
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    said = np.bincount(who, minlength=len(names))
    lost = np.bincount(who, flags, len(names))
    times = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    low, high = np.quantile((times @ lost) / (times @ said), _TAILS)
    return Misses(int(flags.sum()), len(flags), (float(low), float(high)))


def median_and_95th(seconds: Sequence[float]) -> tuple[float, float] | None:
    """Median and 95th percentile of latencies; None where nothing was detected."""
    if not seconds:
        return None
    middle, late = np.quantile(seconds, [0.5, 0.95])
    return float(middle), float(late)


_TAILS = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
