"""Speaks a keyword, words like it and words unlike it, in every voice that is installed.

usage: python -m train_host.synthesize --keyword sheila --output DIR [--clips N] [--seed S]

Writes DIR/WORD/VOICE_nohash_N.wav (16 kHz, mono, 16 bit, one to one and a half
seconds or as long as it takes, the word anywhere within) and DIR/index.csv: N
clips by training voices and N / 7 by validation voices, about half of them the
keyword. Demonstration voices stay silent. Each utterance is kept as the engine
speaks it, and again as other speakers would say it (`vocoder`). What is said,
by which voice and how follows from the seed; of the engines, only Piper adds
noise that cannot be seeded. A run that broke off carries on, and one that is
asked for the same again finds it done.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.progress import track

from device.errors import KwsPiError, SetupError
from train_host.keyword import slug, spoken
from train_host.tts import RATE, Engine, Manner, Role, Voice
from train_host.vocoder import analyse, random_change, speak_again
from train_host.voices import installed
from train_host.words import CARRIERS, HURRIED, near_words, other_words, spellings

VALIDATION_SHARE = 1 / 7
KEYWORD_SHARE = 0.45
NEAR_SHARE = 0.6
"""Of the clips that are not the keyword ..."""
CARRIED_SHARE = 0.3
"""... and of these, within a sentence."""

# Clips that are made of one utterance: as the engine speaks it, then by other
# speakers. Most for the slow engines, and for those with few speakers.
TAKES = {"kokoro": 3, "piper": 3, "hibari": 3, "espeak-ng": 2}
USUAL_TAKES = 2

LOUDNESS_DB = -23.0
"""RMS of the speech in a clip, relative to full scale."""
FRAME = 320
PLAN = "plan.sha256"
"""Stands in the folder for what was to be said there."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Utterance:
    """One call of an engine."""

    word: str
    text: str
    voice: Voice
    manner: Manner
    takes: int
    """Clips that are made of it: as it is spoken, and by so many other speakers less one."""
    number: int
    """Number of its first clip."""


@dataclass(frozen=True)
class Row:
    """One line of index.csv; `from` and `to` are added by `write_index`."""

    file: str
    word: str
    engine: str
    voice: str
    licence: str
    role: Role
    span: tuple[int, int]


Pick = Callable[[np.random.Generator, str], tuple[str, str] | None]
"""Chooses a word, and how it is written for a voice of a language; None if that voice
should not speak."""


def plan(
    pick: Pick, clips: int, role: Role, engines: Sequence[Engine], rng: np.random.Generator
) -> list[Utterance]:
    """What to say: about so many clips by the voices of a role."""
    casts = {e: [v for v in e.voices() if v.role == role] for e in engines}
    able = [e for e in engines if casts[e]]
    if not able:
        raise SetupError(
            f"no installed engine has a voice for {role}; install another one: "
            "apt install espeak-ng flite"
        )
    # An engine with few voices gets less, so that no single voice is half of a split.
    share = np.array(
        [
            e.weight * min(1.0, 0.25 + len(casts[e]) / 8) / TAKES.get(e.name, USUAL_TAKES)
            for e in able
        ]
    )
    utterances: list[Utterance] = []
    number = 0
    while number < clips:
        engine = able[rng.choice(len(able), p=share / share.sum())]
        voice = casts[engine][rng.integers(len(casts[engine]))]
        picked = pick(rng, voice.language)
        if picked is None:
            continue
        word, text = picked
        takes = TAKES.get(engine.name, USUAL_TAKES)
        utterances.append(
            Utterance(
                word=word,
                text=text + str(rng.choice([".", ".", "!", "?", ","])),
                voice=voice,
                manner=Manner(
                    tempo=float(np.exp(rng.uniform(np.log(0.6), np.log(1.2)))),
                    pitch=_around_one(rng, 1.25),
                    size=_around_one(rng, 1.16),
                    liveliness=rng.uniform(0.7, 1.4),
                    seed=int(rng.integers(2**31)),
                ),
                takes=takes,
                number=number,
            )
        )
        number += takes
    return utterances


def keyword_and_others(keyword: str) -> Pick:
    """Picks the keyword, a word like it, or another one."""
    near, other = list(near_words(keyword).values()), other_words(keyword)

    def pick(rng: np.random.Generator, language: str) -> tuple[str, str] | None:
        spelt = spellings(keyword, language)
        if not spelt:
            return None
        if rng.random() < KEYWORD_SHARE:
            hurried = HURRIED.get((keyword, language), ())
            return keyword, str(rng.choice((*spelt, *hurried)))
        if rng.random() >= NEAR_SHARE:
            word = str(rng.choice(other))
            return word, word
        word = str(rng.choice(near[int(rng.integers(len(near)))]))
        carried = rng.random() < CARRIED_SHARE
        return word, str(rng.choice(CARRIERS)).format(word) if carried else word

    return pick


