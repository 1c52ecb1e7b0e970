"""Bytes to samples, each format."""

import numpy as np
import pytest

from device.pcm import decode, tame


@pytest.mark.parametrize(
    ("sample_format", "data"),
    [
        ("U8", bytes([0, 128, 192])),
        ("S16_LE", np.array([-32768, 0, 16384], "<i2").tobytes()),
        ("S24_3LE", b"\x00\x00\x80\x00\x00\x00\x00\x00\x40"),
        ("S32_LE", np.array([-(2**31), 0, 2**30], "<i4").tobytes()),
        ("FLOAT_LE", np.array([-1, 0, 0.5], "<f4").tobytes()),
    ],
)
def test_formats_agree(sample_format: str, data: bytes) -> None:
    samples = decode(data, sample_format, 1)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [-1.0, 0.0, 0.5])


def test_16_bits_are_exact() -> None:
    numbers = np.arange(-32768, 32768).astype("<i2")
    np.testing.assert_array_equal(decode(numbers.tobytes(), "S16_LE", 1) * 32768, numbers)


def test_channels_are_averaged_and_a_torn_frame_is_left_out() -> None:
    data = np.array([1000, 3000, -500, 500, 7], "<i2").tobytes()
    np.testing.assert_array_equal(decode(data, "S16_LE", 2) * 32768, [2000, 0])


def test_floats_that_are_no_samples() -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 3.0, 0.25], np.float32)
    np.testing.assert_array_equal(tame(wild), [0, 1, -1, 1, 0.25])
