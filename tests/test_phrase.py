"""Phrases longer than a second: what is measured, and what follows from it."""

import numpy as np
import pytest
import torch

from device.errors import KeywordError
from device.manifest import FrontEnd
from train_host.calibrate import detection_for
from train_host.evaluate import clip_scores
from train_host.features import FeatureStore
from train_host.network import BASE_32, BASE_64, Network, Shape
from train_host.phrase import WINDOW, around, clip_frames, fitted, phrase_steps
from train_host.scenes import Composer, Material

STUDENT = Shape("separable", channels=4, hidden=4, layers=1, attention="flat")


def store(lengths: list[int], level: float = 0.0) -> FeatureStore:
    """Clips of so many loud frames, 20 quiet ones around them."""
    pieces = [
        np.concatenate(
            [np.full((20, 40), -12.0), np.full((n, 40), level), np.full((20, 40), -12.0)]
        )
        for n in lengths
    ]
    return FeatureStore(
        np.concatenate(pieces).astype(np.float16),
        np.cumsum([0, *map(len, pieces)]),
        np.array([(20, 20 + n) for n in lengths]),
    )


def steps(lengths: list[int]) -> int:
    return phrase_steps("hey marvin", np.array(lengths), FrontEnd(), 8)


def test_a_word_keeps_the_window_and_a_phrase_gets_a_longer_one() -> None:
    assert steps([40, 60, 80, 100]) == WINDOW == 12
    assert steps([120] * 9) == 17
    assert steps([180] * 9) == 25
    with pytest.raises(KeywordError, match=r"takes 2\.6 s to say"):
        steps([260] * 9)


def test_shapes_are_fitted() -> None:
    assert fitted(BASE_32, WINDOW) == BASE_32
    short = Shape("separable", 4, 4, 1, "flat", window=8)
    assert fitted(short, WINDOW) == short
    assert fitted(short, 20).window == fitted(BASE_64, 20).window == 20
    assert (clip_frames(12, 8), clip_frames(20, 8)) == (100, 160)


def test_around_keeps_within_the_recording() -> None:
    rows = np.arange(50)[:, None]
    assert around(rows, np.array([20, 30]), 10)[:, 0].tolist() == list(range(20, 30))
    assert around(rows, np.array([0, 4]), 10)[0, 0] == 0
    assert around(rows, np.array([46, 50]), 10)[-1, 0] == 49
    assert len(around(rows, np.array([20, 30]), 80)) == 50


@pytest.mark.parametrize("window", [12, 25])
def test_scenes_hold_the_phrase_and_the_time_to_report_it(window: int) -> None:
    keyword = store([window * 8 - 6] * 4)
    material = Material([keyword], [store([50] * 4)], store([900]), store([900], -6.0), window)
    composer = Composer(material, 8, FrontEnd(), 0)
    batch = composer.batch(40, keyword_share=0.5)
    frames, count = batch.mel.shape[1], batch.focus.shape[1]
    assert frames == 8 * count == 8 * (36 + 2 * (window - 12))
    assert batch.window.shape[1] == clip_frames(window, 8)
    assert batch.focus[batch.positive].any(dim=1).all()
    network = Network(fitted(STUDENT, window))
    trace, _ = network.stream(batch.mel, network.initial_state(40))
    assert trace.shape == (40, count, 2)
    assert torch.isfinite(network.clip(batch.window)).all()


def test_a_long_phrase_is_judged_whole_and_rests_longer() -> None:
    long = Network(fitted(BASE_32, 25))
    torch.manual_seed(0)
    assert clip_scores(long, store([190, 60])).shape == (2,)
    assert detection_for(long, 0.5).refractory_s == 2.0
    assert detection_for(Network(BASE_32), 0.5).refractory_s == 1.0
