"""Rebuilds the embedded corpus from the voices that are installed.

usage: python -m train_host.embedded [FOLDER]

Writes one tape of Ogg Opus for each word, one for the noise, and index.csv,
which says of every clip where it lies and which engine and voice, under which
licence, spoke it. Takes about ten minutes.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from device.errors import CorpusError, KwsPiError
from train_host.corpus import NOISE, read_audio
from train_host.keyword import slug
from train_host.noise import KINDS, babble, make_noise
from train_host.synthesize import Pick, Row, Utterance, plan, speak_all
from train_host.tts import RATE, Role
from train_host.voices import installed
from train_host.words import PHRASES, spellings

SEED = 2
LIMIT_MB = 8.0

KEYWORD_CLIPS = 700
NEAR_CLIPS = 40
COMMAND_CLIPS = 64
PHRASE_CLIPS = 9
VALIDATION_SHARE = 0.15

NEAR = (
    "she sheep shield sheet sheer shell shelf Shelley Shayla Sheena Sheba Celia Cecilia Delia "
    "Leila Lila Stella Julia Ophelia Keelah tequila sealer feeler feeling ceiling"
)
COMMANDS = (
    "yes no up down left right on off stop go happy house tree bird computer marvin alexa jarvis "
    "hello seven"
)

NOISE_PIECES: dict[Role, tuple[int, float]] = {"training": (4, 9.0), "validation": (2, 6.0)}
"""Pieces of each kind of noise, and their length in seconds."""

MARGIN = int(0.05 * RATE)
"""Silence kept around each clip, so that Opus does not smear one into the next."""
# Of libsndfile's scale from 256 kbit/s (0) to 6 kbit/s (1): about 18 kbit/s.
COMPRESSION = 0.952

HEADER = "tape word split start length from to engine voice licence"


def quotas() -> dict[str, int]:
    """How many clips of each word or phrase."""
    return {
        "sheila": KEYWORD_CLIPS,
        **dict.fromkeys(NEAR.split(), NEAR_CLIPS),
        **dict.fromkeys(COMMANDS.split(), COMMAND_CLIPS),
        **dict.fromkeys(PHRASES, PHRASE_CLIPS),
    }


def script(rng: np.random.Generator) -> list[Utterance]:
    """What to say, for both roles."""
    engines = installed()
    utterances: list[Utterance] = []
    for word, clips in quotas().items():
        validation = round(clips * VALIDATION_SHARE)
        counts: dict[Role, int] = {"training": clips - validation, "validation": validation}
        for role, count in counts.items():
            utterances += plan(_always(word), count, role, engines, rng)
    return [utterances[i] for i in rng.permutation(len(utterances))]


def _always(word: str) -> Pick:
    def pick(rng: np.random.Generator, language: str) -> tuple[str, str] | None:
        spelt = spellings(word, language)
        return (word.lower(), str(rng.choice(spelt))) if spelt else None

    return pick


class Tape:
    """Clips one after the other, with where each begins."""

    def __init__(self) -> None:
        self.pieces: list[NDArray[np.float32]] = []
        self.length = 0

    def add(self, samples: NDArray[np.float32]) -> int:
        """Appends a clip; its first sample."""
        start = self.length
        self.pieces.append(samples)
        self.length += len(samples)
        return start

    def write(self, path: Path) -> None:
        soundfile.write(
            path,
            np.concatenate(self.pieces),
            RATE,
            format="OGG",
            subtype="OPUS",
            compression_level=COMPRESSION,
        )


def build(folder: Path) -> None:
    """Writes tapes and index into the folder, in place of those that are there."""
    rng = np.random.default_rng(SEED)
    tapes: dict[str, Tape] = defaultdict(Tape)
    index: list[list[str | int]] = []
    talk: dict[Role, list[NDArray[np.float32]]] = {"training": [], "validation": []}
    phrases = {phrase.lower() for phrase in PHRASES}
    with tempfile.TemporaryDirectory() as scratch:
        rows = speak_all(script(rng), Path(scratch))
        for row in sorted(rows, key=lambda r: (r.word, r.role, r.file)):
            speech = _speech(Path(scratch), row)
            tape = "phrases" if row.word in phrases else slug(row.word)
            start = tapes[tape].add(speech)
            index.append(
                [
                    *(f"{tape}.opus", row.word, row.role, start, len(speech)),
                    *(MARGIN, len(speech) - MARGIN, row.engine, row.voice, row.licence),
                ]
            )
            if row.word in phrases:
                talk[row.role].append(speech)
    for role, (count, seconds) in NOISE_PIECES.items():
        for name, kind in {**KINDS, "babble": babble(talk[role])}.items():
            for piece in range(count):
                sound = make_noise(kind, seconds, rng)
                start = tapes["noise"].add(sound)
                source = f"{name}-{role}-{piece}"
                index.append(
                    [
                        *("noise.opus", NOISE, role, start, len(sound)),
                        *("", "", "train_host.noise", source, "MIT"),
                    ]
                )
    _write(folder, tapes, index)


def _speech(folder: Path, row: Row) -> NDArray[np.float32]:
    """The spoken part of a clip, with the margin on both sides."""
    samples = np.pad(read_audio(folder / row.file), MARGIN)
    start, stop = row.span
    return samples[start : stop + 2 * MARGIN]


def _write(folder: Path, tapes: dict[str, Tape], index: list[list[str | int]]) -> None:
    for old in folder.glob("*.opus"):
        old.unlink()
    for name, tape in tapes.items():
        tape.write(folder / f"{name}.opus")
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER.split(), *index])
    size = sum(path.stat().st_size for path in folder.glob("*.opus")) / 1e6
    print(f"{folder}: {len(index)} clips on {len(tapes)} tapes, {size:.1f} MB")
    if size > LIMIT_MB:
        raise CorpusError(f"{folder}: {size:.1f} MB are more than {LIMIT_MB}; lower the numbers")


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
    except KwsPiError as error:
        sys.exit(str(error))
