"""What tapes are made of: recordings of the keyword, running speech, noise and rooms.

Folders are read by `gather`; what one fold of a cross-fitting has held out
(`train_host/folds.py`) by `read_fold`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device.errors import AudioFileError, CorpusError
from train_host import corpus as corpora
from train_host import folds
from train_host.corpus import AUDIO_SUFFIXES, NOISE, SPEECH, Clip, load
from train_host.keyword import slug
from train_host.rooms import room
from train_host.split import speaker_of
from train_host.tape import RATE, Samples, word_span

LONGEST_KEYWORD_S = 10.0
SYNTHESISED_ROOMS = 12
ROOM_SEED = 71
"""Not that of the rooms which augment the training clips."""
ROOM_S = 3.0
"""An impulse response is used up to here."""


@dataclass(frozen=True)
class Material:
    """Everything that one evaluation is made of, none of it empty."""

    keywords: tuple[Clip, ...]
    """Clips in which a word can be found."""
    speech: tuple[Clip, ...]
    """What does not hold the keyword: the negatives, and the speech around the keyword."""
    noise: tuple[Clip, ...]
    rooms: tuple[Samples, ...]
    """Impulse responses of unit energy that begin with the direct sound."""
    origins: dict[str, str]
    """Where each part comes from, in words that hold no path of this machine."""


def gather(
    keyword: str,
    positives: Sequence[Path] = (),
    negatives: Sequence[Path] = (),
    noise: Sequence[Path] = (),
    impulses: Sequence[Path] = (),
    *,
    held_out: bool = False,
    warn: Callable[[str], None] = print,
) -> Material:
    """The material of an evaluation, from folders.

    For each kind that is not given, validation clips of the embedded corpus
    serve. `held_out`: of running speech and noise only what training with the
    same folders leaves out (speakers and sources of the splits for validation
    and testing). Raises CorpusError, one sentence, where a folder is absent or
    holds nothing that serves.
    """
    origins = {}
    embedded = corpora.read_embedded()
    if positives:
        keywords = _keywords_in(positives, keyword, warn)
        origins["positives"] = f"clips in {_names(positives)}"
    else:
        keywords = _with_a_word(embedded.of("validation", keyword), warn)
        origins["positives"] = "validation clips of the embedded corpus, synthetic voices"
        if not keywords:
            raise CorpusError(
                f"the embedded corpus has no clip of {keyword!r}; "
                "give the folder of its recordings with POSITIVES=DIR"
            )
    if negatives:
        speech = _recordings(negatives, SPEECH, held_out)
        origins["negatives"] = f"recordings in {_names(negatives)}"
    else:
        speech = [clip for clip in embedded.of("validation") if clip.word != keyword]
        origins["negatives"] = "other words of the embedded corpus, validation clips"
    if noise:
        sounds = _recordings(noise, NOISE, held_out)
        origins["noise"] = f"recordings in {_names(noise)}"
    else:
        sounds = [clip for clip in embedded.noise if clip.split == "validation"]
        origins["noise"] = "noise of the embedded corpus, validation part"
    if held_out:
        for kind in ("negatives", "noise"):
            origins[kind] += ", only of speakers and sources kept out of training"
    return Material(
        keywords,
        tuple(speech),
        tuple(sounds),
        rooms_in(impulses),
        origins | {"impulses": _origin_of_rooms(impulses)},
    )


def read_fold(
    folder: Path, rooms: Sequence[Path] = (), warn: Callable[[str], None] = print
) -> Material:
    """What one fold of a cross-fitting has held out.

    Raises CorpusError as `read_held_out` does, and where no keyword can be used.
    """
    held_out = folds.read_held_out(folder)
    return Material(
        _with_a_word(held_out.keywords, warn),
        held_out.speech,
        held_out.noise,
        rooms_in(rooms),
        {
            "positives": "clips that each fold held out",
            "negatives": "running speech that each fold held out",
            "noise": "noise that each fold held out",
            "impulses": _origin_of_rooms(rooms),
        },
    )


def deal_out(
    materials: Sequence[Material],
    names: Sequence[str],
    folders: Sequence[Path],
    keyword: str,
    warn: Callable[[str], None] = print,
) -> list[Material]:
    """Materials of folds with further keywords, clips in folders that no fold was trained with.

    `names`: what each fold's model is called; the folds of one name share the
    clips, each speaker in one of them. Raises CorpusError, one sentence, where a
    folder serves as little as for `gather`, and for a clip that a fold held out
    itself, since the other folds were trained with it.
    """
    clips = _keywords_in(folders, keyword, warn)
    trained = {clip.path.resolve() for material in materials for clip in material.keywords}
    for clip in clips:
        if clip.path.resolve() in trained:
            raise CorpusError(
                f"{clip.path}: one fold held it out, so the others were trained with it; "
                "leave it out of POSITIVES"
            )
    origin = f", and those in {_names(folders)}, shared among the folds"
    dealt = []
    for index, (material, name) in enumerate(zip(materials, names, strict=True)):
        _, share = folds.part(clips, names[:index].count(name), names.count(name))
        origins = material.origins | {"positives": material.origins["positives"] + origin}
        dealt.append(
            dataclasses.replace(material, keywords=(*material.keywords, *share), origins=origins)
        )
    return dealt


def rooms_in(folders: Sequence[Path]) -> tuple[Samples, ...]:
    """The impulse responses in folders, or synthesised ones where there is no folder.

    Raises CorpusError and AudioFileError.
    """
    if not folders:
        rng = np.random.default_rng(ROOM_SEED)
        return tuple(_prepared(room(rng, RATE)) for _ in range(SYNTHESISED_ROOMS))
    clips = _recordings(folders, NOISE, held_out=False)
    return tuple(_prepared(load(clip)) for clip in clips)


def _prepared(response: np.ndarray[Any, Any]) -> Samples:
    """From the direct sound on, of unit energy, so that level and timing stay as they were."""
    direct = int(np.argmax(np.abs(response)))
    kept = response[direct : direct + round(ROOM_S * RATE)].astype(np.float64)
    energy = float(np.sum(np.square(kept)))
    if not energy:
        raise CorpusError("an impulse response is silent; remove it from the folder IMPULSES")
    return np.asarray(kept / np.sqrt(energy), np.float32)


def _keywords_in(
    folders: Sequence[Path], keyword: str, warn: Callable[[str], None] = print
) -> tuple[Clip, ...]:
    """The clips of the keyword in folders in which a word can be found; CorpusError without one."""
    return _with_a_word([clip for folder in folders for clip in _clips_in(folder, keyword)], warn)


def _clips_in(folder: Path, keyword: str) -> list[Clip]:
    """The clips of the keyword that a folder holds, whatever its layout."""
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give POSITIVES=DIR the keyword's clips")
    for index_folder in (folder, folder.parent):
        if (index_folder / "index.csv").is_file():
            # Voices that train are no test.
            chosen = [
                clip
                for clip in corpora.read_synthetic(index_folder).of("validation", keyword)
                if clip.path.is_relative_to(folder)
            ]
            if chosen:
                return chosen
            raise CorpusError(
                f"{folder}: no clip of {keyword!r} by a voice kept for validation; "
                "synthesize more or give another POSITIVES folder"
            )
    if (folder / slug(keyword)).is_dir():
        folder = folder / slug(keyword)
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES]
    if not paths:
        raise CorpusError(
            f"{folder}: no clip of {keyword!r} found; give POSITIVES=DIR a folder that holds "
            "its recordings"
        )
    return [Clip(keyword, speaker_of(path.name), "validation", "real", path) for path in paths]


def _recordings(folders: Sequence[Path], word: str, held_out: bool) -> list[Clip]:
    found: list[Clip] = []
    for folder in folders:
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder; give one that holds recordings")
        corpus = corpora.read_recordings(folder, word)
        found += corpus.noise if word == NOISE else corpus.clips
    if held_out:
        found = [clip for clip in found if clip.split != "training"]
    if not found:
        raise CorpusError(
            f"{_names(folders)}: every speaker or source in it belongs to training; "
            "give other recordings or leave HELD_OUT out"
        )
    return found


def _with_a_word(clips: Sequence[Clip], warn: Callable[[str], None]) -> tuple[Clip, ...]:
    """The clips that can be read and are not silent."""
    kept = []
    for clip in clips:
        try:
            samples = load(clip)
        except AudioFileError as error:
            warn(f"skipped: {error}")
            continue
        if len(samples) > LONGEST_KEYWORD_S * RATE:
            warn(f"skipped: {clip.path} is too long for one keyword")
        elif word_span(samples) == (0, 0):
            warn(f"skipped: {clip.path} is silent")
        else:
            kept.append(clip)
    if not kept:
        raise CorpusError("no clip of the keyword can be used; give POSITIVES=DIR other recordings")
    return tuple(kept)


def _names(folders: Sequence[Path]) -> str:
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{folder.resolve().parent.name}/{folder.name}" for folder in folders]
    return ", ".join(names)


def _origin_of_rooms(folders: Sequence[Path]) -> str:
    return f"responses in {_names(folders)}" if folders else "synthesised, decaying noise"
