"""Cross-fitting: one third of all real recordings is held out of everything.

Where real recordings are few, each is worth more as a witness than as one more
example, and as an example more than lying idle. So they are cut into three
folds: running speech by speaker, noise by source, clips of the keyword by
speaker. Three models are made, each from two folds (training, its hard
negatives and its threshold), and judged on the third; the pooled thirds give
one figure over all recordings, none of which its judge had met.

Source: M. Stone, "Cross-validatory choice and assessment of statistical
predictions", J. R. Stat. Soc. B 36, 1974.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from device.errors import CorpusError
from train_host.corpus import NOISE, SPEECH, Clip, Corpus

FOLDS = 3
FILE = "held-out.json"


@dataclass(frozen=True)
class HeldOut:
    """What a model has never met in any way. The evaluation reads it from `held-out.json`."""

    speech: tuple[Clip, ...] = ()
    noise: tuple[Clip, ...] = ()
    keywords: tuple[Clip, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes `held-out.json`; each file once, though several clips may be cut from it."""
        content = {
            "speech": _paths(self.speech),
            "noise": _paths(self.noise),
            "keywords": [
                {"path": str(c.path.resolve()), "speaker": c.speaker, "kind": c.kind}
                for c in self.keywords
            ],
        }
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")


def read_held_out(folder: Path) -> HeldOut:
    """What a build held out.

    Raises CorpusError, one sentence, where `held-out.json` is absent, is
    something else, or leaves one kind without a recording.
    """
    path = folder / FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        speech = [_entry(entry, SPEECH, entry) for entry in raw["speech"]]
        noise = [_entry(entry, NOISE, entry) for entry in raw["noise"]]
        keywords = [
            _entry(entry["path"], "", entry["speaker"], entry["kind"]) for entry in raw["keywords"]
        ]
    except OSError as error:
        raise CorpusError(
            f"{path}: cannot be read ({error.strerror}); give folders of builds that held a "
            "fold out"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{path}: not a list of what a fold held out ({type(error).__name__}: {error}); "
            "train the fold again"
        ) from error
    for name, clips in (("speech", speech), ("noise", noise), ("keywords", keywords)):
        if not clips:
            raise CorpusError(f"{path}: holds out no {name}; train the fold with more recordings")
        for clip in clips:
            if not clip.path.is_file():
                raise CorpusError(f"{clip.path}: no such recording, but {path} names it")
    return HeldOut(tuple(speech), tuple(noise), tuple(keywords))


def _entry(path: str, word: str, speaker: str, kind: str = "real") -> Clip:
    if kind not in ("real", "synthetic"):
        raise ValueError(f"{kind!r} is no kind of voice")
    return Clip(word, speaker, "validation", cast(Any, kind), Path(path))


def part(
    clips: Iterable[Clip], fold: int | None, count: int = FOLDS
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """The clips that stay and those of fold `fold` of `count` (0, 1 or 2 of 3; None: of none).

    The folds deal out the sources (speakers, voices, origins of noise) in
    alphabetical order, so that all that is of one source falls into one fold.
    """
    everything = tuple(clips)
    sources = sorted({clip.speaker for clip in everything})
    ours = {source for index, source in enumerate(sources) if index % count == fold}
    return (
        tuple(c for c in everything if c.speaker not in ours),
        tuple(c for c in everything if c.speaker in ours),
    )


def real_clips(corpus: Corpus, keyword: str) -> tuple[Clip, ...]:
    """The recordings of the keyword by real people."""
    return tuple(c for c in corpus.clips if c.word == keyword and c.kind == "real")


def hold_out_keyword(corpus: Corpus, keyword: str, fold: int | None) -> Corpus:
    """The corpus in which one third of the keyword's real clips cannot train.

    They, and all else that their speakers say, are validation clips; the
    keyword's other real clips train, whatever their official split. With
    `fold` None all of them train.
    """
    kept, held = part(real_clips(corpus, keyword), fold)
    training, speakers = set(kept), {clip.speaker for clip in held}

    def moved(clip: Clip) -> Clip:
        if clip in training:
            return dataclasses.replace(clip, split="training")
        if clip.kind == "real" and clip.speaker in speakers:
            return dataclasses.replace(clip, split="validation")
        return clip

    return dataclasses.replace(corpus, clips=tuple(map(moved, corpus.clips)))


def _paths(clips: Iterable[Clip]) -> list[str]:
    return sorted({str(clip.path.resolve()) for clip in clips})
