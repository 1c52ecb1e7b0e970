"""Invents words and phrases that sound like a keyword, from its phonemes.

    python -m train_host.near "hey marvin"

Four groups, none of which holds the keyword's sounds in American or in British
English:

* parts: words of a phrase alone or without one of the others, beginnings and endings;
* respelt: one letter group exchanged, so that one sound differs;
* common: the words of a list of common ones that sound most alike, and those
  that begin or end alike; for a phrase also within it, in place of a word;
* joined: two common words that together sound alike.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from device.errors import KwsPiError, SetupError
from train_host.keyword import spoken
from train_host.phonemes import Reading, apart, confusable, distance, read

LISTED = 6000
"""Common words that are looked at."""
MOST = {"parts": 40, "respelt": 90, "common": 90, "joined": 60}
SUBSTITUTES = 14
"""Common words that stand in for each word of a phrase."""

CONSONANTS = (
    *("b", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "sh", "t", "th"),
    *("v", "w", "y", "z", "st", "tr", "kl", "br"),
)
VOWELS = ("a", "e", "i", "o", "u", "ee", "ay", "oo", "ow", "oy", "ar", "or", "er", "igh", "oh")


def invent(keyword: str) -> dict[str, tuple[str, ...]]:
    """The four groups by name, those left out that hold nothing.

    Raises SetupError when piper-tts or the word list is not installed.
    """
    (whole,) = read([keyword])
    groups = {
        "parts": _parts(keyword),
        "respelt": _respelt(keyword),
        "common": _alike(keyword),
        "joined": _joined(whole),
    }
    kept: dict[str, tuple[str, ...]] = {}
    for name, texts in groups.items():
        chosen = _differing(keyword, whole, texts, one_sound=name == "respelt")
        if chosen:
            kept[name] = tuple(chosen[: MOST[name]])
    return kept


def _differing(
    keyword: str, whole: Reading, texts: Iterable[str], one_sound: bool = False
) -> list[str]:
    """Those that are not the keyword, nearest first, no two of which sound alike."""
    wanted = [t for t in dict.fromkeys(texts) if not re.search(rf"\b{keyword}\b", t)]
    gaps: dict[str, int] = {}
    heard: set[Reading] = set()
    for text, reading in zip(wanted, read(wanted), strict=True):
        gap = apart(whole, reading)
        if confusable(whole, reading) or _folded(text) == _folded(keyword):
            continue
        if reading not in heard and (gap == 1 or not one_sound):
            heard.add(reading)
            gaps[text] = gap
    return sorted(gaps, key=lambda text: gaps[text])


def _folded(text: str) -> str:
    """Spellings that an engine may read alike, though espeak-ng does not."""
    for pattern, one in (
        (r"c(?![eiyh])", "k"),
        ("qu", "kw"),
        ("x", "ks"),
        ("ph", "f"),
        ("[ey]i?(?= |$)", "y"),
        ("(ar|er|or|ah)(?= |$)", "a"),
        (r"(.)\1", r"\1"),
    ):
        text = re.sub(pattern, one, text)
    return text


def _parts(keyword: str) -> list[str]:
    words = keyword.split()
    found = []
    for start in range(len(words)):
        for stop in range(start + 1, len(words) + 1):
            found.append(" ".join(words[start:stop]))
    for left_out in range(len(words)):
        found.append(" ".join(words[:left_out] + words[left_out + 1 :]))
    for word in words:
        for cut in range(2, len(word) - 1):
            found.append(word[:cut])
            if re.match("(ch|sh|th|st|tr|[^aeiou])?[aeiouy]", word[cut:]):
                found.append(word[cut:])
    return [text for text in found if re.search(r"[aeiouy0-9]", text)]


def _respelt(keyword: str) -> list[str]:
    """The keyword with one group of consonants or vowels exchanged, left out or put in."""
    found = []
    for match in re.finditer(r"[aeiou]+r?|[^aeiou '0-9]+", keyword):
        before, after = keyword[: match.start()], keyword[match.end() :]
        others = VOWELS if match.group()[0] in "aeiou" else CONSONANTS
        found += [before + other + after for other in (*others, "")]
        if others is CONSONANTS and len(match.group()) > 1:
            # Of a group of several, one at a time.
            for at in range(len(match.group())):
                rest = match.group()
                found += [
                    before + rest[:at] + other + rest[at + 1 :] + after
                    for other in (*CONSONANTS, "")
                ]
    if keyword[-1] in "aeiouy":
        found += [keyword[:-1] + ending for ending in ("er", "y", "ing", "o", "en", "ish")]
    return [" ".join(text.split()) for text in found if re.search("[aeiouy0-9]", text)]


def _alike(keyword: str) -> list[str]:
    """Common words like the keyword; for a phrase, also within it."""
    words = keyword.split()
    readings = read(words)
    if len(words) == 1:
        return [*_nearest(readings[0], 2 * MOST["common"] // 3), *_same_edge(readings[0])]
    found = []
    for at, reading in enumerate(readings):
        for word in _nearest(reading, SUBSTITUTES + 1):
            found.append(" ".join([*words[:at], word, *words[at + 1 :]]))
            found.append(word)
    return found


def _nearest(reading: Reading, count: int) -> list[str]:
    """Common words by the share of their sounds that differ, nearest first."""
    gaps = {word: apart(reading, other) / len(reading[0]) for word, other in lexicon().items()}
    return sorted(gaps, key=lambda word: gaps[word])[:count]


def _same_edge(reading: Reading, sounds: int = 3) -> list[str]:
    """The most common words that begin or end with the same sounds."""
    first, last = reading[0][:sounds], reading[0][-sounds:]
    others = {word: other[0] for word, other in lexicon().items()}
    return [w for w, o in others.items() if o[:sounds] == first][:20] + [
        w for w, o in others.items() if o[-sounds:] == last and len(o) > sounds
    ][:20]


def _joined(whole: Reading) -> list[str]:
    """Two common words, the first like the beginning, the second like the rest."""
    target = whole[0]
    found = []
    for cut in range(2, len(target) - 1):
        first, second = (_closest(part) for part in (target[:cut], target[cut:]))
        found += [f"{a} {b}" for a in first for b in second]
    return found


def _closest(sounds: Sequence[str], count: int = 4) -> list[str]:
    gaps = {word: distance(tuple(sounds), other[0]) for word, other in lexicon().items()}
    return sorted(gaps, key=lambda word: gaps[word])[:count]


@cache
def lexicon() -> dict[str, Reading]:
    """Common English words by falling frequency in film subtitles, and how they sound."""
    try:
        packed = files("spellchecker").joinpath("resources/en.json.gz").read_bytes()
    except (ImportError, OSError) as error:
        raise SetupError(
            "words that sound like the keyword are looked for in the list of pyspellchecker, "
            "which is not installed; run `make setup SYNTH=1`, or pip install pyspellchecker"
        ) from error
    counts: dict[str, int] = json.loads(gzip.decompress(packed))
    words = [w for w in counts if re.fullmatch("[a-z]{2,}|[ai]", w)]
    words = sorted(words, key=lambda word: -counts[word])[:LISTED]
    return dict(zip(words, read(words), strict=True))


def main(arguments: list[str]) -> int:
    try:
        for name, texts in invent(spoken(" ".join(arguments))).items():
            print(f"{name}: {', '.join(texts)}")
    except KwsPiError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
