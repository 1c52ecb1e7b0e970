"""What a word is within a clip, and the grid of a tape."""

import numpy as np

from train_host.tape import FRAME, make_tape, voiced_power, word_span


def clip_with_word(begin: int, end: int, length: int = 50, floor: float = 1e-3) -> np.ndarray:
    samples = np.full(length * FRAME, floor, np.float32)
    samples[begin * FRAME : end * FRAME] = 0.1
    return samples


def test_the_word_ends_at_its_last_frame_within_30_db() -> None:
    assert word_span(clip_with_word(10, 30)) == (10 * FRAME, 30 * FRAME)
    # 26 dB below the loudest still belongs to it, 34 dB does not.
    trailing = clip_with_word(10, 30)
    trailing[30 * FRAME : 33 * FRAME] = 0.005
    trailing[33 * FRAME : 36 * FRAME] = 0.002
    assert word_span(trailing) == (10 * FRAME, 33 * FRAME)


def test_silence_holds_no_word() -> None:
    assert word_span(np.zeros(16000, np.float32)) == (0, 0)
    assert word_span(np.zeros(0, np.float32)) == (0, 0)
    assert voiced_power(np.zeros(16000, np.float32)) == 0.0


def test_power_is_that_of_the_voiced_part() -> None:
    np.testing.assert_allclose(voiced_power(clip_with_word(10, 20)), 0.01, rtol=1e-5)


def test_a_tape_lies_on_the_grid_of_16_bits() -> None:
    samples = np.random.default_rng(0).normal(0, 0.5, 16000)
    tape = make_tape("x", samples)
    pcm = (tape.samples * 32768).astype(np.int16)
    np.testing.assert_array_equal(pcm.astype(np.float32) / 32768, tape.samples)
    assert tape.samples.dtype == np.float32
    assert tape.samples.max() <= 1 - 2**-15
    assert tape.samples.min() >= -1
    np.testing.assert_allclose(tape.samples, np.clip(samples, -1, 1 - 2**-15), atol=2**-16)
    assert tape.seconds == 1.0
