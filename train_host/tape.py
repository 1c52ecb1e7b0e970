"""Tapes: continuous audio, and where in it the keyword is said.

What a model is judged on. `train_host/tape_material.py` reads what tapes are
made of, `train_host/tape_maker.py` composes them, and
`train_host/listening.py` plays them to a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

RATE = 16000
FRAME = RATE // 50
"""20 ms: by such frames it is told where a word begins and ends."""
VOICED_DB = 30.0
"""A frame belongs to the word while it is within this of the clip's loudest."""
LATE_S = 1.0
"""A detection may come so long after the word's end."""

Samples = npt.NDArray[np.float32]
Kind = Literal["real", "synthetic"]


@dataclass(frozen=True)
class Event:
    """The keyword, said once."""

    start_s: float
    end_s: float
    """End of the word's last 20 ms frame within 30 dB of the clip's loudest."""
    speaker: str
    kind: Kind
    clip: str
    """The recording's name; a clip may be placed more than once."""


@dataclass(frozen=True)
class Tape:
    """At most an hour of audio or so, that a listener hears from the start of a stream.

    Tapes of one name belong together: they are parts of one condition.
    """

    name: str
    samples: Samples
    """(n,), mono, 16 kHz, in [-1, 1) on the grid of 16-bit PCM, so that a listener that takes
    int16 hears exactly the same: `(samples * 32768).astype(np.int16)`."""
    events: tuple[Event, ...] = ()
    """In the order of time; none in a tape of negatives."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def make_tape(name: str, samples: npt.NDArray[np.floating], events: tuple[Event, ...] = ()) -> Tape:
    """A tape of samples that are rounded to 16 bits, and limited as a microphone limits them."""
    scaled = np.round(np.asarray(samples, np.float32) * np.float32(32768))
    np.clip(scaled, -32768, 32767, out=scaled)
    scaled /= np.float32(32768)
    return Tape(name, scaled, events)


def voiced_frames(samples: Samples) -> npt.NDArray[np.bool_]:
    """Which whole 20 ms frames of a clip are within 30 dB of its loudest, (frames,)."""
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    energy = np.square(whole).sum(axis=1)
    loudest = energy.max(initial=0.0)
    return np.asarray(energy >= max(loudest * 10 ** (-VOICED_DB / 10), 1e-30))


def word_span(samples: Samples) -> tuple[int, int]:
    """First and one past the last sample of the word in a clip; (0, 0) where all is silent."""
    voiced = np.flatnonzero(voiced_frames(samples))
    if not len(voiced):
        return 0, 0
    return int(voiced[0]) * FRAME, int(voiced[-1] + 1) * FRAME


def voiced_power(samples: Samples, voiced: npt.NDArray[np.bool_] | None = None) -> float:
    """Mean square over the voiced frames (those of `samples` itself unless given); 0 if none."""
    if voiced is None:
        voiced = voiced_frames(samples)
    whole = samples[: len(voiced) * FRAME].reshape(-1, FRAME)[voiced].astype(np.float64)
    return float(np.mean(np.square(whole))) if whole.size else 0.0
