"""Corpora: which clips there are, who said them, to which split they belong.

Four kinds are read, all into the same frozen `Clip`:

    read_folder(DIR)       Speech Commands or any folder in its layout, word/speaker_nohash_n.wav
    read_embedded()        the synthetic corpus that lies beside this module
    read_synthetic(DIR)    what `python -m train_host.synthesize` wrote
    read_recordings(DIR)   any folder of long recordings: running speech, or noise

`load(clip)` gives the samples: float32 in [-1, 1), mono, 16 kHz.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from device.errors import AudioFileError, CorpusError
from train_host.keyword import slug
from train_host.split import Split, read_lists, speakers_in, split_of, split_of_speaker

RATE = 16000
NOISE = "_background_noise_"
SPEECH = "_speech_"
EMBEDDED = Path(__file__).parent / "embedded"
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3"})

# Of each file of background noise (there are only six, so that they cannot be
# split by name) the first part is for training and the rest for validation.
NOISE_TRAINING_SHARE = 0.8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One recording, or one stretch of a longer one."""

    word: str
    """What is said; `_background_noise_` for noise, `_speech_` for running speech."""
    speaker: str
    """Who says it; for synthetic speech the voice."""
    split: Split
    kind: Literal["real", "synthetic"]
    path: Path
    start: int = 0
    """First sample within the file, at 16 kHz."""
    length: int | None = None
    """Number of samples at 16 kHz; None: to the end of the file."""
    engine: str = ""
    """The program that spoke it, for synthetic speech."""
    span: tuple[int, int] | None = None
    """Where the word begins and ends within the clip, in samples, where that is known."""


@dataclass(frozen=True)
class Corpus:
    """Clips of words, clips of noise, and what the output should call them."""

    name: str
    clips: tuple[Clip, ...]
    noise: tuple[Clip, ...] = ()
    skipped: int = 0
    """Files that could not be read and were left out."""

    def words(self) -> dict[str, int]:
        """The number of clips of each word, words in alphabetical order."""
        return dict(sorted(Counter(clip.word for clip in self.clips).items()))

    def of(self, split: Split, word: str | None = None) -> tuple[Clip, ...]:
        """The clips of a split, and of one word if it is given."""
        return tuple(c for c in self.clips if c.split == split and word in (None, c.word))

    def require(self, keyword: str) -> None:
        """Raises CorpusError, naming the words that are there, when the keyword is not."""
        words = self.words()
        if keyword not in words:
            raise CorpusError(
                f"{self.name}: there is no recording of {keyword!r}; "
                "use SYNTH=1, or choose another KEYWORD or DATA folder "
                f"(here are: {', '.join(words)})"
            )


def read_folder(folder: Path) -> Corpus:
    """Reads a folder in the layout of Speech Commands, with any words.

    The split follows the two lists in the folder, or the hash rule without
    them; who speaks, the names of the files (see `speakers_in`). A file that
    is empty or no audio is skipped, with a warning.

    Raises CorpusError when there is no such folder or no clip in it.
    """
    if not folder.is_dir():
        raise CorpusError(
            f"{folder}: no such folder; give DATA=DIR the folder that holds the words"
        )
    lists = read_lists(folder)
    clips: list[Clip] = []
    skipped = 0
    for place in sorted(folder.iterdir()):
        if place.name.startswith(("_", ".")) or not place.is_dir():
            continue
        found, unreadable = _words_in(place)
        skipped += unreadable
        for clip in found:
            name = f"{place.name}/{clip.path.name}"
            split = split_of(name, lists) if lists else clip.split
            clips.append(dataclasses.replace(clip, split=split))
    if not clips:
        raise CorpusError(
            f"{folder}: no clip found; the layout is WORD/SPEAKER_nohash_N.wav, "
            "and `make data` downloads Speech Commands"
        )
    noise, unreadable = _background_noise(folder / NOISE)
    _warn_skipped(folder, skipped + unreadable)
    return Corpus(f"Speech Commands folder {folder}", tuple(clips), noise, skipped + unreadable)


