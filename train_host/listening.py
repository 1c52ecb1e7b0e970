"""Listening: a model hears tapes, and its detections are compared with what was said.

A listener is run over a tape once and leaves the probability of every step,
its trace. What a detector with any threshold makes of it is found by running
the device's own `Detector` over the trace, see `detections`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from device.detector import Detector
from device.manifest import Detection
from device.model import load_model
from device.spotter import Spotter
from train_host.tape import LATE_S, RATE, Event, Samples, Tape

Trace = npt.NDArray[np.float32]


class Listener(Protocol):
    """Anything that spots the keyword: one of our models, or someone else's."""

    @property
    def name(self) -> str:
        """What tables and plots call it."""

    @property
    def step_s(self) -> float:
        """Seconds of audio from one probability to the next."""

    @property
    def detection(self) -> Detection:
        """The detector's numbers that it comes with."""

    def probabilities(self, samples: Samples) -> Trace:
        """The probability of every step of a stream that starts here, float32 (steps,).

        Probability k is known when (k + 1) step_s seconds have been heard.
        `samples`: float32 (n,), 16 kHz. Every call starts from the initial state.
        """


class SpotterListener:
    """An exported model, its ONNX file, in the device's own loop.

    Raises ManifestError or SetupError as `load_model` does.
    """

    def __init__(self, manifest: Path, name: str | None = None) -> None:
        self.name = name or manifest.stem
        self._spotter = Spotter(load_model(manifest, "onnxruntime"))
        self.keyword = self._spotter.keyword
        self.detection = self._spotter.detection
        self.step_s = self._spotter.step_samples / RATE

    def probabilities(self, samples: Samples) -> Trace:
        spotter, step = self._spotter, self._spotter.step_samples
        spotter.gap()
        trace = np.empty(len(samples) // step, np.float32)
        for k in range(len(trace)):
            spotter.push(samples[k * step : (k + 1) * step], 0.0)
            trace[k] = spotter.probability
        return trace


@dataclass(frozen=True)
class Heard:
    """What one listener made of one tape."""

    tape: str
    """The tape's name."""
    seconds: float
    events: tuple[Event, ...]
    trace: Trace
    step_s: float
    cpu_s: float
    """CPU time that listening took."""

    @property
    def hours(self) -> float:
        return self.seconds / 3600


@dataclass(frozen=True)
class Judgement:
    """The detections on a tape, compared with its events."""

    delays_s: tuple[float | None, ...]
    """For each event: from the end of the word to its detection; None where it was missed."""
    false_s: tuple[float, ...]
    """When the detector fired at something else, or at the same event again."""


def hear(listener: Listener, tape: Tape) -> Heard:
    """Plays a tape to a listener, from the start of a stream."""
    started = time.process_time()
    trace = listener.probabilities(tape.samples)
    used = time.process_time() - started
    return Heard(tape.name, tape.seconds, tape.events, trace, listener.step_s, used)


def at_threshold(detection: Detection, threshold: float) -> Detection:
    """The same detector at another threshold; the re-arm value keeps its ratio to it."""
    rearm = threshold * detection.rearm / detection.threshold
    return dataclasses.replace(detection, threshold=threshold, rearm=rearm)


def detections(trace: Trace, detection: Detection, step_s: float) -> list[float]:
    """When the device's detector fires, in seconds: the ends of the deciding steps.

    The detector is run only where something can happen. While every
    probability of the last `smoothing + refractory` steps was below the re-arm
    value, so was every mean since before the refractory time: the detector is
    armed, it does not rest, and its state is that of a new one that has heard
    the last `smoothing - 1` steps. So hours of a trace at a hundred thresholds
    take seconds, and the detections are the same.
    """
    idle = detection.smoothing_steps + math.ceil(detection.refractory_s / step_s) + 1
    excited = np.flatnonzero(trace >= detection.rearm)
    # Groups of excited steps that lie closer together than the detector takes to come to rest.
    breaks = np.flatnonzero(np.diff(excited) > idle + detection.smoothing_steps)
    firsts = excited[np.r_[0, breaks + 1]] if len(excited) else excited
    lasts = excited[np.r_[breaks, len(excited) - 1]] if len(excited) else excited
    found = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        start = max(0, first - detection.smoothing_steps + 1)
        numbers = detection
        if start >= detection.mute_steps:
            numbers = dataclasses.replace(detection, mute_steps=0)
        else:
            start = 0
        detector = Detector(numbers, step_s)
        for k, probability in enumerate(trace[start : last + idle + 1].tolist(), start):
            if detector.step(probability) is not None:
                found.append((k + 1) * step_s)
    return found


def judge(events: Sequence[Event], times: Iterable[float]) -> Judgement:
    """Gives each event the first detection from the word's start to a second after its end.

    One detection counts for one event and one event for one detection; all
    other detections are false.
    """
    left = sorted(times)
    delays: list[float | None] = []
    for event in sorted(events, key=lambda e: e.start_s):
        own = next((t for t in left if event.start_s <= t <= event.end_s + LATE_S), None)
        delays.append(None if own is None else own - event.end_s)
        if own is not None:
            left.remove(own)
    return Judgement(tuple(delays), tuple(left))


def judge_heard(heard: Heard, detection: Detection) -> Judgement:
    """The detections that a detector with these numbers makes of a trace, compared."""
    return judge(heard.events, detections(heard.trace, detection, heard.step_s))
