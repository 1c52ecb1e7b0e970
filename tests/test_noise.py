"""Noise by rule: loudness, colour, reproducibility."""

import numpy as np
import pytest

from train_host.noise import KINDS, LOUDNESS_DB, RATE, babble, make_noise

VOICES = [np.sin(np.arange(n) / 9).astype(np.float32) for n in (9000, 20000)]


@pytest.mark.parametrize("name", [*KINDS, "babble"])
def test_every_kind_has_the_loudness_and_follows_the_seed(name: str) -> None:
    kind = {**KINDS, "babble": babble(VOICES)}[name]
    first, again = (make_noise(kind, 3, np.random.default_rng(1)) for _ in range(2))
    other = make_noise(kind, 3, np.random.default_rng(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (3 * RATE,)
    assert 20 * np.log10(np.sqrt(np.mean(first**2))) == pytest.approx(LOUDNESS_DB, abs=0.7)


def test_colours_fall_with_frequency() -> None:
    slopes = []
    for name in ("white", "pink", "brown"):
        sound = make_noise(KINDS[name], 20, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
        low, high = (power[(hertz > f) & (hertz < 2 * f)].mean() for f in (250, 2000))
        slopes.append(10 * np.log10(low / high) / 3)
    assert slopes == pytest.approx([0, 3, 6], abs=0.4)  # dB in an octave
