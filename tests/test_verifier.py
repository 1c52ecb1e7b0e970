"""Verifiers: what they are trained on, and that training's cascade is the device's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from shapes import STUDENT  # noqa: E402

from device.cascade import Cascade  # noqa: E402
from device.manifest import Verifier  # noqa: E402
from train_host.network import BASE_32, Network  # noqa: E402
from train_host.scenes import Batch  # noqa: E402
from train_host.verifier import STEPS, Confirmation, VerifierObjective, windows  # noqa: E402

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
    """A float network as an engine."""

    def __init__(self, made: Network) -> None:
        self.network = made
        self.reset()

    def reset(self) -> None:
        self.state = self.network.initial_state()

    @torch.no_grad()
    def step(self, mel) -> float:
        logits, self.state = self.network.stream(torch.from_numpy(mel)[None], self.state)
        return float(torch.softmax(logits[0, 0], 0)[1])


FIRST, SECOND, THIRD = network(STUDENT, 0), network(BASE_32, 1), network(STUDENT, 2)


@given(st.integers(1, 40), st.integers(1, 16), st.floats(0.3, 0.7), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_the_cascade_of_training_is_that_of_the_device(steps, length, gate, seed):
    frames = np.random.default_rng(seed).normal(-6, 3, (steps * 8, BANDS)).astype(np.float32)
    verifiers = [Verifier((), gate, length, 1.0), Verifier((), 0.5, 3, 0.5)]
    engine = Streaming(FIRST)
    alone = np.array([engine.step(f) for f in frames.reshape(steps, 8, BANDS)], np.float32)
    twins = list(zip(verifiers, (SECOND, THIRD), strict=True))
    confirmed = Confirmation(twins)(alone, frames)
    cascade = Cascade(Streaming(FIRST), [(v, Streaming(made)) for v, made in twins])
    found = [cascade.step(f) for f in frames.reshape(steps, 8, BANDS)]
    assert np.abs(confirmed - found).max() < 1e-5


def test_the_window_ends_with_its_step_and_begins_in_quiet():
    mel = torch.arange(2 * 80 * BANDS, dtype=torch.float32).reshape(2, 80, BANDS)
    found = windows(mel, torch.tensor([9, 1]), 4, 8)
    assert torch.equal(found[0], mel[0, 48:80])
    assert torch.equal(found[1, 16:], mel[1, :16])
    assert (found[1, :16] == mel.min()).all()


def batch(positive, focus, quiet, mel):
    size = len(mel)
    return Batch(
        mel, torch.tensor(positive), focus, quiet, mel[:, :100], torch.ones(size, dtype=torch.bool)
    )


def test_a_keyword_is_judged_at_its_focus_and_all_else_where_nothing_may_be_reported():
    torch.manual_seed(3)
    mel = torch.randn(40, 36 * 8, BANDS) * 3 - 6
    focus = torch.zeros(40, 36, dtype=torch.bool)
    focus[:, 20:23] = True
    objective = VerifierObjective(SECOND, FIRST)
    positive = [row % 2 == 0 for row in range(40)]
    steps = objective.steps(batch(positive, focus, ~focus, mel))
    assert [20 <= step < 23 for step in steps.tolist()] == positive


def test_what_excites_the_tutor_is_judged_most():
    torch.manual_seed(4)
    mel = torch.randn(64, 36 * 8, BANDS) * 3 - 6
    nowhere = torch.zeros(64, 36, dtype=torch.bool)
    scenes = batch([False] * 64, nowhere, ~nowhere, mel)
    tutor = network(STUDENT, 0, 20.0)
    with torch.no_grad():
        logits, _ = tutor.stream(mel, tutor.initial_state(64))
    margin = logits[..., 1] - logits[..., 0]
    chosen = margin[torch.arange(64), VerifierObjective(SECOND, tutor).steps(scenes)]
    assert chosen.mean() > margin.mean() + margin.std()


def test_a_verifier_learns_what_excites_the_tutor():
    torch.manual_seed(5)
    made = network(STUDENT, 6, 1.0).train()
    mel = torch.randn(64, 36 * 8, BANDS) - 6
    focus = torch.zeros(64, 36, dtype=torch.bool)
    focus[:, 20] = True
    mel[::2, 19 * 8 : 21 * 8, :20] += 6
    scenes = batch([row % 2 == 0 for row in range(64)], focus, ~focus, mel)
    objective = VerifierObjective(made, FIRST)
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = objective(scenes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_a_verifier_hears_more_than_its_attention_looks_back():
    assert all(shape.window < STEPS for shape in (STUDENT, BASE_32))