def read_samples(folder: Path, keyword: str) -> Corpus:
    """Reads a user's own recordings of the keyword, as `make record` writes them.

    They lie in the folder itself or below it in one that is named after the
    keyword. Every fourth of a speaker's is for validation, the others train:
    the speakers are those who will be heard, and too few to part by.

    Raises CorpusError when there are none.
    """
    below = folder / slug(keyword)
    clips, skipped = _words_in(below if below.is_dir() else folder) if folder.is_dir() else ([], 0)
    if not clips:
        raise CorpusError(
            f"{folder}: no recording of {keyword!r} found; "
            f'`make record KEYWORD="{keyword}"` makes some in recordings/{slug(keyword)}'
        )
    counts: Counter[str] = Counter()
    dealt = []
    for clip in clips:
        counts[clip.speaker] += 1
        split: Split = "training" if counts[clip.speaker] % 4 else "validation"
        dealt.append(dataclasses.replace(clip, word=keyword, split=split))
    _warn_skipped(folder, skipped)
    return Corpus(f"own recordings in {folder}", tuple(dealt), skipped=skipped)


def _words_in(folder: Path) -> tuple[list[Clip], int]:
    """The clips of the word that a folder is named after, and how many could not be read."""
    paths = [
        p for p in sorted(folder.iterdir()) if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()
    ]
    readable = [path for path in paths if _readable(path)]
    word = folder.name
    speakers = speakers_in(word, [path.name for path in readable])
    return [
        Clip(word, speaker, split_of_speaker(speaker), "real", path)
        for speaker, path in zip(speakers, readable, strict=True)
    ], len(paths) - len(readable)


def read_embedded(folder: Path = EMBEDDED) -> Corpus:
    """Reads the corpus that comes with the project: synthetic voices and noise.

    Raises CorpusError when it is not there.
    """
    clips: list[Clip] = []
    for row in _rows(folder / "index.csv", "`make corpus` builds the embedded corpus"):
        clips.append(
            Clip(
                word=row["word"],
                speaker=row["voice"],
                split=_split(row["split"]),
                kind="synthetic",
                path=folder / row["tape"],
                start=int(row["start"]),
                length=int(row["length"]),
                engine=row["engine"],
                span=_span(row),
            )
        )
    return Corpus(
        "embedded corpus, synthetic voices",
        tuple(c for c in clips if c.word != NOISE),
        tuple(c for c in clips if c.word == NOISE),
    )


def read_synthetic(folder: Path) -> Corpus:
    """Reads a folder that `python -m train_host.synthesize` wrote.

    A voice's role is its split. Raises CorpusError when there is no index.
    """
    clips: list[Clip] = []
    skipped = 0
    hint = "make it with `python -m train_host.synthesize --output DIR`"
    for row in _rows(folder / "index.csv", hint):
        path = folder / row["file"]
        if not _readable(path):
            skipped += 1
            continue
        clips.append(
            Clip(
                word=row["word"],
                speaker=row["voice"],
                split=_split(row["role"]),
                kind="synthetic",
                path=path,
                engine=row["engine"],
                span=_span(row),
            )
        )
    _warn_skipped(folder, skipped)
    return Corpus(f"synthetic voices in {folder}", tuple(clips), skipped=skipped)


def read_recordings(folder: Path, word: str = SPEECH) -> Corpus:
    """Reads every recording below a folder, as running speech or as noise.

    The split goes by the speaker or source in the file's name, see `source_of`.
    Raises CorpusError when there is no recording.
    """
    clips: list[Clip] = []
    skipped = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or not path.is_file():
            continue
        if not _readable(path):
            skipped += 1
            continue
        source = source_of(path)
        clips.append(Clip(word, source, split_of_speaker(source), "real", path))
    if not clips:
        raise CorpusError(
            f"{folder}: no recording found; give a folder that holds WAV or FLAC files"
        )
    _warn_skipped(folder, skipped)
    if word == NOISE:
        return Corpus(f"noise folder {folder}", (), tuple(clips), skipped)
    return Corpus(f"speech folder {folder}", tuple(clips), skipped=skipped)


def read_list(path: Path) -> tuple[Clip, ...]:
    """The clips of a list that training wrote, `validation.json`."""
    clips = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        span = tuple(row["span"]) if row["span"] else None
        clips.append(Clip(**{**row, "path": Path(row["path"]), "span": span}))
    return tuple(clips)


