"""Chooses the detector's numbers on validation recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from device.detector import Detector
from device.manifest import Detection
from train_host.evaluate import Confirm, stream_probabilities, stream_traces
from train_host.features import FeatureStore
from train_host.network import Network

SMOOTHING_STEPS = 2
REFRACTORY_S = 1.0
REARM = 0.5
"""The detector is armed again below this share of the threshold."""
FALSE_ACCEPTS_PER_HOUR = 1.0
"""The rate that the threshold is chosen for, on validation negatives."""
ALIGNMENTS = 4
"""How often the negatives are heard."""
THRESHOLDS = np.round(np.arange(0.30, 0.995, 0.005), 3)


def step_seconds(network: Network) -> float:
    """Length of a step in seconds."""
    return network.shape.stride[1] * network.front_end.hop / network.front_end.sample_rate


def detection_for(network: Network, threshold: float) -> Detection:
    kernel, stride = network.shape.kernel[1], network.shape.stride[1]
    return Detection(
        threshold=threshold,
        smoothing_steps=SMOOTHING_STEPS,
        rearm=round(REARM * threshold, 4),
        # A phrase may hold its probability up for as long as the attention looks back.
        refractory_s=max(REFRACTORY_S, round(network.shape.window * step_seconds(network), 2)),
        # Until the convolution's window holds nothing but the stream's own frames;
        # attention slots that are still empty weigh nothing.
        mute_steps=-(-kernel // stride),
    )


def count_detections(
    probabilities: npt.NDArray[np.float32], detection: Detection, step_s: float
) -> int:
    """How often the detector fires on a stream of step probabilities."""
    detector = Detector(detection, step_s)
    return sum(detector.step(float(p)) is not None for p in probabilities)


def calibrate(
    network: Network,
    clips: FeatureStore,
    is_keyword: npt.NDArray[np.bool_],
    speech: FeatureStore | None,
    confirm: Confirm | None = None,
) -> tuple[Detection, dict[str, Any]]:
    """The lowest threshold that keeps to one false accept an hour on validation.

    The negatives are the validation speech where there is any, else the other
    words' clips played one after the other. They are heard several times, each
    time with the steps falling elsewhere on the sound: at one alignment alone
    the lowest threshold that passes is a lucky one. Returns the numbers and
    what they gave there, false accepts as the mean over the alignments.
    """
    step_s = step_seconds(network)
    negatives = speech if speech is not None else clips.select(np.flatnonzero(~is_keyword))
    stride = network.shape.stride[1]
    streams = [
        stream_probabilities(network, negatives, offset, confirm)
        for offset in range(0, stride, max(1, stride // ALIGNMENTS))
    ]
    hours = len(streams[0]) * step_s / 3600
    traces = stream_traces(network, clips.select(np.flatnonzero(is_keyword)), confirm)
    detection, false = detection_for(network, float(THRESHOLDS[-1])), 0.0
    for threshold in THRESHOLDS:
        detection = detection_for(network, float(threshold))
        false = sum(count_detections(s, detection, step_s) for s in streams) / len(streams)
        # Rounded: of 0.94 h, one false accept is what one an hour looks like.
        if false <= round(FALSE_ACCEPTS_PER_HOUR * hours):
            break
    missed = sum(count_detections(trace, detection, step_s) == 0 for trace in traces)
    return detection, {
        "negatives": "running speech" if speech is not None else "clips of other words",
        "hours": round(hours, 3),
        "false_accepts": round(false, 2),
        "keywords": len(traces),
        "missed": missed,
    }
