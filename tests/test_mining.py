"""Hard negatives: the places that excite a network most are found, and scenes hold them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

from device.manifest import FrontEnd  # noqa: E402
from train_host import evaluate, mining  # noqa: E402
from train_host.features import FeatureStore  # noqa: E402
from train_host.mining import APART, hard_places  # noqa: E402
from train_host.network import Network  # noqa: E402
from train_host.scenes import Composer, Material  # noqa: E402

STEP = 8


def speech_with(places: tuple[int, ...], steps: int = 600) -> FeatureStore:
    """Quiet speech, loud for one step at each of the places."""
    frames = np.full((steps * STEP + 3, 40), -8.0, np.float16)
    for place in places:
        frames[place * STEP : (place + 1) * STEP] = 1.0
    return FeatureStore(frames, np.array([0, len(frames)]), np.array([[0, len(frames)]]))


class Loudness:
    """Is as excited as its last step was loud."""

    def __init__(self) -> None:
        self.network = Network(STUDENT)

    def initial_state(self, batch):
        return self.network.initial_state(batch)

    def trace(self, mel, state):
        loud = mel.reshape(len(mel), -1, STEP * 40).mean(dim=2)
        trace = self.network.trace(mel, state)
        return trace._replace(logits=torch.stack([-loud, loud], 2))


def test_the_loudest_places_are_found(monkeypatch) -> None:
    monkeypatch.setattr(mining, "PLACES_PER_HOUR", 225)  # three in 600 steps
    monkeypatch.setattr(evaluate, "BLOCK", 100)  # places across the borders of blocks
    found = hard_places(Loudness(), speech_with((99, 100, 250, 599)), STEP)
    # Of two that lie closer together than APART one may stay out; the ends of the steps.
    assert set(found // STEP - 1) in ({99, 250, 599}, {100, 250, 599}, {99, 100, 250})
    assert (found % STEP == 0).all()


def test_a_place_at_most_in_so_many_steps(monkeypatch) -> None:
    monkeypatch.setattr(mining, "PLACES_PER_HOUR", 1e6)
    found = hard_places(Loudness(), speech_with(()), STEP)
    assert len(found) == 600 // APART
    assert len(hard_places(Loudness(), speech_with((), steps=5), STEP)) == 0


def test_scenes_dwell_on_the_places() -> None:
    speech = speech_with((300,))
    composer = Composer(Material([speech], [speech], speech, None), STEP, FrontEnd(), seed=0)
    frames = composer.steps * STEP
    composer.dwell(np.array([301 * STEP]), 0.5)
    held = [composer._hard(speech, frames).max() > 0 for _ in range(400)]
    by_chance = frames / len(speech.frames)
    assert abs(np.mean(held) - (0.5 + 0.5 * by_chance)) < 0.1
    composer.dwell(np.array([301 * STEP]), 1.0)
    found = np.stack([composer._hard(speech, frames).max(axis=1) > 0 for _ in range(200)])
    assert found.any(axis=1).all()
    assert found.argmax(axis=1).min() >= frames // 3 - STEP


@pytest.mark.parametrize("place", [STEP, 600 * STEP])
def test_places_at_the_edges_of_the_speech(place) -> None:
    speech = speech_with((place // STEP - 1,))
    composer = Composer(Material([speech], [speech], speech, None), STEP, FrontEnd(), seed=0)
    composer.dwell(np.array([place]), 1.0)
    for _ in range(50):
        scene = composer._hard(speech, composer.steps * STEP)
        assert scene.shape == (composer.steps * STEP, 40)
        assert scene.max() > 0
