"""Hard negatives: what excites a network most is found, and scenes hold it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

from device.manifest import FrontEnd  # noqa: E402
from train_host import evaluate, mining  # noqa: E402
from train_host.features import FeatureStore  # noqa: E402
from train_host.mining import (  # noqa: E402
    APART,
    HARDEST,
    hard_negatives,
    hard_places,
    hard_words,
)
from train_host.network import Network  # noqa: E402
from train_host.scenes import Composer, Hard, Material  # noqa: E402

STEP = 8


def speech_with(places: tuple[int, ...], steps: int = 600) -> FeatureStore:
    """Quiet speech, loud for one step at each of the places."""
    frames = np.full((steps * STEP + 3, 40), -8.0, np.float16)
    for place in places:
        frames[place * STEP : (place + 1) * STEP] = 1.0
    return FeatureStore(frames, np.array([0, len(frames)]), np.array([[0, len(frames)]]))


def clips_with(loud: tuple[int, ...], count: int = 100) -> FeatureStore:
    """Quiet clips of different lengths, some of them loud for one step."""
    lengths = 60 + np.arange(count) % 5 * STEP
    bounds = np.cumsum([0, *lengths])
    frames = np.full((bounds[-1], 40), -8.0, np.float16)
    for index in loud:
        frames[bounds[index] + STEP : bounds[index] + 2 * STEP] = 1.0
    return FeatureStore(frames, bounds, np.stack([np.zeros(count, int), lengths], 1))


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
    composer.dwell(Hard(np.array([301 * STEP]), 0.5))
    held = [composer._hard(speech, frames).max() > 0 for _ in range(400)]
    by_chance = frames / len(speech.frames)
    assert abs(np.mean(held) - (0.5 + 0.5 * by_chance)) < 0.1
    composer.dwell(Hard(np.array([301 * STEP]), 1.0))
    found = np.stack([composer._hard(speech, frames).max(axis=1) > 0 for _ in range(200)])
    assert found.any(axis=1).all()
    assert found.argmax(axis=1).min() >= frames // 3 - STEP


@pytest.mark.parametrize("place", [STEP, 600 * STEP])
def test_places_at_the_edges_of_the_speech(place) -> None:
    speech = speech_with((place // STEP - 1,))
    composer = Composer(Material([speech], [speech], speech, None), STEP, FrontEnd(), seed=0)
    composer.dwell(Hard(np.array([place]), 1.0))
    for _ in range(50):
        scene = composer._hard(speech, composer.steps * STEP)
        assert scene.shape == (composer.steps * STEP, 40)
        assert scene.max() > 0


def test_the_loudest_clips_are_found() -> None:
    loud = (0, 17, 18, 49, 99)
    assert len(loud) == HARDEST * 100
    assert set(hard_words(Loudness(), clips_with(loud), STEP)) == set(loud)
    assert list(hard_words(Loudness(), clips_with((2,), 3), STEP)) == [2]
    assert len(hard_words(Loudness(), clips_with((), 0), STEP)) == 0


def test_scenes_dwell_on_the_clips_of_other_words_alone() -> None:
    keyword, others = clips_with(()), clips_with((7,))
    composer = Composer(Material([keyword], [others], None, None), STEP, FrontEnd(), seed=0)
    composer.dwell(Hard(words=(np.array([7]),), words_share=0.5))
    loud = [composer._clip(keyword=False)[0].max() > 0.9 for _ in range(400)]
    assert abs(np.mean(loud) - 0.5) < 0.1
    assert max(composer._clip(keyword=True)[0].max() for _ in range(100)) < 0.9
    composer.dwell(Hard())
    assert np.mean([composer._clip(keyword=False)[0].max() > 0.9 for _ in range(400)]) < 0.1


def test_what_is_asked_for_is_mined() -> None:
    clips, speech = clips_with((7,)), speech_with((300,))
    material = Material([clips], [clips, clips], speech, None)
    found = hard_negatives(Loudness(), material, STEP, 0.5, 0.25)
    assert 301 * STEP in found.places
    assert [chosen[0] for chosen in found.words] == [7, 7]
    assert (found.share, found.words_share) == (0.5, 0.25)
    assert hard_negatives(Loudness(), material, STEP, 0.5, 0.0).words == ()
    assert len(hard_negatives(Loudness(), material, STEP, 0.0, 0.5).places) == 0
    without = Material([clips], [clips], None, None)
    assert len(hard_negatives(Loudness(), without, STEP, 0.5, 0.0).places) == 0
    assert hard_negatives(Loudness(), without, STEP, 0.5, 0.0).share == 0.0
