"""A peer for tests without the packages: the model that fires at noise, behind their interface."""

import numpy as np
from device_kit import LOUD

from device.model import load_model
from device.spotter import Spotter
from train_host.cost_worker import OURS
from train_host.peers import Peer


class StandIn(Peer):
    """Hears noise bursts, in steps of 80 ms. `cost_worker` opens it as a model of ours."""

    package = OURS
    step_samples = 1280
    files = (LOUD.with_suffix(".onnx"),)

    def __init__(self) -> None:
        super().__init__("stand-in", 0.5)
        self._spotter = Spotter(load_model(LOUD))
        self.heard = 0
        """Samples that it was given."""

    def reset(self) -> None:
        self._spotter.gap()

    def push(self, pcm: bytes) -> float:
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        self.heard += len(samples)
        self._spotter.push(samples, 0.0)
        return self._spotter.probability
