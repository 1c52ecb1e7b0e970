"""Verifiers: training's cascade is the device's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from shapes import STUDENT  # noqa: E402

from device.cascade import Cascade  # noqa: E402
from device.manifest import FrontEnd, Verifier  # noqa: E402
from train_host import listeners  # noqa: E402
from train_host.network import BASE_32, Network  # noqa: E402
from train_host.verifier import STEPS, Confirmation  # noqa: E402

BANDS = 40


def network(shape, seed, wildness=3.0):
    """Random weights, large enough that the probability moves."""
    torch.manual_seed(seed)
    made = Network(shape).eval()
    with torch.no_grad():
        for parameter in made.classifier.parameters():
            parameter *= wildness
    return made


class Streaming:
    """A float network as an engine for several streams."""

    def __init__(self, made: Network, streams: int) -> None:
        self.network, self.streams = made, streams
        self.reset()

    def reset(self) -> None:
        self.state = self.network.initial_state(self.streams)

    @torch.no_grad()
    def step(self, mel) -> list[float]:
        logits, self.state = self.network.stream(torch.from_numpy(mel), self.state)
        return torch.softmax(logits[:, 0], 1)[:, 1].tolist()


class StreamingOne(Streaming):
    """A float network as an engine."""

    def __init__(self, made: Network) -> None:
        super().__init__(made, 1)

    def step(self, mel) -> float:
        return super().step(mel[None])[0]


FIRST, SECOND, THIRD = network(STUDENT, 0), network(BASE_32, 1), network(STUDENT, 2)


@given(
    st.integers(1, 40),
    st.integers(1, 16),
    st.floats(0.3, 0.7),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_the_cascade_of_training_is_that_of_the_device(steps, length, gate, alignments, seed):
    frames = np.random.default_rng(seed).normal(-6, 3, (steps * 8, BANDS)).astype(np.float32)
    verifiers = [Verifier((), gate, length, 1.0, alignments), Verifier((), 0.5, 3, 0.5)]
    engine = StreamingOne(FIRST)
    alone = np.array([engine.step(f) for f in frames.reshape(steps, 8, BANDS)], np.float32)
    twins = list(zip(verifiers, (SECOND, THIRD), strict=True))
    confirmed = Confirmation(twins)(alone, frames)
    cascade = Cascade(
        StreamingOne(FIRST),
        [(v, Streaming(made, v.alignments)) for v, made in twins],
        silence=math.log(FrontEnd().floor),
    )
    found = [cascade.step(f) for f in frames.reshape(steps, 8, BANDS)]
    assert np.abs(confirmed - found).max() < 1e-5


def test_a_verifier_hears_more_than_its_attention_looks_back():
    assert all(shape.window < STEPS for shape in (STUDENT, BASE_32, *listeners.SHAPES.values()))
