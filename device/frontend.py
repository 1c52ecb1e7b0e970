"""Streaming log-mel front end in numpy.

Frames are not centred: frame j of a stream covers samples
[hop j - tail, hop j - tail + window), and samples before the start count as
zeros, so every step of samples gives the same number of frames. The numbers
equal torchaudio's MelSpectrogram(center=False) with its defaults (periodic
Hann window, power spectrum, HTK mel scale, no normalisation).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from device.manifest import FrontEnd

Samples = NDArray[np.float32]

BANDS_AT_ONCE = 10
"""A filter covers few bins, so ten neighbours are one product over the bins that they share: with
the plain BLAS that Debian installs it takes a fifth of the time of one product over everything
(docs/decisions/0030-numpy-engine.md)."""


def mel_filterbank(front_end: FrontEnd) -> Samples:
    """Triangular mel filters, float32 (window // 2 + 1, mel_bands).

    The HTK scale, mel = 2595 log10(1 + f / 700), from 0 Hz to half the sample
    rate (Young et al., The HTK Book, section 5.4).
    """
    nyquist = front_end.sample_rate / 2
    bins = np.linspace(0.0, nyquist, front_end.window // 2 + 1)
    mels = np.linspace(0.0, 2595.0 * np.log10(1.0 + nyquist / 700.0), front_end.mel_bands + 2)
    corners = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - low) / (middle - low)
    falling = (high - bins[:, None]) / (high - middle)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


class LogMel:
    """Turns steps of samples into log-mel frames, keeping the overlap between steps."""

    def __init__(self, front_end: FrontEnd, step_samples: int) -> None:
        self._front_end = front_end
        self._step = step_samples
        self._buffer = np.zeros(front_end.tail + step_samples, np.float32)
        # A view: it follows the buffer, so no step slices or copies frames.
        self._frames = sliding_window_view(self._buffer, front_end.window)[:: front_end.hop]
        phase = 2.0 * np.pi * np.arange(front_end.window) / front_end.window
        self._window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
        self._windowed = np.empty(self._frames.shape, np.float32)
        bins = front_end.window // 2 + 1
        # Any: the type stubs of rfft know of complex128 alone.
        self._spectrum: Any = np.empty((len(self._frames), bins), np.complex64)
        self._parts: Samples = self._spectrum.view(np.float32)
        # Each filter row stands twice, for the real and the imaginary part:
        # squaring the spectrum as pairs of floats makes power and mel one product.
        # The spectrum comes divided by the window's length, so the filters make up for that.
        scale = np.float32(front_end.window**2)
        self._groups = _group(np.repeat(mel_filterbank(front_end) * scale, 2, axis=0))

    def reset(self) -> None:
        """Forgets the past: the next frames begin as at the start of a stream."""
        self._buffer[:] = 0.0

    def push(self, samples: Samples) -> Samples:
        """One step of samples in, its frames out.

        `samples`: float32 (step_samples,) in [-1, 1). Returns a new float32
        array (step_samples / hop, mel_bands), the natural logarithm of the mel
        energies clamped to [floor, ceiling].
        """
        buffer, tail = self._buffer, self._front_end.tail
        buffer[:tail] = buffer[self._step :]
        buffer[tail:] = samples
        np.multiply(self._frames, self._window, out=self._windowed)
        # Without a norm, numpy computes in double precision and rounds; it takes longer.
        np.fft.rfft(self._windowed, norm="forward", out=self._spectrum)
        parts = self._parts
        np.multiply(parts, parts, out=parts)
        mel = np.empty((len(parts), self._front_end.mel_bands), np.float32)
        for bins, bands, filters in self._groups:
            mel[:, bands] = parts[:, bins].dot(filters)
        np.maximum(mel, self._front_end.floor, out=mel)
        np.minimum(mel, self._front_end.ceiling, out=mel)
        np.log(mel, out=mel)
        return mel


def _group(filters: Samples) -> list[tuple[slice, slice, Samples]]:
    """The filters, (bins, bands), in groups of neighbours: bins, bands and what is there.

    Beyond its bins a group is zero.
    """
    groups = []
    for start in range(0, filters.shape[1], BANDS_AT_ONCE):
        bands = slice(start, start + BANDS_AT_ONCE)
        used = np.flatnonzero(filters[:, bands].any(axis=1))
        # A filter narrower than the distance of two bins may be zero throughout.
        bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        groups.append((bins, bands, np.ascontiguousarray(filters[bins, bands])))
    return groups
