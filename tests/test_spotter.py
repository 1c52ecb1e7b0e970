"""The loop body: any chunking, gaps and times."""

import numpy as np
import pytest
from device_kit import LOUD, RATE, bursts, loud_spotter
from hypothesis import given, settings
from hypothesis import strategies as st

from device.model import load_model
from device.spotter import Hit, Spotter

SOUND = bursts(6.0, (1.5, 3.1, 4.7)).astype(np.float32) / 32768


class Clock:
    """Goes on by 1 ms at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def spot(spotter: Spotter, samples: np.ndarray, sizes: list[int]) -> list[Hit]:
    hits, at = [], 0
    while at < len(samples):
        size = sizes.pop(0) if sizes else 1280
        hits += spotter.push(samples[at : at + size], 0.0)
        at += size
    return hits


def test_each_burst_is_one_detection() -> None:
    hits = spot(loud_spotter(), SOUND, [])
    assert len(hits) == 3
    for hit, start in zip(hits, (1.5, 3.1, 4.7), strict=True):
        assert hit.keyword == "loud"
        assert start < hit.time_s < start + 0.5
        # Detections are made at the ends of steps.
        assert hit.time_s * RATE / 1280 == pytest.approx(round(hit.time_s * RATE / 1280))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=60))
def test_any_chunking_gives_the_same(sizes: list[int]) -> None:
    def found(hits: list[Hit]) -> list[tuple[float, float]]:
        return [(hit.time_s, hit.probability) for hit in hits]

    whole = found(loud_spotter().push(SOUND, 0.0))
    assert len(whole) == 3
    assert found(spot(loud_spotter(), SOUND, sizes)) == whole


def test_latency_is_from_the_last_samples_arrival_to_the_decision() -> None:
    spotter = Spotter(load_model(LOUD), clock=Clock())
    (hit, *_) = spotter.push(SOUND, taken_at=-0.25)
    assert hit.latency_ms == pytest.approx(251.0)


def test_gap_forgets_and_mutes_but_time_goes_on() -> None:
    spotter = loud_spotter()
    burst = SOUND[round(1.5 * RATE) :][: 4 * 1280]
    assert spotter.push(np.zeros(10 * 1280, np.float32), 0.0) == []
    assert len(spotter.push(burst, 0.0)) == 1
    spotter.push(SOUND[:700], 0.0)
    before = spotter.time_s
    spotter.gap()
    # Five steps are muted, so the same burst is not believed now.
    assert spotter.push(burst, 0.0) == []
    assert spotter.time_s == pytest.approx(before + 4 * 0.08)


def test_threshold_of_the_user_replaces_the_models() -> None:
    spotter = Spotter(load_model(LOUD), threshold=0.3)
    assert spotter.detection.threshold == 0.3
    assert spotter.detection.rearm == pytest.approx(0.15)
    assert spot(Spotter(load_model(LOUD), threshold=0.9999), SOUND, []) == []
