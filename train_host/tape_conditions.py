"""The tapes of an evaluation: the same keywords at the same moments under every condition.

* clean: nothing but running speech, the keywords and the floor of a quiet room;
* noise at 20, 10, 5 and 0 dB: noise added around each keyword, at this ratio
  of powers over the frames in which the word is voiced;
* noise alone: keywords in noise at 10 dB, while nobody else speaks;
* over speech: keywords while somebody else speaks, 10 dB softer;
* reverberation: speech and keywords in a room, another one for each keyword;
* gain -20 dB: everything softer;
* after an hour: the first half-hour of the clean tape after an hour of negatives.

Before them come the negatives as they are, after them an hour of noise, music
and silence. One seed, one set of tapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.signal import fftconvolve

from device.errors import CorpusError
from train_host.corpus import Clip
from train_host.sound_stream import SoundStream, play
from train_host.tape import RATE, Event, Samples, Tape, make_tape, voiced_power
from train_host.tape_maker import Take, takes
from train_host.tape_material import Material

NEGATIVES = "negatives"
CLEAN = "clean"
NOISE_DB = {f"noise at {db} dB": float(db) for db in (20, 10, 5, 0)}
NOISE_ALONE = "noise alone, 10 dB"
OVER_SPEECH = "over speech, 10 dB"
ALONE_DB = 10.0
REVERBERATION = "reverberation"
SOFT = "gain -20 dB"
SOFT_DB = -20.0
AFTER_AN_HOUR = "after an hour"
QUIET = "noise, music and silence"
CONDITIONS = (CLEAN, *NOISE_DB, NOISE_ALONE, OVER_SPEECH, REVERBERATION, SOFT, AFTER_AN_HOUR)
"""The conditions under which keywords are said, in the order of tables."""

HOUR = 3600 * RATE
FLOOR_RMS = 10 ** (-70 / 20)
"""The floor of a quiet room. Digital silence would be a sound that no microphone gives."""
GAINS_DB = (0.0, -12.0, -24.0, 6.0)
"""At these gains noise and music are repeated to fill an hour."""
SILENCE_S = 20.0
"""So much digital silence, and as much of the floor, comes after each pass."""
LEAST_SHARE = 0.5
"""Noise below a word must have at least this share of the power that it has around it, ..."""
TRIES = 100
"""... for which so many pieces of noise are tried."""


def tapes(material: Material, warn: Callable[[str], None] = print, seed: int = 0) -> Iterator[Tape]:
    """Every tape of an evaluation, one at a time."""
    yield from negatives(material.speech, warn)
    rng = np.random.default_rng([seed, 0])
    for index, take in enumerate(takes(material.keywords, material.speech, rng, warn)):
        yield from conditions(take, material, np.random.default_rng([seed, 1, index]), warn)
        if index == 0:
            yield after_an_hour(take, material.speech, np.random.default_rng([seed, 2]), warn)
    yield quiet_hour(material.noise, np.random.default_rng([seed, 3]), warn)


def negatives(speech: Sequence[Clip], warn: Callable[[str], None] = print) -> Iterator[Tape]:
    """The recordings as they are, one after the other, about an hour to a tape.

    Raises CorpusError when none can be read.
    """
    held: list[Samples] = []
    length, parts = 0, 0
    for piece in play(speech, warn):
        held.append(piece)
        length += len(piece)
        if length >= HOUR:
            yield make_tape(NEGATIVES, np.concatenate(held))
            held, length, parts = [], 0, parts + 1
    if held:
        yield make_tape(NEGATIVES, np.concatenate(held))
    elif not parts:
        raise CorpusError("no recording of running speech can be read; give other NEGATIVES")


def conditions(
    take: Take, material: Material, rng: np.random.Generator, warn: Callable[[str], None] = print
) -> Iterator[Tape]:
    """A take under every condition but the hour before it."""
    floor = floor_of(len(take.speech), rng)
    clean = take.speech + take.words + floor
    yield make_tape(CLEAN, clean, take.events)
    noise = SoundStream(material.noise, rng, warn)
    sound = backdrop(take, noise, 0.0)
    for name, db in NOISE_DB.items():
        yield make_tape(name, clean + sound * _amplitude(-db), take.events)
    alone = sound * _amplitude(-ALONE_DB)
    yield make_tape(NOISE_ALONE, take.words + floor + alone, take.events)
    others = backdrop(take, SoundStream(material.speech, rng, warn), ALONE_DB)
    yield make_tape(OVER_SPEECH, take.words + floor + others, take.events)
    del sound, alone, others
    roomy = reverberate(take, material.rooms, rng) + floor
    yield make_tape(REVERBERATION, roomy, take.events)
    yield make_tape(SOFT, clean * _amplitude(SOFT_DB), take.events)


def after_an_hour(
    take: Take,
    speech: Sequence[Clip],
    rng: np.random.Generator,
    warn: Callable[[str], None] = print,
) -> Tape:
    """The clean tape of a take after an hour of negatives, repeated where they are short."""
    hour = SoundStream(speech, rng, warn).take(HOUR)
    clean = take.speech + take.words + floor_of(len(take.speech), rng)
    events = [
        Event(e.start_s + HOUR / RATE, e.end_s + HOUR / RATE, e.speaker, e.kind, e.clip)
        for e in take.events
    ]
    return make_tape(AFTER_AN_HOUR, np.concatenate([hour, clean]), tuple(events))


def quiet_hour(
    noise: Sequence[Clip], rng: np.random.Generator, warn: Callable[[str], None] = print
) -> Tape:
    """Noise, music and silence: all recordings at several gains, again until an hour is full."""
    parts: list[Samples] = []
    length, number = 0, 0
    while length < HOUR:
        before = length
        for turn, clip in enumerate(noise):
            gain = _amplitude(GAINS_DB[(turn + number) % len(GAINS_DB)])
            for piece in play([clip], warn):
                parts.append(piece * gain)
                length += len(piece)
            if length >= HOUR and number:
                break
        if length == before:
            raise CorpusError("no recording of noise can be read; give another NOISE")
        size = round(SILENCE_S * RATE)
        parts += [np.zeros(size, np.float32), floor_of(size, rng)]
        length += 2 * size
        number += 1
    return make_tape(QUIET, np.concatenate(parts))


def backdrop(take: Take, stream: SoundStream, snr_db: float) -> Samples:
    """A sound to be added to a take, so that it stands in this ratio to each word.

    The ratio is that of the powers over the word's voiced frames. Around each
    keyword stands another piece of the sound, chosen so that it does not
    pause just there. Raises CorpusError when the recordings hold only silence.
    """
    found = np.zeros(len(take.words), np.float32)
    for number, placed in enumerate(take.placed):
        begin, end = placed.stretch.start, placed.stretch.stop
        if number == len(take.placed) - 1:
            end = len(found)
        for _ in range(TRIES):
            piece = stream.take(end - begin)
            below = voiced_power(piece[placed.at - begin :], placed.voiced)
            if below > LEAST_SHARE * float(np.mean(np.square(piece, dtype=np.float64))) > 0:
                break
        else:
            raise CorpusError(
                "the recordings of noise or running speech are silent for the most part; "
                "give others"
            )
        word = voiced_power(take.words[placed.at :], placed.voiced)
        found[begin:end] = piece * np.float32(math.sqrt(word / below) * 10 ** (-snr_db / 20))
    return found


def reverberate(take: Take, rooms: Sequence[Samples], rng: np.random.Generator) -> Samples:
    """Speech and keywords of a take in rooms, another one for each keyword.

    `rooms`: impulse responses of unit energy that begin with the direct sound,
    so that levels and the ends of words stay where they were.
    """
    dry = take.speech + take.words
    wet = np.zeros(len(dry) + max(map(len, rooms)), np.float32)
    for number, placed in enumerate(take.placed):
        begin, end = placed.stretch.start, placed.stretch.stop
        if number == len(take.placed) - 1:
            end = len(dry)
        room = rooms[int(rng.integers(len(rooms)))]
        wet[begin : end + len(room) - 1] += fftconvolve(dry[begin:end], room).astype(np.float32)
    return wet[: len(dry)]


def floor_of(length: int, rng: np.random.Generator) -> Samples:
    """The noise of a quiet room."""
    return rng.standard_normal(length, np.float32) * np.float32(FLOOR_RMS)


def _amplitude(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))
