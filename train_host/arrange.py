"""What a run makes of the corpora it has read: which clips are the keyword, and who validates."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from train_host.corpus import Corpus
from train_host.keyword import slug
from train_host.split import Split


def with_keyword(corpus: Corpus, keyword: str) -> Corpus:
    """The corpus in which every clip whose folder's name means the keyword is one of it.

    "hey-marvin", "hey_marvin" and "Hey Marvin" all mean "hey marvin".
    """
    wanted = slug(keyword)
    return dataclasses.replace(
        corpus,
        clips=tuple(
            dataclasses.replace(c, word=keyword) if slug(c.word) == wanted else c
            for c in corpus.clips
        ),
    )


def deal_out(corpus: Corpus, keyword: str) -> Corpus:
    """Gives validation a sixth of the keyword's speakers, where the hash rule left it none.

    The rule is made for thousands of speakers; of a dozen it may leave none
    for validation or training. Where both have some, or there is but one
    speaker, nothing changes.
    """
    clips = [c for c in corpus.clips if c.word == keyword]
    if {"training", "validation"} <= {c.split for c in clips}:
        return corpus
    speakers = sorted({c.speaker for c in clips}, key=lambda s: hashlib.sha1(s.encode()).digest())
    held = set(speakers[: max(1, len(speakers) // 6)]) if len(speakers) > 1 else set()
    splits: dict[str, Split] = {s: "validation" if s in held else "training" for s in speakers}
    return dataclasses.replace(
        corpus,
        clips=tuple(
            dataclasses.replace(c, split=splits.get(c.speaker, c.split)) for c in corpus.clips
        ),
    )


def hold_out_speakers(corpus: Corpus, keyword: str) -> Corpus:
    """Makes every clip of every speaker who said the keyword a validation clip.

    For a keyword of which so few real recordings exist that synthetic voices
    train the network: then the real ones, and all else those speakers said,
    are worth more for validation.
    """
    speakers = {clip.speaker for clip in corpus.clips if clip.word == keyword}
    return dataclasses.replace(
        corpus,
        clips=tuple(
            dataclasses.replace(c, split="validation") if c.speaker in speakers else c
            for c in corpus.clips
        ),
    )


def join(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of several; the name lists them."""
    return Corpus(
        " + ".join(c.name for c in corpora),
        tuple(clip for c in corpora for clip in c.clips),
        tuple(clip for c in corpora for clip in c.noise),
        sum(c.skipped for c in corpora),
    )
