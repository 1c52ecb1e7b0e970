"""What every text-to-speech engine looks like from outside."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

RATE = 16000
Role = Literal["training", "validation", "demo"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Voice:
    """One voice of one engine."""

    name: str
    """Unique among all engines, fit for a file name; also the speaker id."""
    engine: str
    role: Role
    licence: str
    key: str
    """What the engine calls it."""
    language: str = "en"
    """The language it reads; another than English is an accent to us."""


@dataclass(frozen=True)
class Manner:
    """How something is said, relative to the voice's own way."""

    tempo: float = 1.0
    """Above 1 is faster."""
    pitch: float = 1.0
    """Factor on the fundamental frequency, in engines that can change it."""
    size: float = 1.0
    """Above 1 is a longer vocal tract: pitch and formants sink together by this factor."""
    liveliness: float = 1.0
    """Factor on the randomness of engines that have any."""
    seed: int = 0


class Engine(ABC):
    """One text-to-speech program or package."""

    name: ClassVar[str]
    needs: ClassVar[str]
    """What to install when it is absent, as a user would type it."""
    weight: ClassVar[float]
    """Share of the clips it should speak, relative to the others: naturalness, mostly."""

    @abstractmethod
    def is_installed(self) -> bool: ...

    @abstractmethod
    def voices(self) -> tuple[Voice, ...]: ...

    @abstractmethod
    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        """Samples and their rate; `manner.size` is left to the caller."""

    def speak(self, voice: Voice, text: str, manner: Manner) -> NDArray[np.float32]:
        """Says the text: float32 (samples,), 16 kHz, in [-1, 1].

        The size of the speaker is changed by playing slower or faster, and
        the tempo is set against it, so that the duration stays.
        """
        tempo = manner.tempo * manner.size
        samples, rate = self._say(voice, text, dataclasses.replace(manner, tempo=tempo))
        ratio = Fraction(RATE * manner.size / rate).limit_denominator(160)
        return change_rate(samples, ratio)


def change_rate(samples: NDArray[np.float32], ratio: Fraction) -> NDArray[np.float32]:
    """The samples at `ratio` times their rate, through a polyphase low-pass filter."""
    changed = resample_poly(samples, ratio.numerator, ratio.denominator)
    return np.asarray(changed, np.float32)
