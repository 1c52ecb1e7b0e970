"""The official speaker-disjoint split of Speech Commands.

Source: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech
Recognition", 2018 (arXiv 1804.03209), section 6: a speaker falls into a split
by the SHA-1 of the id in front of `_nohash_`, so that a split never changes
when recordings are added. The archive also carries the result as two lists.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

Split = Literal["training", "validation", "testing"]

MAX_WAVS_PER_CLASS = 2**27 - 1
VALIDATION_PERCENT = 10.0
TESTING_PERCENT = 10.0


def speaker_of(name: str) -> str:
    """The speaker id in a clip's name: `bed/0a7c2a8d_nohash_1.wav` -> `0a7c2a8d`."""
    return Path(name).stem.split("_nohash_")[0]


# Names that a recorder gives to every file say nothing about who speaks.
_ANYBODY = re.compile(
    r"|new|my|the|rec(ord(ing|ed)?)?|audio|sound|sample|clip|take|file|voice|memo|untitled|track"
)


def speakers_in(word: str, names: Sequence[str]) -> list[str]:
    """Who says each clip of a word, as far as the files' names tell; else each clip is one.

    Besides `speaker_nohash_n.wav`, names that end in a number are known:
    `anna-3.wav`, `anna 3.wav` and `anna (3).wav` are by anna. What is the word
    itself, or any recorder's name for a file, is nobody.
    """
    return [_speaker(word, name) for name in names]


def _speaker(word: str, name: str) -> str:
    if "_nohash_" in name:
        return speaker_of(name)
    stem = Path(name).stem
    numbered = re.fullmatch(r"(.*?)[-_. ]*\(?\d{1,4}\)?", stem)
    if numbered is None:
        return stem
    who = numbered.group(1).casefold()
    bare = re.sub("[^a-z]", "", who.replace(word.casefold(), ""))
    parts = [part for part in re.split("[^a-z]+", who) if part]
    if not bare or all(_ANYBODY.fullmatch(part) or part in word for part in parts):
        return stem
    return numbered.group(1)


def split_of_speaker(speaker: str) -> Split:
    """The split that the published hash rule gives a speaker."""
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = digest % (MAX_WAVS_PER_CLASS + 1) * (100.0 / MAX_WAVS_PER_CLASS)
    if percent < VALIDATION_PERCENT:
        return "validation"
    if percent < VALIDATION_PERCENT + TESTING_PERCENT:
        return "testing"
    return "training"


def split_of(name: str, lists: Mapping[str, Split] | None = None) -> Split:
    """The split of a clip named `word/speaker_nohash_n.wav`.

    `lists` is what `read_lists` found; without it the hash rule decides.
    """
    if lists:
        return lists.get(name, "training")
    return split_of_speaker(speaker_of(name))


def read_lists(folder: Path) -> dict[str, Split]:
    """The folder's validation_list.txt and testing_list.txt, by clip name.

    Empty unless both are there: with one alone, nobody could tell the other
    split's speakers from training speakers.
    """
    found: dict[str, Split] = {}
    files: tuple[tuple[str, Split], ...] = (
        ("validation_list.txt", "validation"),
        ("testing_list.txt", "testing"),
    )
    for file, split in files:
        path = folder / file
        if not path.is_file():
            return {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                found[line.strip()] = split
    return found
