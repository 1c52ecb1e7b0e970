"""The clips of one run, split and turned into features: what every training begins with."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from device.errors import CorpusError, KeywordError, KwsPiError
from device.manifest import FrontEnd
from train_host import arrange, folds
from train_host import corpus as corpora
from train_host.corpus import Clip, Corpus
from train_host.features import FeatureStore, build_store
from train_host.keyword import spoken
from train_host.metrics import one_minus_auc
from train_host.network import BASE_32, Network
from train_host.phrase import phrase_steps
from train_host.scenes import Composer, Material, composer_for

FEW = 50
"""With fewer real training clips of the keyword than this, and synthetic ones at
hand, the real ones all go to validation."""


KEYWORD_VERSIONS = {"embedded": 3, "synthetic": 1, "recordings": 4}
"""Augmented forms of each synthetic clip of the keyword, by the kind of corpus ..."""
REAL_VERSIONS = 8
"""... of each real one ..."""
OTHER_VERSIONS = 1
"""... and of each other clip."""
OTHERS = 1000
"""A folder with fewer clips of other words gets those of the embedded corpus as well."""

console = Console()


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what to train on; `read_corpus` and `Stores` take them."""
    parser.add_argument("--keyword", default="sheila", type=_keyword, help="a word or a phrase")
    parser.add_argument("--data", type=Path, help="folder in the layout of Speech Commands")
    parser.add_argument("--speech", type=Path, help="folder of running speech without the keyword")
    parser.add_argument("--noise", type=Path, help="folder of noise")
    parser.add_argument("--recordings", type=Path, help="folder of your own, by `make record`")
    parser.add_argument("--synthetic", type=Path, help="folder made by train_host.synthesize")
    parser.add_argument("--cache", type=Path, default=Path("build/features"))
    parser.add_argument(
        "--fold", type=int, choices=range(folds.FOLDS), help="hold out this third of what is real"
    )
    parser.add_argument(
        "--every-recording",
        action="store_true",
        help="train on all real clips of the keyword; cross-fitting then gives the figures",
    )
    parser.add_argument("--seed", type=int, default=0)


def _keyword(text: str) -> str:
    try:
        return spoken(text)
    except KeywordError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def command(
    run: Callable[[argparse.Namespace], None], args: argparse.Namespace, soft_wrap: bool = False
) -> int:
    """Runs a command line; the exit status, 1 after one sentence about what was wrong."""
    try:
        run(args)
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=soft_wrap)
        return 1
    return 0


def read_corpus(args: argparse.Namespace) -> tuple[Corpus, str]:
    """The corpus that the arguments name, and its kind.

    That is `recordings`, `synthetic` (voices that say this keyword, and no
    recording) or `embedded`. Raises CorpusError, one sentence, when the
    keyword cannot be trained on it.
    """
    if args.data is None:
        corpus, kind = corpora.read_embedded(), "synthetic" if args.synthetic else "embedded"
    else:
        corpus, kind = _folder(args), "recordings"
    if args.fold is not None or args.every_recording:
        corpus = folds.hold_out_keyword(corpus, args.keyword, args.fold)
    elif args.synthetic is not None and _few(corpus, args.keyword):
        corpus = arrange.hold_out_speakers(corpus, args.keyword)
        console.print(
            f"Fewer than {FEW} recordings of {args.keyword!r} could train: they and their "
            "speakers are kept for validation, and synthetic voices train."
        )
    if args.recordings is not None:
        corpus, kind = _with_own(corpus, args), "recordings"
    if args.synthetic is not None:
        synthetic = corpora.read_synthetic(args.synthetic)
        corpus = arrange.join([corpus, arrange.with_keyword(synthetic, args.keyword)])
    corpus.require(args.keyword)
    if not folds.real_clips(corpus, args.keyword):
        console.print(
            f"No recording of {args.keyword!r} by a real voice: synthetic voices train, and "
            "others that training does not hear validate."
        )
    for split in ("training", "validation"):
        if not corpus.of(split, args.keyword):
            raise CorpusError(
                f"{corpus.name}: no clip of {args.keyword!r} falls into the {split} split; "
                "add recordings of more speakers or use SYNTH=1"
            )
    return corpus, kind


def _folder(args: argparse.Namespace) -> Corpus:
    """The folder of recordings, with what it lacks from the embedded corpus."""
    corpus = arrange.with_keyword(corpora.read_folder(args.data), args.keyword)
    if args.synthetic is None and args.recordings is None:
        corpus = arrange.deal_out(corpus, args.keyword)
    embedded = arrange.with_keyword(corpora.read_embedded(), args.keyword)
    others = [c for c in corpus.clips if c.word != args.keyword]
    if len(others) < OTHERS:
        console.print(
            f"{args.data} holds {len(others)} clips of other words: those of the embedded corpus "
            "are added."
        )
        clips = tuple(c for c in embedded.clips if c.word != args.keyword)
        corpus = dataclasses.replace(corpus, clips=corpus.clips + clips)
    return corpus if corpus.noise else dataclasses.replace(corpus, noise=embedded.noise)


