"""The model that comes with kws-pi: it loads, hears the demonstration, and forgets silence."""

import numpy as np
import pytest

from device import demo
from device.errors import ManifestError
from device.model import Model, default_manifest, load_model
from device.spotter import Spotter


@pytest.fixture
def model() -> Model:
    try:
        path = default_manifest()
    except ManifestError:
        pytest.skip("no model is shipped yet")
    return load_model(path)


def test_demonstration_finds_each_keyword_once_and_nothing_else(model: Model) -> None:
    pytest.importorskip("soundfile")
    items = demo.read_items(demo.TAPE.with_suffix(".csv"))
    played = demo.play(Spotter(model), demo.TAPE)
    verdict = demo.judge(items, played.hits)
    assert len(verdict.found) == 5
    assert verdict.right, demo.summary(verdict)


def test_chunks_do_not_change_the_probability(model: Model) -> None:
    sound = (np.random.default_rng(0).standard_normal(62 * 1280) * 0.1).astype(np.float32)
    probabilities = []
    for size in (1280, 997, 16000):
        spotter = Spotter(model)
        spotter.gap()
        for start in range(0, len(sound), size):
            spotter.push(sound[start : start + size], 0.0)
        assert spotter.time_s == pytest.approx(62 * 0.08)
        probabilities.append(spotter.probability)
    assert probabilities[0] == probabilities[1] == probabilities[2]


def test_minutes_of_silence_leave_the_probability_where_it_was(model: Model) -> None:
    quiet = np.zeros(model.manifest.step_samples, np.float32)
    probabilities = [model.step(quiet) for _ in range(10 * 60 * 25 // 2)]
    # After a minute, which slow units of the GRU may take to settle, nothing changes any more.
    settled = probabilities[750:]
    assert max(settled) - min(settled) < 1e-3
    assert max(settled) < model.manifest.detection.threshold
