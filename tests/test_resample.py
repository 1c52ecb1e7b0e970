"""The resampler: what aliases is gone, what passes is unchanged and in its place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.resample import Resampler

RATES = [8000, 11025, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000]


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def convert(samples: np.ndarray, rate: int, sizes: list[int] | None = None) -> np.ndarray:
    resampler, parts, at = Resampler(rate, 16000), [], 0
    for size in sizes or []:
        parts.append(resampler.push(samples[at : at + size]))
        at += size
    parts += [resampler.push(samples[at:]), resampler.flush()]
    return np.concatenate(parts)


def decibels(samples: np.ndarray) -> float:
    """Level of the middle of a tone against one at full scale."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(10 * np.log10(2 * np.mean(middle.astype(np.float64) ** 2) + 1e-30))


@pytest.mark.parametrize("rate", [32000, 44100, 48000, 96000])
@pytest.mark.parametrize("hertz", [8100, 9000, 10000, 12000, 15900])
def test_what_would_alias_is_60_db_down(rate: int, hertz: int) -> None:
    assert decibels(convert(tone(hertz, rate), rate)) < -60


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hertz", [100, 1000, 3000])
def test_speech_passes_unchanged_and_in_its_place(rate: int, hertz: int) -> None:
    converted = convert(tone(hertz, rate), rate)
    assert converted.dtype == np.float32
    np.testing.assert_allclose(converted[100:-100], tone(hertz, 16000)[100:-100], atol=1e-3)


def test_pass_band_reaches_to_6500_hz() -> None:
    assert abs(decibels(convert(tone(6500, 48000), 48000))) < 0.1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.5, 1.23])
def test_length_is_kept(rate: int, seconds: float) -> None:
    samples = np.zeros(round(seconds * rate), np.float32)
    assert len(convert(samples, rate)) == -(-len(samples) * 16000 // rate)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 3000), max_size=30))
def test_chunking_does_not_change_a_bit(rate: int, sizes: list[int]) -> None:
    sound = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    np.testing.assert_array_equal(convert(sound, rate, sizes), convert(sound, rate))


def test_equal_rates_pass_through() -> None:
    sound = tone(440, 16000)
    np.testing.assert_array_equal(convert(sound, 16000, [5, 700]), sound)


@settings(max_examples=20, deadline=None)
@given(st.integers(1000, 768000))
def test_rates_are_met(rate: int) -> None:
    samples = np.zeros(rate // 2, np.float32)
    length = len(convert(samples, rate))
    assert abs(length - len(samples) * 16000 / rate) <= 1 + 0.001 * length


def test_reset_forgets_the_past() -> None:
    sound = tone(1000, 48000, 0.1)
    resampler = Resampler(48000, 16000)
    first = resampler.push(sound)
    resampler.reset()
    np.testing.assert_array_equal(resampler.push(sound), first)