def _with_own(corpus: Corpus, args: argparse.Namespace) -> Corpus:
    """The corpus and a user's own recordings of the keyword."""
    own = corpora.read_samples(args.recordings, args.keyword)
    speakers = len({clip.speaker for clip in own.clips})
    console.print(
        f"{len(own.clips)} own recordings of {args.keyword!r} by {speakers} "
        f"speaker{'s' if speakers > 1 else ''}: most train, every fourth validates."
    )
    return arrange.join([corpus, own])


def _few(corpus: Corpus, keyword: str) -> bool:
    """Whether there are real clips of the keyword, but too few to train on."""
    real = folds.real_clips(corpus, keyword)
    return bool(real) and sum(clip.split == "training" for clip in real) < FEW


def describe(corpus: Corpus, args: argparse.Namespace) -> str:
    """The corpus in words that hold no path of this machine."""
    parts = ["Speech Commands layout" if args.data else "embedded corpus, synthetic voices"]
    if args.recordings:
        parts.append("own recordings")
    if args.synthetic:
        parts.append("synthetic voices")
    if args.speech:
        parts.append("running speech")
    if args.noise:
        parts.append("noise")
    return ", ".join(parts)


class Stores:
    """Features of all the clips that one run needs."""

    def __init__(self, corpus: Corpus, kind: str, args: argparse.Namespace) -> None:
        self.cache = args.cache
        self.seed = args.seed
        self.kind = kind
        self.keyword = keyword = args.keyword

        speech = corpora.read_recordings(args.speech).clips if args.speech else ()
        noise = corpus.noise
        if args.noise:
            noise += corpora.read_recordings(args.noise, corpora.NOISE).noise
        self.held_out = folds.HeldOut()
        if args.fold is not None:
            speech, held_speech = folds.part(speech, args.fold)
            noise, held_noise = folds.part(noise, args.fold)
            synthetic = [c for c in corpus.of("validation", keyword) if c.kind == "synthetic"]
            self.held_out = folds.HeldOut(
                held_speech,
                held_noise,
                folds.part(folds.real_clips(corpus, keyword), args.fold)[1]
                + folds.part(synthetic, args.fold)[1],
            )
        self._training = corpus.of("training"), speech, noise
        self.validation_clips = corpus.of("validation")
        self.validation = self.store("validation clips", self.validation_clips, 0)
        self.validation_speech = self._optional("validation speech", speech, "validation")
        self.is_keyword = np.array([c.word == keyword for c in self.validation_clips])
        self.is_real = np.array([c.kind == "real" for c in self.validation_clips])

    @cached_property
    def training(self) -> Material:
        """What scenes are made of; computed when it is first asked for."""
        clips, speech, noise = self._training
        versions = {"real": REAL_VERSIONS, "synthetic": KEYWORD_VERSIONS[self.kind]}
        said = [
            (chosen, self.store(f"keyword, {origin}", chosen, versions[origin]))
            for origin in ("real", "synthetic")
            if (chosen := [c for c in clips if c.word == self.keyword and c.kind == origin])
        ]
        # Of each store the clips as they are: rooms would make them longer.
        lengths = np.concatenate([np.diff(s.active[: len(c)], axis=1).ravel() for c, s in said])
        return Material(
            keyword=[store for _, store in said],
            others=[
                self.store(f"other words, {origin}", words, OTHER_VERSIONS)
                for origin in ("real", "synthetic")
                if (words := [c for c in clips if c.word != self.keyword and c.kind == origin])
            ],
            speech=self._optional("running speech", speech, "training"),
            noise=self._optional("noise", noise, "training"),
            window=phrase_steps(self.keyword, lengths, FrontEnd(), BASE_32.stride[1]),
        )

    def store(self, name: str, clips: Sequence[Clip], versions: int = 0) -> FeatureStore:
        """The features of clips, and of so many augmented forms of each."""
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"features: {name}", total=len(clips) * (versions + 1))
            return build_store(
                clips,
                self.cache,
                front_end=FrontEnd(),
                versions=versions,
                seed=self.seed,
                progress=lambda done: progress.advance(task, done),
            )

    def _optional(self, name: str, clips: Sequence[Clip], split: str) -> FeatureStore | None:
        # Speakers of the test split are for judging only.
        chosen = [c for c in clips if c.split == split]
        return self.store(name, chosen, 0) if chosen else None

    def composer(self, network: Network, seed: int) -> Composer:
        return composer_for(self.training, network, seed)

    def gaps(self, scores: np.ndarray[Any, Any]) -> dict[str, float]:
        """1 - AUC on validation: all clips, and those of each kind that there are."""
        chosen = {
            "all": np.ones(len(scores), bool),
            "real": self.is_real,
            "synthetic": ~self.is_real,
        }
        return {
            name: one_minus_auc(scores[self.is_keyword & rows], scores[~self.is_keyword & rows])
            for name, rows in chosen.items()
            if (self.is_keyword & rows).any() and (~self.is_keyword & rows).any()
        }
