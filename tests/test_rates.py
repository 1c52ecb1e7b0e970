"""Intervals against published and simulated values."""

import numpy as np
import pytest

from train_host.rates import FalseAccepts, median_and_95th, misses, poisson_interval


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Garwood's table, as reprinted in textbooks of epidemiology.
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (3, 0.619, 8.767), (10, 4.795, 18.390)],
)
def test_the_poisson_interval_is_the_exact_one(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), abs=1e-3)


def test_false_accepts_pool_by_count_and_hours() -> None:
    pooled = FalseAccepts(2, 0.5) + FalseAccepts(0, 1.5)
    assert (pooled.count, pooled.hours, pooled.per_hour) == (2, 2.0, 1.0)
    assert pooled.interval == pytest.approx((0.1211, 3.612), abs=1e-3)
    assert FalseAccepts(0, 0.0).interval == (0.0, float("inf"))


def test_misses_count_and_their_interval_holds_the_rate() -> None:
    found = misses([True, False, False, False], ["a", "a", "b", "c"])
    assert (found.missed, found.keywords, found.rate) == (1, 4, 0.25)
    assert found.interval[0] <= found.rate <= found.interval[1]


def test_speakers_are_drawn_whole() -> None:
    flags = np.arange(200) % 20 < 4
    one_each = misses(flags, [str(i) for i in range(200)]).interval
    # The same misses, but four speakers of twenty miss all of theirs.
    by_speaker = misses(flags, [str(i % 20) for i in range(200)]).interval
    assert by_speaker[1] - by_speaker[0] > 2 * (one_each[1] - one_each[0])


def test_without_keywords_nothing_is_known() -> None:
    assert misses([], []).interval == (0.0, 1.0)


def test_latencies() -> None:
    assert median_and_95th([]) is None
    assert median_and_95th([0.1, 0.2, 0.3]) == pytest.approx((0.2, 0.29))
