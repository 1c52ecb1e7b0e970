"""Splices keywords into running speech, in layers from which every condition is mixed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train_host.corpus import Clip, load
from train_host.sound_stream import SoundStream
from train_host.tape import (
    FRAME,
    RATE,
    Event,
    Samples,
    voiced_frames,
    voiced_power,
    word_span,
)

PART = 1800 * RATE
"""Keywords come in parts of half an hour, to spare memory."""
FEW, MOST_TIMES = 60, 6
"""Fewer clips of a kind than this are placed several times each, at most so often."""
MOST_SYNTHETIC = 300
"""More synthetic clips than this say nothing new; as many of each voice are drawn as can be."""
SPEECH_S = (3.0, 7.0)
"""Running speech between two keywords: it ends where it is quietest within ..."""
SEARCH_S = 1.0
"""... this time."""
LAST_S = 3.0
"""Running speech after the last keyword."""
PAUSE_S = (0.05, 0.35)
"""Silence before and after the keyword."""
MARGIN_S = 0.1
"""What is kept of a clip before and after its word."""
FADE_S = 0.01
LEVEL_DB = 5.0
"""A keyword is as loud as the speech before it, give or take this."""
USUAL_POWER = 10 ** (-26 / 10)
"""The voiced power of a keyword where there is no speech before it."""
SILENT_POWER = 10 ** (-60 / 10)


@dataclass(frozen=True)
class Placed:
    """One keyword on a tape, and the stretch of the tape that goes with it."""

    event: Event
    at: int
    """First sample of the word."""
    voiced: npt.NDArray[np.bool_]
    """Which of the 20 ms frames from there on are voiced."""
    stretch: slice


@dataclass(frozen=True)
class Take:
    """Up to half an hour: running speech, and keywords in its pauses."""

    speech: Samples
    words: Samples
    """The keywords alone, silence elsewhere; as long as `speech`."""
    placed: tuple[Placed, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(placed.event for placed in self.placed)


def takes(
    keywords: Sequence[Clip],
    speech: Sequence[Clip],
    rng: np.random.Generator,
    warn: Callable[[str], None] = print,
) -> Iterator[Take]:
    """Every keyword in running speech, real ones first.

    A keyword comes every several seconds, at a random moment, in the quietest
    place near it, as loud as the speech before it give or take LEVEL_DB.
    """
    stream = SoundStream(speech, rng, warn)
    take = _Unfinished()
    for clip in _order(keywords, rng):
        seconds = rng.uniform(*SPEECH_S)
        before = stream.take_to_pause(
            round((seconds - SEARCH_S) * RATE), round((seconds + SEARCH_S) * RATE)
        )
        take.add(clip, before, rng)
        if take.length >= PART:
            yield take.finish(stream.take(round(LAST_S * RATE)))
            take = _Unfinished()
    if take.length:
        yield take.finish(stream.take(round(LAST_S * RATE)))


class _Unfinished:
    """A take while keywords are added to it."""

    def __init__(self) -> None:
        self.length = 0
        self._speech: list[Samples] = []
        self._words: list[Samples] = []
        self._placed: list[Placed] = []

    def add(self, clip: Clip, before: Samples, rng: np.random.Generator) -> None:
        word, start, voiced = _cut_out(load(clip))
        around = voiced_power(before)
        if around < SILENT_POWER:
            around = USUAL_POWER
        wanted = around * 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 10)
        word = word * np.float32(math.sqrt(wanted / voiced_power(word[start:], voiced)))
        first, second = (round(rng.uniform(*PAUSE_S) * RATE) for _ in range(2))
        begin, at = self.length, self.length + len(before) + first + start
        silence = np.zeros(first + len(word) + second, np.float32)
        self._speech += [before, silence]
        self._words += [
            np.zeros(len(before) + first, np.float32),
            word,
            np.zeros(second, np.float32),
        ]
        self.length += len(before) + len(silence)
        last = int(np.flatnonzero(voiced)[-1]) + 1
        event = Event(
            at / RATE,
            (at + last * FRAME) / RATE,
            clip.speaker,
            clip.kind,
            f"{clip.path.name}:{clip.start}" if clip.start else clip.path.name,
        )
        self._placed.append(Placed(event, at, voiced, slice(begin, self.length)))

    def finish(self, after: Samples) -> Take:
        return Take(
            np.concatenate([*self._speech, after]),
            np.concatenate([*self._words, np.zeros(len(after), np.float32)]),
            tuple(self._placed),
        )


def _order(keywords: Sequence[Clip], rng: np.random.Generator) -> list[Clip]:
    """Real clips before synthetic ones, each kind in random order, few clips several times."""
    found: list[Clip] = []
    for kind in ("real", "synthetic"):
        clips = [clip for clip in keywords if clip.kind == kind]
        if kind == "synthetic":
            clips = _fair_choice(clips, rng)
        times = min(MOST_TIMES, math.ceil(FEW / len(clips))) if clips else 0
        for _ in range(times):
            found += [clips[i] for i in rng.permutation(len(clips))]
    return found


def _fair_choice(clips: Sequence[Clip], rng: np.random.Generator) -> list[Clip]:
    """MOST_SYNTHETIC of the clips: one of each voice, then another of each, and so on."""
    rounds: Counter[str] = Counter()
    drawn: list[tuple[int, Clip]] = []
    for i in rng.permutation(len(clips)):
        rounds[clips[i].speaker] += 1
        drawn.append((rounds[clips[i].speaker], clips[i]))
    drawn.sort(key=lambda turn: turn[0])
    return [clip for _, clip in drawn[:MOST_SYNTHETIC]]


def _cut_out(samples: Samples) -> tuple[Samples, int, npt.NDArray[np.bool_]]:
    """The word with a margin, faded in and out; where it starts there; its voiced frames."""
    start, stop = word_span(samples)
    voiced = voiced_frames(samples)[start // FRAME : stop // FRAME]
    margin = round(MARGIN_S * RATE)
    begin, end = max(0, start - margin), min(len(samples), stop + margin)
    word = samples[begin:end].copy()
    fade = min(round(FADE_S * RATE), start - begin)
    word[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    fade = min(round(FADE_S * RATE), end - stop)
    word[len(word) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return word, start - begin, voiced
