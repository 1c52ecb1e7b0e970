"""Listening: traces, the quick detector against the plain one, detections against events."""

import dataclasses

import numpy as np
from device_kit import LOUD, bursts
from hypothesis import given
from hypothesis import strategies as st

from device.detector import Detector
from device.manifest import Detection
from device.model import load_model
from device.spotter import Spotter
from train_host.listening import (
    SpotterListener,
    at_threshold,
    detections,
    hear,
    judge,
    judge_heard,
)
from train_host.tape import Event, make_tape


def event(start_s: float, end_s: float) -> Event:
    return Event(start_s, end_s, "anna", "real", "clip.wav")


def plainly(trace: np.ndarray, detection: Detection, step_s: float) -> list[float]:
    detector = Detector(detection, step_s)
    fired = [detector.step(float(p)) is not None for p in trace]
    return [(k + 1) * step_s for k, fire in enumerate(fired) if fire]


@st.composite
def traces(draw: st.DrawFn) -> np.ndarray:
    """Stretches of low probability of any length, and excited ones between them."""
    low = st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.2]), max_size=40)
    high = st.lists(st.sampled_from([0.0, 0.2, 0.3, 0.5, 0.9, 1.0]), max_size=8)
    stretches = draw(st.lists(st.tuples(low, high), max_size=8))
    return np.array([p for pair in stretches for part in pair for p in part], np.float32)


@given(
    trace=traces(),
    threshold=st.sampled_from([0.02, 0.2, 0.3, 0.5, 0.9, 1.0]),
    ratio=st.sampled_from([0.0, 0.5, 1.0]),
    smoothing=st.integers(1, 5),
    refractory_s=st.sampled_from([0.0, 0.1, 0.8, 1.0]),
    mute=st.integers(0, 6),
)
def test_leaving_out_the_quiet_changes_no_detection(
    trace: np.ndarray,
    threshold: float,
    ratio: float,
    smoothing: int,
    refractory_s: float,
    mute: int,
) -> None:
    detection = Detection(threshold, smoothing, threshold * ratio, refractory_s, mute)
    assert detections(trace, detection, 0.08) == plainly(trace, detection, 0.08)


def test_a_listener_detects_what_the_spotter_detects() -> None:
    samples = bursts(20, at=(2.0, 7.0, 8.9, 15.0)).astype(np.float32) / 32768
    listener = SpotterListener(LOUD)
    heard = hear(listener, make_tape("bursts", samples, (event(2.0, 2.4),)))
    hits = Spotter(load_model(LOUD, "onnxruntime")).push(samples, 0.0)
    assert len(hits) == 4
    np.testing.assert_allclose(
        detections(heard.trace, listener.detection, heard.step_s), [hit.time_s for hit in hits]
    )
    found = judge_heard(heard, listener.detection)
    assert found.delays_s[0] is not None
    assert len(found.false_s) == 3


def test_every_tape_starts_from_the_initial_state() -> None:
    samples = bursts(4, at=(0.1,)).astype(np.float32) / 32768
    listener = SpotterListener(LOUD)
    first = listener.probabilities(samples)
    np.testing.assert_array_equal(listener.probabilities(samples), first)


def test_another_threshold_keeps_the_ratio_of_the_rearm_value() -> None:
    detection = Detection(0.8, 2, 0.4, 1.0, 3)
    assert at_threshold(detection, 0.5) == dataclasses.replace(detection, threshold=0.5, rearm=0.25)


def test_an_event_takes_the_first_detection_in_its_time() -> None:
    found = judge([event(1.0, 1.5), event(4.0, 4.5)], [0.9, 1.6, 2.4, 5.6])
    assert found.delays_s[0] is not None
    np.testing.assert_allclose(found.delays_s[0], 0.1)
    assert found.delays_s[1] is None
    assert found.false_s == (0.9, 2.4, 5.6)


def test_one_detection_serves_one_event_only() -> None:
    assert judge([event(1.0, 1.5), event(1.6, 2.0)], [1.7]).delays_s[1] is None
