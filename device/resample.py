"""Streaming change of sample rate with an anti-alias filter.

A polyphase finite impulse response filter: a sinc under a Kaiser window
(Kaiser 1974; Crochiere and Rabiner, Multirate Digital Signal Processing,
1983, chapter 4). One block of output is one product of a block of input with
a fixed matrix, so it is fast in numpy and its result does not depend on how
the input was cut into chunks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_PHASES = 640
"""Of the filter, fewer above three times the output's rate, to keep its matrix small.

Every rate in use is met exactly (11,025 Hz to 16,000 Hz needs all 640
phases), any other to within 0.1 %."""
ZERO_CROSSINGS = 32
"""Of the sinc, on each side: 2 ms at 16 kHz, which is the filter's delay."""
KAISER_BETA = 7.857
"""80 dB of stop-band attenuation."""
CUTOFF = 0.92
"""Half-amplitude point as a share of the lower Nyquist frequency; stop band from 1.0 on."""


class Resampler:
    """Converts one mono stream from `rate_in` to `rate_out`.

    Output sample n stands at the time of input sample n * rate_in / rate_out:
    the filter's delay is made up for. At equal rates samples pass unchanged.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._through = rate_in == rate_out
        if self._through:
            return
        # It brings the decimal module along, half a megabyte that most microphones need not take.
        from fractions import Fraction

        phases = min(MOST_PHASES, max(1, 3 * MOST_PHASES * rate_out // rate_in))
        ratio = Fraction(rate_in, rate_out).limit_denominator(phases)
        self._up, self._down = ratio.denominator, ratio.numerator
        self._through = self._up == self._down
        if self._through:
            return
        # A row of the product covers some 16 output samples, a block some 160
        # (10 ms): small enough to be prompt, large enough for numpy.
        periods = -(-16 // self._up)
        self._row_out = periods * self._up
        self._row_in = periods * self._down
        self._rows = max(1, round(160 / self._row_out))
        self._half, self._matrix = _filter_matrix(self._up, self._down, self._row_out)
        self._width = self._matrix.shape[0]
        self._block_in = self._rows * self._row_in
        self._windows = np.empty((self._rows, self._width), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets the past, as at the start of a stream."""
        if not self._through:
            # Silence before the start stands under the filter's left half.
            self._pending = np.zeros(self._half, np.float32)
            self._received = 0
            self._sent = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next input, float32 (n,); returns the output that it completes, float32 (m,)."""
        if self._through:
            return samples
        self._received += len(samples)
        output = self._convert(np.concatenate([self._pending, samples]))
        self._sent += len(output)
        return output

    def flush(self) -> NDArray[np.float32]:
        """The rest of the output at the end of the stream; then starts anew."""
        if self._through:
            return np.empty(0, np.float32)
        missing = -(-self._received * self._up // self._down) - self._sent
        silence = np.zeros(self._width + 2 * self._block_in, np.float32)
        output = self._convert(np.concatenate([self._pending, silence]))[:missing]
        self.reset()
        return output

    def _convert(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        need = self._block_in - self._row_in + self._width
        blocks = max(0, (len(buffer) - need) // self._block_in + 1)
        output = np.empty((blocks, self._rows, self._row_out), np.float32)
        for block in range(blocks):
            start = block * self._block_in
            for row in range(self._rows):
                at = start + row * self._row_in
                self._windows[row] = buffer[at : at + self._width]
            np.matmul(self._windows, self._matrix, out=output[block])
        self._pending = buffer[blocks * self._block_in :].copy()
        return output.reshape(-1)


def _filter_matrix(up: int, down: int, row_out: int) -> tuple[int, NDArray[np.float32]]:
    """The filter's half-width in input samples, and the matrix of one row of output.

    Column n holds the filter centred on input position n * down / up + half.
    """
    cutoff = CUTOFF * min(1.0, up / down)  # in units of the input's Nyquist frequency
    half = int(np.ceil(ZERO_CROSSINGS / cutoff))
    centres = np.arange(row_out) * down / up + half
    width = int(centres[-1]) + half + 2
    distance = np.arange(width)[:, None] - centres
    inside = np.clip(1.0 - (distance / (half + 1)) ** 2, 0.0, None)
    window = np.i0(KAISER_BETA * np.sqrt(inside)) * (np.abs(distance) <= half + 1)
    taps = np.sinc(cutoff * distance) * window
    # Each phase passes a constant unchanged.
    return half, (taps / taps.sum(axis=0)).astype(np.float32)