def source_of(path: Path) -> str:
    """Who or what a long recording is of, so that a split can keep it together.

    `6319-275224-0018.flac` (LibriSpeech: speaker, chapter, utterance) is by 6319;
    `1-17150-A.wav` (ESC: fold, recording, take) is cut from 1-17150; `name.hq.wav`
    (librosa's examples) is `name.wav` at another quality; any other file is a source
    of its own.
    """
    stem = path.stem.removesuffix(".hq")
    if re.fullmatch(r"\d+-\d+-\d+", stem):
        return stem.split("-")[0]
    return re.sub(r"-[A-Z](-\d+)?$", "", stem)


def load(clip: Clip) -> NDArray[np.float32]:
    """The clip's samples, float32 (samples,) in [-1, 1), mono, 16 kHz.

    Raises AudioFileError when the file cannot be read.
    """
    if clip.path.suffix == ".opus" and clip.length is not None:
        piece = _tape(clip.path)[clip.start : clip.start + clip.length]
        return piece.astype(np.float32) / np.float32(32768)
    samples: NDArray[np.float32] = read_audio(clip.path)
    stop = None if clip.length is None else clip.start + clip.length
    return samples[clip.start : stop]


def read_audio(path: Path) -> NDArray[np.float32]:
    """A whole sound file as float32 (samples,), mixed to mono, at 16 kHz.

    Another rate is converted by a polyphase low-pass filter (Kaiser window).
    Raises AudioFileError when the file cannot be read or holds no sound.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"{path}: not a sound file that can be read; remove it") from error
    if not len(samples) or not np.isfinite(samples).all():
        raise AudioFileError(f"{path}: holds no sound; remove it")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != RATE:
        common = gcd(rate, RATE)
        mono = resample_poly(mono, RATE // common, rate // common)
    limited: NDArray[np.float32] = np.clip(mono, -1.0, 1.0 - 2.0**-15).astype(np.float32)
    return limited


@cache
def _tape(path: Path) -> NDArray[np.int16]:
    """A tape of many clips, decoded once and kept, at half the size of floats."""
    return np.round(read_audio(path) * 32768).astype(np.int16)


def _readable(path: Path) -> bool:
    """Whether `load` will succeed; says so when not.

    A PCM file decodes if its header is right and it holds a sample, so that
    hours of speech need not be decoded twice; of the rest any byte can be wrong.
    """
    try:
        header = soundfile.info(path)
        if not header.subtype.startswith("PCM") or header.format == "FLAC":
            read_audio(path)
        elif header.frames == 0:
            raise AudioFileError(f"{path}: holds no sound; remove it")
    except (OSError, RuntimeError, AudioFileError) as error:
        text = str(error) if isinstance(error, AudioFileError) else f"{path}: not a sound file"
        log.warning("skipped: %s", text)
        return False
    return True


def _background_noise(folder: Path) -> tuple[tuple[Clip, ...], int]:
    clips: list[Clip] = []
    skipped = 0
    for path in sorted(folder.glob("*.wav")):
        if not _readable(path):
            skipped += 1
            continue
        header = soundfile.info(path)
        length = header.frames * RATE // header.samplerate
        cut = int(length * NOISE_TRAINING_SHARE)
        clips.append(Clip(NOISE, path.stem, "training", "real", path, 0, cut))
        clips.append(Clip(NOISE, path.stem, "validation", "real", path, cut, length - cut))
    return tuple(clips), skipped


def _rows(index: Path, hint: str) -> Iterable[dict[str, Any]]:
    try:
        with index.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise CorpusError(f"{index}: cannot be read ({error.strerror}); {hint}") from error


def _span(row: dict[str, Any]) -> tuple[int, int] | None:
    return (int(row["from"]), int(row["to"])) if row["from"] else None


def _split(text: str) -> Split:
    for split in get_args(Split):
        if text == split:
            return cast(Split, split)
    raise CorpusError(f"the index names a split {text!r}; build the corpus again")


def _warn_skipped(folder: Path, count: int) -> None:
    if count:
        log.warning("%s: %d files could not be read and were left out", folder, count)
