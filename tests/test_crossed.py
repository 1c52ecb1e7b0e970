"""Thresholds of a cross-fitting: each from what the other folds held out."""

import numpy as np
import pytest

pytest.importorskip("torch")

from device.manifest import Detection
from train_host.crossed import crossed
from train_host.evaluation_figures import Run
from train_host.listening import Heard
from train_host.tape_conditions import NEGATIVES, QUIET

STEP_S = 0.08
HOUR = 45_000
DETECTION = Detection(threshold=0.5, smoothing_steps=2, rearm=0.25, refractory_s=1.0, mute_steps=3)


def tape(name: str, *peaks: float) -> Heard:
    """An hour that excites a model so many times."""
    trace = np.full(HOUR, 0.01, np.float32)
    for number, peak in enumerate(peaks, 1):
        trace[2000 * number :][:3] = peak
    return Heard(name, HOUR * STEP_S, (), trace, STEP_S, 1.0)


def run(speech: tuple[float, ...], noise: tuple[float, ...] = ()) -> Run:
    return Run(DETECTION, (tape(NEGATIVES, *speech), tape(QUIET, *noise)))


def thresholds(*runs: Run) -> list[float]:
    return [each.detection.threshold for each in crossed(runs)]


def test_each_fold_takes_what_the_others_need() -> None:
    first, second, third = thresholds(
        run((0.9, 0.8, 0.7)), run((0.6, 0.5, 0.4)), run((0.65, 0.55, 0.45))
    )
    # Two hours, one false accept: the second highest peak of the other two lies below.
    assert 0.6 <= first <= 0.61
    assert 0.8 <= second <= 0.81
    assert 0.8 <= third <= 0.81


def test_nothing_may_fire_at_noise() -> None:
    first, second, third = thresholds(run((0.4,)), run((0.4,), (0.77,)), run(()))
    assert 0.77 <= first <= 0.78
    assert second == pytest.approx(0.3)
    assert 0.77 <= third <= 0.78


def test_no_threshold_is_enough() -> None:
    assert thresholds(run((), (1.0,)), run(()), run(()))[1] == pytest.approx(0.99)


def test_the_rearm_value_keeps_its_ratio_and_traces_stay() -> None:
    runs = [run((0.9,)), run((0.6, 0.6, 0.6)), run((0.4,))]
    for before, after in zip(runs, crossed(runs), strict=True):
        assert after.heard is before.heard
        assert after.detection.rearm == pytest.approx(after.detection.threshold / 2)


def test_of_two_folds_each_takes_what_the_other_needs() -> None:
    first, second = thresholds(run((0.9, 0.8)), run((0.6, 0.5), (0.7,)))
    assert 0.7 <= first <= 0.71
    assert 0.9 <= second <= 0.91


def test_a_single_fold_keeps_its_own() -> None:
    single = [run((0.9,))]
    assert crossed(single) == single
