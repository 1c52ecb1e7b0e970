"""The sounds of words, as the espeak-ng inside piper-tts reads them, and how far words differ."""

# ruff: noqa: RUF001  (phonetic letters look like others)

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from device.errors import SetupError

ACCENTS = ("en-us", "en")
"""American and British English, as espeak-ng calls them."""

Sounds = tuple[str, ...]
Reading = tuple[Sounds, ...]
"""The sounds of one text in each accent."""

_SOUND = re.compile(r"[ˈˌ]?(?:eɪ|aɪ|ɔɪ|oʊ|əʊ|aʊ|ɪə|eə|ʊə|tʃ|dʒ|[^\sˈˌ])ː?")
# Speakers keep these apart in careful speech only.
_WEAK = frozenset(["ɪ", "ᵻ", "ə", "ɐ"])
_ALIKE = {
    "z": "s",
    "ʌ": "ə",
    "ɾ": "t",
    "ɚ": "ə",
    "ɜː": "ə",
    "ɡ": "g",
    "i": "iː",
    "ɹ": "r",
    "l̩": "l",
    "n̩": "n",
}


@cache
def _espeak() -> Any:
    try:
        from piper.phonemize_espeak import EspeakPhonemizer
    except ImportError as error:
        raise SetupError(
            "how English sounds is read by piper-tts, which is not installed; run "
            "`make setup SYNTH=1`, or pip install piper-tts"
        ) from error
    return EspeakPhonemizer()


def transcribe(text: str) -> str:
    """American English in the International Phonetic Alphabet, with its stops and commas.

    Raises SetupError when piper-tts is not installed.
    """
    return " ".join("".join(sentence) for sentence in _espeak().phonemize(ACCENTS[0], text))


def read(texts: Sequence[str]) -> list[Reading]:
    """The sounds of each text, stress left out, unstressed short vowels all the same.

    Raises SetupError when piper-tts is not installed.
    """
    espeak = _espeak()
    # One accent after the other: changing it costs more than reading.
    columns = [
        [sounds("".join(p for s in espeak.phonemize(a, text) for p in s)) for text in texts]
        for a in ACCENTS
    ]
    return list(zip(*columns, strict=True))


def sounds(phonemes: str) -> Sounds:
    """The sounds in a line of the International Phonetic Alphabet, as espeak-ng writes it.

    Words run together, as they do in speech.
    """
    found = []
    for sound in _SOUND.findall(phonemes):
        stressed, plain = sound[0] in "ˈˌ", sound.lstrip("ˈˌ")
        if not plain[0].isalpha():
            continue
        plain = _ALIKE.get(plain, plain)
        found.append("ə" if plain in _WEAK and not stressed else plain)
    return tuple(found)


def distance(a: Sounds, b: Sounds) -> int:
    """How many sounds must be put in, left out or exchanged (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def apart(a: Reading, b: Reading) -> int:
    """The distance in the accent in which the two are nearest."""
    return min(distance(x, y) for x, y in zip(a, b, strict=True))


def confusable(keyword: Reading, other: Reading) -> bool:
    """Whether a listener would rightly take the other for the keyword.

    In one accent or the other it holds the keyword's sounds one after the
    other. Weak vowels are left aside, which quick speech swallows, but for one
    that ends the keyword.
    """
    for wanted, heard in zip(keyword, other, strict=True):
        w = [s for s in wanted[:-1] if s != "ə"] + [wanted[-1]]
        for end in range(1, len(heard) + 1):
            h = [s for s in heard[: end - 1] if s != "ə"] + [heard[end - 1]]
            if h[-len(w) :] == w:
                return True
    return False
