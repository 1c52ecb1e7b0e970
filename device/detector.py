"""The detector: decides from the probabilities of the steps when the keyword was said.

A pure state machine that counts in steps. The keyword counts as said when the
mean probability of the last steps reaches the threshold. Then the detector
rests: it fires again only after the mean has fallen below a lower value
(hysteresis) and a refractory time has passed.
"""

from __future__ import annotations

import math
from collections import deque

from device.manifest import Detection


class Detector:
    """One stream's detector. Probabilities of muted steps count as zero."""

    def __init__(self, detection: Detection, step_s: float) -> None:
        """`step_s`: the length of a step in seconds."""
        self._detection = detection
        # The tolerance keeps 0.8 s / 0.08 s at 10 steps in spite of rounding.
        self._refractory_steps = math.ceil(detection.refractory_s / step_s - 1e-9)
        self.reset()

    def reset(self) -> None:
        """Starts anew, as at the start of a stream or after a gap in it."""
        steps = self._detection.smoothing_steps
        self._recent: deque[float] = deque([0.0] * steps, maxlen=steps)
        self._muted = self._detection.mute_steps
        self._armed = True
        self._rest = 0

    def step(self, probability: float) -> float | None:
        """Takes the next step's probability.

        Returns the mean probability that decided when the keyword is detected
        at this step, else None.
        """
        if self._muted:
            self._muted -= 1
            probability = 0.0
        self._recent.append(probability)
        # Summed anew at each step: a running sum would drift over days.
        mean = math.fsum(self._recent) / len(self._recent)
        if self._rest:
            self._rest -= 1
        if mean < self._detection.rearm:
            self._armed = True
        if not self._armed or self._rest or mean < self._detection.threshold:
            return None
        self._armed = False
        self._rest = self._refractory_steps
        return mean
