"""The log-mel front end against its definition and against torchaudio."""

import numpy as np
import pytest

from device.frontend import LogMel, mel_filterbank
from device.manifest import FrontEnd

STEP = 1280


def stream(front_end: FrontEnd, samples: np.ndarray, step: int = STEP) -> np.ndarray:
    log_mel = LogMel(front_end, step)
    return np.concatenate([log_mel.push(part) for part in samples.reshape(-1, step)])


def speechlike(steps: int, step: int = STEP) -> np.ndarray:
    """Noise whose loudness goes from digital silence to full scale."""
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(steps * step) * np.logspace(-4, -0.7, steps * step)
    sound[step : step + 500] = 0.0
    return np.clip(sound, -1, 1).astype(np.float32)


def by_definition(front_end: FrontEnd, samples: np.ndarray) -> np.ndarray:
    """Frame by frame with a written-out DFT, in double precision."""
    n = np.arange(front_end.window)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / front_end.window)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(front_end.window // 2 + 1), n) / front_end.window)
    padded = np.concatenate([np.zeros(front_end.tail), samples.astype(np.float64)])
    frames = []
    for start in range(0, len(samples), front_end.hop):
        power = np.abs(dft @ (window * padded[start : start + front_end.window])) ** 2
        mel = power @ mel_filterbank(front_end).astype(np.float64)
        frames.append(np.log(np.clip(mel, front_end.floor, front_end.ceiling)))
    return np.array(frames)


@pytest.mark.parametrize(
    ("front_end", "step"),
    [
        (FrontEnd(), 1280),
        (FrontEnd(), 160),  # the step is shorter than the overlap
        (FrontEnd(sample_rate=8000, window=256, hop=64, mel_bands=20), 512),
        (FrontEnd(window=320, hop=320), 640),  # no overlap
    ],
)
def test_equals_its_definition(front_end: FrontEnd, step: int) -> None:
    samples = speechlike(6, step)
    np.testing.assert_allclose(
        stream(front_end, samples, step), by_definition(front_end, samples), atol=2e-4
    )


def test_equals_torchaudio() -> None:
    torch = pytest.importorskip("torch")
    torchaudio = pytest.importorskip("torchaudio")
    front_end, samples = FrontEnd(), speechlike(25)
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=16000, n_fft=400, win_length=400, hop_length=160, n_mels=40, center=False
    )
    padded = np.concatenate([np.zeros(front_end.tail, np.float32), samples])
    mel = transform(torch.from_numpy(padded)).clamp(front_end.floor, front_end.ceiling)
    ours = stream(front_end, samples)
    assert ours.shape == (25 * 8, 40)
    np.testing.assert_allclose(ours, mel.log().T.numpy(), atol=2e-4)


def test_reset_forgets_the_past() -> None:
    log_mel = LogMel(FrontEnd(), STEP)
    samples = speechlike(2)
    first = log_mel.push(samples[STEP:])
    assert not np.array_equal(log_mel.push(samples[STEP:]), first)
    log_mel.reset()
    np.testing.assert_array_equal(log_mel.push(samples[STEP:]), first)


def test_earlier_frames_are_not_overwritten() -> None:
    log_mel = LogMel(FrontEnd(), STEP)
    samples = speechlike(2)
    first = log_mel.push(samples[:STEP])
    before = first.copy()
    log_mel.push(samples[STEP:])
    np.testing.assert_array_equal(first, before)


def test_silence_and_excess_are_clamped() -> None:
    log_mel = LogMel(FrontEnd(floor=1e-3, ceiling=2.0), STEP)
    silent = log_mel.push(np.zeros(STEP, np.float32))
    np.testing.assert_allclose(silent, np.log(1e-3), rtol=1e-6)
    log_mel.push(np.full(STEP, 0.5, np.float32))
    loud = log_mel.push(speechlike(1) * 100)
    np.testing.assert_allclose(loud.max(), np.log(2.0), rtol=1e-6)


def test_frames_are_float32_of_the_steps_size() -> None:
    mel = LogMel(FrontEnd(), STEP).push(np.zeros(STEP, np.float32))
    assert mel.dtype == np.float32
    assert mel.shape == (8, 40)
