"""The cascade: when verifiers are asked, what they hear, and what comes of it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from device.cascade import SUREST, Cascade, agreed, lagging
from device.manifest import Verifier

Floats = NDArray[np.float32]


class Listening:
    """An engine that says the probabilities of a list, and keeps what it was given."""

    def __init__(self, *said: float) -> None:
        self.said = list(said)
        self.heard: list[float] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1
        self.heard = []

    def step(self, mel: Floats) -> float:
        self.heard.append(float(mel[0, 0]))
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]


class Several:
    """An engine of several streams that says the probability of each, and keeps what it heard."""

    def __init__(self, *said: float) -> None:
        self.said = said
        self.heard: list[float] = []
        self.all: list[Floats] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1
        self.heard, self.all = [], []

    def step(self, mel: Floats) -> list[float]:
        assert mel.shape == (len(self.said), 8, 40)
        self.heard.append(float(mel[0, 0, 0]))
        self.all.append(mel)
        return list(self.said)


def frame(number: float) -> Floats:
    return np.full((8, 40), number, np.float32)


VERIFIER = Verifier((), gate=0.5, steps=3, weight=1.0)
SILENCE = -20.0


def test_only_what_excites_the_first_is_confirmed() -> None:
    first, second = Listening(0.1, 0.49, 0.5, 0.2), Several(0.9)
    cascade = Cascade(first, [(VERIFIER, second)], SILENCE)
    found = [cascade.step(frame(k)) for k in range(4)]
    assert found == pytest.approx([0.1, 0.49, 0.75, 0.2])
    assert second.resets == 1


def test_a_verifier_wakes_hears_the_last_steps_and_listens_on() -> None:
    first = Listening(0.1, 0.1, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9)
    second = Several(0.9)
    cascade = Cascade(first, [(VERIFIER, second)], SILENCE)
    heard = []
    for k in range(7):
        cascade.step(frame(k))
        heard.append(list(second.heard))
    asleep: list[float] = []
    assert heard == [asleep, asleep, asleep, [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4], [4, 5, 6]]
    assert second.resets == 2
    cascade.reset()
    cascade.step(frame(9))
    assert second.heard == [9]
    assert first.resets == 1


def test_each_has_its_gate_its_length_and_its_weight() -> None:
    long = dataclasses.replace(VERIFIER, gate=0.8, steps=5, weight=3.0)
    one, two = Several(0.9), Several(0.01)
    first = Listening(0.6, 0.6, 0.6, 0.6, 0.9)
    cascade = Cascade(first, [(VERIFIER, one), (long, two)], SILENCE)
    found = [cascade.step(frame(k)) for k in range(5)]
    assert (one.heard, two.heard) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert (one.resets, two.resets) == (1, 1)
    assert found[3] == pytest.approx(agreed([(1.0, 0.6), (1.0, 0.9)]))
    assert found[4] == pytest.approx(agreed([(1.0, 0.9), (1.0, 0.9), (3.0, 0.01)]))
    assert found[4] < 0.5


def test_a_verifier_hears_the_stream_at_several_alignments() -> None:
    four = dataclasses.replace(VERIFIER, weight=2.0, alignments=4)
    streams = Several(0.9, 0.8, 0.7, 0.01)
    cascade = Cascade(Listening(0.6), [(four, streams)], SILENCE)
    # The frames count up, so that each tells when it was.
    steps = np.arange(3 * 8, dtype=np.float32).reshape(3, 8, 1).repeat(40, axis=2)
    found = [cascade.step(step) for step in steps]
    said = [(0.5, each) for each in streams.said]
    assert found == pytest.approx([agreed([(1.0, 0.6), *said])] * 3)
    for k, heard in enumerate(streams.all):
        for number, stream in enumerate(heard):
            times = np.arange(8) + 8 * k - 2 * number
            expected = np.where(times < 0, SILENCE, times)
            assert stream == pytest.approx(expected[:, None].repeat(40, axis=1))


@given(st.sampled_from([1, 2, 4, 8]))
def test_lagging_streams_part_a_step_evenly(alignments: int) -> None:
    before, now = np.arange(16, dtype=np.float32).reshape(2, 8, 1)
    found = lagging(before, now, alignments)[:, :, 0]
    assert found[:, 0].tolist() == [8 - n * 8 // alignments for n in range(alignments)]
    assert (np.diff(found, axis=1) == 1).all()


probability = st.floats(0.0, 1.0)
opinions = st.lists(st.tuples(st.floats(0.1, 10.0), probability), min_size=1, max_size=4)


@given(opinions)
def test_agreement_lies_between_the_opinions(given: list[tuple[float, float]]) -> None:
    bound = 1 / (1 + np.exp(-SUREST))
    clipped = [min(max(p, 1 - bound), bound) for _, p in given]
    assert min(clipped) - 1e-9 <= agreed(given) <= max(clipped) + 1e-9


@given(opinions, st.integers(0, 3), probability)
def test_who_is_surer_makes_all_surer(
    given: list[tuple[float, float]], which: int, other: float
) -> None:
    which %= len(given)
    weight, before = given[which]
    changed = [*given[:which], (weight, max(before, other)), *given[which + 1 :]]
    assert agreed(changed) >= agreed(given) - 1e-12
