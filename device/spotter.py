"""The spotter: the one loop body behind `run`, `listen` and `demo`.

Samples in chunks of any size go in; detections come out. The result does not
depend on how the stream was cut into chunks.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.detector import Detector
from device.model import Model


@dataclass(frozen=True)
class Hit:
    """The keyword was said."""

    keyword: str
    time_s: float
    """End of the deciding step, in seconds of audio since the stream began."""
    probability: float
    """Mean probability that reached the threshold."""
    latency_ms: float
    """From the step's last sample leaving its source to the decision."""


class Spotter:
    """Cuts a stream into steps and runs model and detector on each."""

    def __init__(
        self,
        model: Model,
        threshold: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`threshold`: instead of the manifest's; the re-arm value keeps its ratio to it."""
        manifest = model.manifest
        detection = manifest.detection
        if threshold is not None:
            rearm = threshold * detection.rearm / detection.threshold
            detection = dataclasses.replace(detection, threshold=threshold, rearm=rearm)
        self.keyword = manifest.keyword
        self.sample_rate = manifest.front_end.sample_rate
        self.step_samples = manifest.step_samples
        self.detection = detection
        self.probability = 0.0
        """The raw probability of the last step."""
        self._model = model
        self._detector = Detector(detection, self.step_samples / self.sample_rate)
        self._clock = clock
        self._step = np.zeros(self.step_samples, np.float32)
        self._filled = 0
        self._steps = 0

    @property
    def time_s(self) -> float:
        """Seconds of audio that whole steps have covered."""
        return self._steps * self.step_samples / self.sample_rate

    def gap(self) -> None:
        """The stream was interrupted: nothing heard so far says anything about what follows."""
        self._model.reset()
        self._detector.reset()
        self._filled = 0

    def push(self, samples: NDArray[np.float32], taken_at: float) -> list[Hit]:
        """Takes the next samples of the stream and returns the detections in them.

        `samples`: float32 (any number,), mono, in [-1, 1); `taken_at`: when
        they left their source, by the clock.
        """
        hits = []
        position = 0
        while position < len(samples):
            count = min(self.step_samples - self._filled, len(samples) - position)
            self._step[self._filled : self._filled + count] = samples[position : position + count]
            self._filled += count
            position += count
            if self._filled == self.step_samples:
                self._filled = 0
                hit = self._run_step(taken_at)
                if hit:
                    hits.append(hit)
        return hits

    def _run_step(self, taken_at: float) -> Hit | None:
        self.probability = self._model.step(self._step)
        self._steps += 1
        mean = self._detector.step(self.probability)
        if mean is None:
            return None
        return Hit(self.keyword, self.time_s, mean, 1000.0 * (self._clock() - taken_at))
