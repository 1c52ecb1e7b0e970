"""What lies between a voice and a recording: how loud the noise is, and what it is."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from device.manifest import FrontEnd  # noqa: E402
from train_host import surroundings  # noqa: E402
from train_host.features import FeatureStore  # noqa: E402
from train_host.surroundings import RATIO_DB, TALK, Surroundings  # noqa: E402

FRAMES, BANDS = 200, 40
VOICE = np.full((FRAMES, BANDS), 100.0, np.float32)
"""So loud that the hiss of the microphone is nothing."""


def recording(band: int, frames: int = 1000) -> FeatureStore:
    """One long recording of sound in one band."""
    log_mel = np.full((frames, BANDS), -15, np.float16)
    log_mel[:, band] = 2
    bounds, active = np.array([0, frames]), np.array([[0, frames]])
    return FeatureStore(log_mel, bounds, active)


def added(place: Surroundings) -> np.ndarray:
    """What each of 400 scenes adds to a voice, (400, bands)."""
    return np.stack([(place.background(VOICE, FRAMES) - VOICE).mean(axis=0) for _ in range(400)])


def test_noise_keeps_to_its_ratios(monkeypatch) -> None:
    monkeypatch.setattr(surroundings, "NOISY", 1.0)
    rng = np.random.default_rng(0)
    powers = added(Surroundings(recording(3), FrontEnd(), rng)).mean(axis=1)
    ratios = 10 * np.log10(VOICE.mean() / powers)
    assert RATIO_DB[0] - 0.5 < ratios.min() < RATIO_DB[0] + 2
    assert RATIO_DB[1] - 2 < ratios.max() < RATIO_DB[1] + 0.5


def test_some_scenes_are_quiet() -> None:
    place = Surroundings(recording(3), FrontEnd(), np.random.default_rng(0))
    quiet = added(place)[:, 3] < 1e-2
    assert abs(quiet.mean() - (1 - surroundings.NOISY)) < 0.1


def test_somebody_talks_in_the_background_now_and_then(monkeypatch) -> None:
    monkeypatch.setattr(surroundings, "NOISY", 1.0)
    rng = np.random.default_rng(0)
    heard = added(Surroundings(recording(3), FrontEnd(), rng, talk=recording(30))).argmax(axis=1)
    assert set(heard) == {3, 30}
    assert abs((heard == 30).mean() - TALK) < 0.07


def test_noise_comes_through_another_microphone_each_time(monkeypatch) -> None:
    """Two bands that are as loud in the recording are not so in the scenes."""
    monkeypatch.setattr(surroundings, "NOISY", 1.0)
    store = recording(3)
    store.frames[:, 35] = store.frames[:, 3]
    found = added(Surroundings(store, FrontEnd(), np.random.default_rng(0)))
    assert np.std(10 * np.log10(found[:, 3] / found[:, 35])) > 2


def test_without_noise_there_is_hiss_alone() -> None:
    power = Surroundings(None, FrontEnd(), np.random.default_rng(0)).background(0 * VOICE, FRAMES)
    assert 0 < power.max() < 0.1
