"""Chooses the detector's numbers on validation recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from device.manifest import Detection
from train_host.evaluate import Confirm, stream_probabilities, stream_traces
from train_host.features import FeatureStore
from train_host.listening import detections
from train_host.network import Network

SMOOTHING_STEPS = 3
"""The detector takes the mean of so many steps (docs/decisions/0048-three-steps.md)."""
REFRACTORY_S = 1.0
REARM = 0.5
"""The detector is armed again below this share of the threshold."""
FALSE_ACCEPTS_PER_HOUR = 1.0
"""The rate that the threshold is chosen for, on the validation negatives of one training ..."""
OF_FOLDS_PER_HOUR = 0.5
"""... and on what the folds of a cross-fitting hold out: hours of it can tell so low a rate."""
ALIGNMENTS = 4
"""How often the negatives are heard."""
Stream = npt.NDArray[np.float32]
"""Probabilities, step by step."""
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


def calibrate(
    network: Network,
    clips: FeatureStore,
    is_keyword: npt.NDArray[np.bool_],
    speech: FeatureStore | None,
    confirm: Confirm | None = None,
) -> tuple[Detection, dict[str, Any]]:
    """The lowest threshold that keeps to one false accept an hour on validation.

    The negatives are the validation speech where there is any, else the other
    words' clips played one after the other. Returns the numbers and what they
    gave there, false accepts as the mean over the alignments.
    """
    negatives = speech if speech is not None else clips.select(np.flatnonzero(~is_keyword))
    heard = [alignments(network, negatives, confirm)]
    detection, false = lowest(network, heard, FALSE_ACCEPTS_PER_HOUR)
    traces = stream_traces(network, clips.select(np.flatnonzero(is_keyword)), confirm)
    step_s = step_seconds(network)
    missed = sum(not detections(trace, detection, step_s) for trace in traces)
    return detection, {
        "negatives": "running speech" if speech is not None else "clips of other words",
        "hours": round(hours_of(network, heard), 3),
        "false_accepts": round(false, 2),
        "keywords": len(traces),
        "missed": missed,
    }


def alignments(
    network: Network, negatives: FeatureStore, confirm: Confirm | None = None
) -> list[Stream]:
    """The probabilities of one stream, heard several times, the steps falling elsewhere on it.

    At one alignment alone the lowest threshold that passes is a lucky one.
    """
    stride = network.shape.stride[1]
    return [
        stream_probabilities(network, negatives, offset, confirm)
        for offset in range(0, stride, max(1, stride // ALIGNMENTS))
    ]


def lowest(
    network: Network,
    heard: Sequence[Sequence[Stream]],
    per_hour: float,
    quiet: Sequence[Sequence[Stream]] = (),
) -> tuple[Detection, float]:
    """The lowest threshold that keeps to a rate on streams, and the false accepts there.

    `heard`: streams of negatives, each at its alignments; they count together,
    whichever network heard them. `quiet`: streams at which nothing may fire.
    """
    allowed = per_hour * hours_of(network, heard)
    detection, false = detection_for(network, float(THRESHOLDS[-1])), 0.0
    for threshold in THRESHOLDS:
        detection = detection_for(network, float(threshold))
        false = false_accepts(network, heard, detection)
        if false <= allowed and not false_accepts(network, quiet, detection):
            break
    return detection, false


def false_accepts(
    network: Network, heard: Sequence[Sequence[Stream]], detection: Detection
) -> float:
    """How often the detector fires on streams, of each the mean over its alignments."""
    step_s = step_seconds(network)
    return sum(
        sum(len(detections(each, detection, step_s)) for each in stream) / len(stream)
        for stream in heard
    )


def hours_of(network: Network, heard: Sequence[Sequence[Stream]]) -> float:
    """How long the streams are together, each at one of its alignments."""
    return sum(len(stream[0]) for stream in heard) * step_seconds(network) / 3600
