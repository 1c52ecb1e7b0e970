"""The detector, by example and against a plain reading of its rules."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.detector import Detector
from device.manifest import Detection

PLAIN = Detection(threshold=0.6, smoothing_steps=1, rearm=0.3, refractory_s=0.0, mute_steps=0)


def fired(detection: Detection, probabilities: list[float]) -> list[int]:
    detector = Detector(detection, 0.08)
    return [k for k, p in enumerate(probabilities) if detector.step(p) is not None]


def test_fires_at_the_threshold() -> None:
    assert fired(PLAIN, [0.0, 0.59, 0.6, 0.0]) == [2]


def test_returns_the_mean_that_decided() -> None:
    detector = Detector(dataclasses.replace(PLAIN, smoothing_steps=3), 0.08)
    assert [detector.step(p) for p in (0.6, 0.9, 0.6)][:2] == [None, None]
    detector.reset()
    assert [detector.step(p) for p in (0.0, 1.0, 0.9)][2] == (1.0 + 0.9) / 3


def test_fires_again_only_after_falling_below_the_lower_value() -> None:
    assert fired(PLAIN, [0.9, 0.9, 0.5, 0.9, 0.31, 0.9, 0.29, 0.9]) == [0, 7]


def test_refractory_time() -> None:
    # 0.24 s are three steps: the second detection comes three steps after the first.
    detection = dataclasses.replace(PLAIN, refractory_s=0.24)
    assert fired(detection, [0.9, 0.0, 0.9, 0.9, 0.0, 0.0, 0.9]) == [0, 3, 6]


def test_refractory_time_of_whole_steps_is_not_rounded_up() -> None:
    detection = dataclasses.replace(PLAIN, refractory_s=0.8)
    assert fired(detection, [0.9] + [0.0] * 9 + [0.9]) == [0, 10]


def test_muted_steps_are_not_believed_and_not_remembered() -> None:
    detection = dataclasses.replace(PLAIN, mute_steps=3, smoothing_steps=2)
    assert fired(detection, [1.0, 1.0, 1.0, 1.0, 0.0]) == []
    assert fired(detection, [1.0, 1.0, 1.0, 1.0, 0.2]) == [4]


def test_reset_mutes_again() -> None:
    detector = Detector(dataclasses.replace(PLAIN, mute_steps=1), 0.08)
    for _ in range(2):
        assert detector.step(1.0) is None
        assert detector.step(1.0) == 1.0
        detector.reset()


detections = st.builds(
    Detection,
    threshold=st.sampled_from([0.5, 0.75]),
    smoothing_steps=st.integers(1, 4),
    rearm=st.sampled_from([0.0, 0.25, 0.5]),
    refractory_s=st.sampled_from([0.0, 0.1, 0.4]),
    mute_steps=st.integers(0, 5),
)


@given(detections, st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), max_size=60))
def test_equals_a_plain_reading(detection: Detection, probabilities: list[float]) -> None:
    n, steps = detection.smoothing_steps, []
    heard = [0.0 if k < detection.mute_steps else p for k, p in enumerate(probabilities)]
    means = [float(np.sum(([0.0] * n + heard[: k + 1])[-n:])) / n for k in range(len(heard))]
    for k, mean in enumerate(means):
        rested = not steps or (k - steps[-1]) * 0.08 >= detection.refractory_s - 1e-9
        fell = not steps or any(m < detection.rearm for m in means[steps[-1] + 1 : k + 1])
        if mean >= detection.threshold and rested and fell:
            steps.append(k)
    assert fired(detection, probabilities) == steps
