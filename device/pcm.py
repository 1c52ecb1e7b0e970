"""How the bytes of a sample format become samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device.formats import FORMATS


def decode(data: bytes, sample_format: str, channels: int) -> NDArray[np.float32]:
    """Interleaved samples as bytes to mono, float32 (frames,) in [-1, 1].

    Channels are mixed down to their mean. Bytes after the last whole frame
    are left out.
    """
    width = FORMATS[sample_format] * channels
    data = data[: len(data) // width * width]
    if sample_format == "S16_LE":
        samples = np.frombuffer(data, "<i2").astype(np.float32)
        samples *= np.float32(1 / 32768)
    elif sample_format == "U8":
        samples = np.frombuffer(data, np.uint8).astype(np.float32)
        samples = samples * np.float32(1 / 128) - np.float32(1)
    elif sample_format == "S24_3LE":
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = padded.view("<i4")[:, 0].astype(np.float32) * np.float32(2**-31)
    elif sample_format == "S32_LE":
        samples = np.frombuffer(data, "<i4").astype(np.float32) * np.float32(2**-31)
    else:
        samples = tame(np.frombuffer(data, "<f4"))
    return mix_down(samples.reshape(-1, channels))


def tame(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips to [-1, 1] and takes what is not a number as silence.

    A float recording may hold anything, and one NaN in the network's state
    would stay there for good.
    """
    tamed: NDArray[np.float32] = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    np.clip(tamed, -1.0, 1.0, out=tamed)
    return tamed


def mix_down(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (frames, channels) to the mean of the channels, float32 (frames,)."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    mono: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float32)
    return mono