def speech_span(samples: NDArray[np.float32], below_db: float = 30.0) -> tuple[int, int]:
    """First and last sample of what lies within so many dB of the loudest 20 ms frame."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-12)
    loud = np.flatnonzero(level > level.max() - below_db)
    return int(loud[0]) * FRAME, (int(loud[-1]) + 1) * FRAME


def cut_out(samples: NDArray[np.float32], longest_s: float = 3.0) -> NDArray[np.float32] | None:
    """The speech alone, at the standard loudness; None if it is too short or too long."""
    if len(samples) < FRAME or float(np.abs(samples).max()) < 1e-3:
        return None
    start, stop = speech_span(samples, 45.0)
    speech = samples[max(0, start - 160) : stop + 160].copy()
    if not 0.12 * RATE < len(speech) < longest_s * RATE:
        return None
    ramp = np.linspace(0, 1, 80, dtype=np.float32)
    speech[:80] *= ramp
    speech[-80:] *= ramp[::-1]
    start, stop = speech_span(speech)
    rms = float(np.sqrt(np.mean(np.square(speech[start:stop]))))
    gain = min(10 ** (LOUDNESS_DB / 20) / rms, 0.95 / float(np.abs(speech).max()))
    return speech * np.float32(gain)


def place(
    speech: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """A clip with the speech somewhere in it, and where the speech is."""
    length = max(
        int(rng.uniform(1.0, 1.5) * RATE), len(speech) + int(rng.uniform(0.05, 0.3) * RATE)
    )
    offset = int(rng.integers(length - len(speech) + 1))
    clip = np.zeros(length, np.float32)
    clip[offset : offset + len(speech)] = speech
    return clip, speech_span(clip)


def perform(
    utterance: Utterance, engines: dict[str, Engine]
) -> Iterator[tuple[int, NDArray[np.float32], tuple[int, int]]]:
    """Speaks an utterance: number, clip and span of each clip; nothing when it is no good."""
    rng = np.random.default_rng([utterance.manner.seed, utterance.number])
    try:
        whole = engines[utterance.voice.engine].speak(
            utterance.voice, utterance.text, utterance.manner
        )
    except subprocess.CalledProcessError as error:
        log.warning("%s failed on %r: %s", utterance.voice.name, utterance.text, error)
        return
    speech = cut_out(whole)
    if speech is None:
        return
    yield utterance.number, *place(speech, rng)
    if utterance.takes == 1:
        return
    analysis = analyse(speech)
    for take in range(1, utterance.takes):
        again = cut_out(speak_again(analysis, random_change(rng)))
        if again is not None:
            yield utterance.number + take, *place(again, rng)


def write_index(folder: Path, rows: Iterable[Row]) -> None:
    """Writes index.csv, which `train_host.corpus.read_synthetic` reads."""
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["file", "word", "engine", "voice", "licence", "role", "from", "to"])
        for row in rows:
            *columns, span = asdict(row).values()
            out.writerow([*columns, *span])


def synthesize(
    keyword: str, folder: Path, clips: int, seed: int, processes: int = 2
) -> dict[Role, int]:
    """Writes the folder; the number of clips by role.

    Raises SetupError when no engine is installed.
    """
    engines = installed()
    rng = np.random.default_rng(seed)
    pick = keyword_and_others(keyword)
    utterances = plan(pick, clips, "training", engines, rng)
    utterances += plan(pick, round(clips * VALIDATION_SHARE), "validation", engines, rng)
    rows = speak_all(utterances, folder, processes)
    write_index(folder, rows)
    return {role: sum(r.role == role for r in rows) for role in ("training", "validation")}


def speak_all(utterances: Sequence[Utterance], folder: Path, processes: int = 2) -> list[Row]:
    """Writes a clip or several for each utterance, in so many processes.

    What a run with the same utterances has left in the folder is taken as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan_file, digest = folder / PLAN, hashlib.sha256(repr(utterances).encode()).hexdigest()
    begun = plan_file.is_file() and plan_file.read_text() == digest
    plan_file.write_text(digest)
    rows: list[Row] = []
    # Each process has its own engines; spawned, since ONNX Runtime does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _start, (folder, begun)) as pool:
        done = pool.imap(_write, utterances, chunksize=8)
        for made in track(done, "speaking", len(utterances)):
            rows += made
    lost = sum(u.takes for u in utterances) - len(rows)
    if lost:
        log.warning("%d clips came out silent or too long and were left out", lost)
    return rows


_engines: dict[str, Engine] = {}
_folder = Path()
_begun = False


def _start(folder: Path, begun: bool) -> None:
    global _folder, _begun
    _begun = begun
    _engines.update((engine.name, engine) for engine in installed(say=lambda line: None))
    _folder = folder


def _write(utterance: Utterance) -> list[Row]:
    voice = utterance.voice
    place_of = _folder / slug(utterance.word)
    place_of.mkdir(exist_ok=True)
    numbers = range(utterance.number, utterance.number + utterance.takes)
    paths = {number: place_of / f"{voice.name}_nohash_{number}.wav" for number in numbers}
    if _begun and all(path.exists() for path in paths.values()):
        spans = {number: speech_span(_read(path)) for number, path in paths.items()}
    else:
        spans = {}
        for number, clip, span in perform(utterance, _engines):
            # Under its name only when it is whole.
            partial = paths[number].with_suffix(".partial")
            soundfile.write(partial, clip, RATE, subtype="PCM_16", format="WAV")
            partial.rename(paths[number])
            spans[number] = span
    return [
        Row(
            file=paths[number].relative_to(_folder).as_posix(),
            word=utterance.word,
            engine=voice.engine,
            voice=voice.name,
            licence=voice.licence,
            role=voice.role,
            span=span,
        )
        for number, span in spans.items()
    ]


def _read(path: Path) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
    return samples


def _around_one(rng: np.random.Generator, most: float) -> float:
    """Log-uniform between 1 / most and most."""
    return float(np.exp(rng.uniform(-np.log(most), np.log(most))))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train_host.synthesize", description="Speak a keyword in many voices."
    )
    parser.add_argument("--keyword", default="sheila")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--clips", type=int, default=14000, help="clips by training voices")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    if given.clips < 1 or given.processes < 1:
        parser.error("--clips and --processes must be at least 1")
    try:
        keyword = spoken(given.keyword)
        count = synthesize(keyword, given.output, given.clips, given.seed, given.processes)
    except KwsPiError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.output}: " + ", ".join(f"{n} {role} clips" for role, n in count.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
