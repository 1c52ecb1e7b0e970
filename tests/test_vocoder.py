"""WORLD: what goes in comes out, and each change changes what it is named after."""

import numpy as np
import pytest

pytest.importorskip("pyworld")

from train_host.vocoder import RATE, Change, analyse, random_change, speak_again


def vowel() -> np.ndarray:
    """0.8 s of a buzz through three resonances.

    Its pitch rises from 80 to 160 Hz: where it stood still, the spectrum's centroid would
    say how near a harmonic lies to the narrow resonances, not where they are.
    """
    count = int(0.8 * RATE)
    phase = np.cumsum(np.linspace(80, 160, count) / RATE)
    sound = np.diff(np.floor(phase), prepend=0.0)
    for hertz in (700, 1200, 2600):
        radius = np.exp(-np.pi * 90 / RATE)
        a1, a2 = -2 * radius * np.cos(2 * np.pi * hertz / RATE), radius**2
        y1 = y2 = 0.0
        out = np.empty(count)
        for i, x in enumerate(sound):
            out[i] = x - a1 * y1 - a2 * y2
            y1, y2 = out[i], y1
        sound = out
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


SPEECH = analyse(vowel())


def mean_pitch(samples: np.ndarray) -> float:
    pitch = analyse(samples).pitch
    return float(np.median(pitch[pitch > 0]))


def centroid(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float((spectrum * hertz).sum() / spectrum.sum())


def test_no_change_keeps_pitch_length_and_spectrum() -> None:
    again = speak_again(SPEECH, Change())
    assert len(again) == pytest.approx(0.8 * RATE, abs=200)
    assert mean_pitch(again) == pytest.approx(120, rel=0.02)
    assert centroid(again) == pytest.approx(centroid(vowel()), rel=0.05)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_pitch_moves_and_formants_stay(factor: float) -> None:
    again = speak_again(SPEECH, Change(pitch=factor))
    assert mean_pitch(again) == pytest.approx(120 * factor, rel=0.03)
    assert centroid(again) == pytest.approx(centroid(vowel()), rel=0.03)


@pytest.mark.parametrize("size", [0.85, 1.18])
def test_formants_move_and_pitch_stays(size: float) -> None:
    again = speak_again(SPEECH, Change(size=size))
    assert mean_pitch(again) == pytest.approx(120, rel=0.02)
    assert centroid(again) == pytest.approx(centroid(vowel()) / size, rel=0.04)


def test_tempo_is_the_mean_of_its_curve() -> None:
    assert len(speak_again(SPEECH, Change(tempo=(2.0, 2.0)))) == pytest.approx(6400, abs=200)
    uneven = len(speak_again(SPEECH, Change(tempo=(0.8, 1.25))))
    assert uneven == pytest.approx(RATE * 0.8 * np.log(1.25 / 0.8) / 0.45, rel=0.02)


def test_random_changes_follow_the_seed_and_stay_speech() -> None:
    changes = [random_change(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert changes[0] == changes[1] != changes[2]
    for seed in range(10):
        again = speak_again(SPEECH, random_change(np.random.default_rng(seed)))
        assert np.isfinite(again).all()
        assert 0.4 * RATE < len(again) < 1.6 * RATE


def test_silence_and_noise_are_taken_apart_too() -> None:
    noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32) * 0.1
    for samples in (np.zeros(4000, np.float32), noise):
        again = speak_again(analyse(samples), random_change(np.random.default_rng(3)))
        assert np.isfinite(again).all()
