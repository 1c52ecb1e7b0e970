"""Trains the networks for one keyword: base, teacher and the small student.

    python -m train_host.train --keyword sheila --output build/sheila
    python -m train_host.train --keyword sheila --data DIR --speech DIR --noise DIR \
        --synthetic DIR --teacher kws.pth --output build/sheila

Writes base.pt, teacher.pt and student.pt, each with a record of how it was
made. A run that broke off carries on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress

from device.errors import CorpusError, KwsPiError
from device.manifest import FrontEnd
from train_host import corpus as corpora
from train_host.calibrate import calibrate
from train_host.corpus import Clip, Corpus
from train_host.distill import ClipSoftLabels
from train_host.evaluate import clip_scores, stream_scores
from train_host.features import FeatureStore, build_store
from train_host.fit import fit
from train_host.metrics import one_minus_auc
from train_host.network import (
    BASE_32,
    BASE_64,
    STUDENT,
    Network,
    Shape,
    fold_normalisation,
    save_checkpoint,
)
from train_host.objectives import ClipObjective, Normalised, StreamObjective
from train_host.scenes import Composer, Material, composer_for
from train_host.teacher import load_published

FEW = 100
"""With fewer real training clips of the keyword than this, and synthetic ones at
hand, the real ones all go to validation."""


@dataclass(frozen=True)
class Effort:
    """How much work goes into one run."""

    base_steps: int
    teacher_steps: int
    student_steps: int
    keyword_versions: int
    """Augmented forms of each clip of the keyword ..."""
    other_versions: int
    """... and of each other clip."""
    batch: int = 128


QUICK = Effort(
    base_steps=500, teacher_steps=700, student_steps=2000, keyword_versions=3, other_versions=1
)
"""For the embedded corpus: minutes on two cores."""
FULL = Effort(
    base_steps=1500, teacher_steps=2500, student_steps=7000, keyword_versions=4, other_versions=1
)
"""For real recordings: half an hour on two cores, the synthesis of voices not counted. Longer
training fits the synthetic voices better and the real ones worse."""

console = Console()


def read_corpus(args: argparse.Namespace) -> tuple[Corpus, str]:
    """The corpus that the arguments name, and its kind: `embedded` or `recordings`."""
    if args.data is None:
        corpus, kind = corpora.read_embedded(), "embedded"
    else:
        corpus, kind = corpora.read_folder(args.data), "recordings"
    if args.synthetic is not None:
        real = len(corpus.of("training", args.keyword))
        if real < FEW:
            corpus = corpora.hold_out_speakers(corpus, args.keyword)
            console.print(
                f"Only {real} recordings of {args.keyword!r} could train: they and their "
                "speakers are kept for validation, and synthetic voices train."
            )
        corpus = corpora.join([corpus, corpora.read_synthetic(args.synthetic)])
    corpus.require(args.keyword)
    for split in ("training", "validation"):
        if not corpus.of(split, args.keyword):
            raise CorpusError(
                f"{corpus.name}: no clip of {args.keyword!r} falls into the {split} split; "
                "add recordings of more speakers or use SYNTH=1"
            )
    return corpus, kind


class Stores:
    """Features of all the clips that one run needs."""

    def __init__(self, corpus: Corpus, args: argparse.Namespace, effort: Effort) -> None:
        self.cache = args.cache
        self.seed = args.seed
        keyword = args.keyword

        def others(split: str, kind: str) -> list[Clip]:
            return [c for c in corpus.of(split, None) if c.word != keyword and c.kind == kind]  # type: ignore[arg-type]

        speech = list(corpora.read_recordings(args.speech).clips) if args.speech else []
        noise = list(corpus.noise)
        if args.noise:
            noise += corpora.read_recordings(args.noise, corpora.NOISE).noise
        self.training = Material(
            keyword=self._store("keyword", corpus.of("training", keyword), effort.keyword_versions),
            others=[
                self._store(f"other words, {kind}", clips, effort.other_versions)
                for kind in ("real", "synthetic")
                if (clips := others("training", kind))
            ],
            speech=self._optional("running speech", speech, "training"),
            noise=self._optional("noise", noise, "training"),
        )
        self.validation_clips = corpus.of("validation")
        self.validation = self._store("validation clips", self.validation_clips, 0)
        self.validation_speech = self._optional("validation speech", speech, "validation")
        self.is_keyword = np.array([c.word == keyword for c in self.validation_clips])
        self.is_real = np.array([c.kind == "real" for c in self.validation_clips])

    def _store(self, name: str, clips: Any, versions: int) -> FeatureStore:
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

    def _optional(self, name: str, clips: list[Clip], split: str) -> FeatureStore | None:
        # Speakers of the test split are for judging only.
        chosen = [c for c in clips if c.split == split]
        return self._store(name, chosen, 0) if chosen else None

    def composer(self, network: Network, seed: int) -> Composer:
        return composer_for(self.training, network, seed)

    def gaps(self, scores: np.ndarray[Any, Any]) -> dict[str, float]:
        """1 - AUC on validation: all clips, and where there are real ones, those."""
        chosen = {"all": np.ones(len(scores), bool), "real": self.is_real}
        return {
            name: one_minus_auc(scores[self.is_keyword & rows], scores[~self.is_keyword & rows])
            for name, rows in chosen.items()
            if (self.is_keyword & rows).any() and (~self.is_keyword & rows).any()
        }


def train_base(
    name: str, shape: Shape, steps: int, stores: Stores, args: argparse.Namespace, effort: Effort
) -> Network:
    """The origin's CRNN, trained on one-second clips."""
    torch.manual_seed(args.seed)
    network = Network(shape)
    curve = fit(
        name,
        network,
        ClipObjective(network),
        stores.composer(network, args.seed + shape.hidden),
        steps=steps,
        batch=effort.batch,
        rate=3e-3,
        partial=args.output / f"{name}.partial.pt",
    )
    gaps = stores.gaps(clip_scores(network, stores.validation))
    console.print(f"{name}: 1 - AUC on validation clips {gaps}")
    save_checkpoint(
        network, args.output / f"{name}.pt", origin="trained", curve=curve, seed=args.seed
    )
    return network


def train_student(
    teacher: Network, stores: Stores, args: argparse.Namespace, effort: Effort
) -> tuple[Network, list[tuple[int, float]]]:
    """The small streaming network, distilled from the teacher."""
    torch.manual_seed(args.seed)
    network = Network(STUDENT)
    composer = stores.composer(network, args.seed)
    sample = torch.cat([composer.batch(256).mel for _ in range(4)]).flatten(0, 1)
    model = Normalised(network, sample.mean(0), sample.std(0))
    curve = fit(
        "student",
        model,
        StreamObjective(model, [ClipSoftLabels(teacher)]),
        composer,
        steps=effort.student_steps,
        batch=effort.batch,
        rate=4e-3,
        partial=args.output / "student.partial.pt",
    )
    fold_normalisation(network, model.mean, model.std)
    return network, curve


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    # The networks are small: a second thread gains less than composing scenes beside it.
    torch.set_num_threads(1)
    corpus, kind = read_corpus(args)
    console.print(f"Corpus: {corpus.name}")
    effort = FULL if kind == "recordings" else QUICK
    if args.steps:
        effort = dataclasses.replace(effort, student_steps=args.steps)
    args.output.mkdir(parents=True, exist_ok=True)
    stores = Stores(corpus, args, effort)
    train_base("base", BASE_32, effort.base_steps, stores, args, effort)
    if args.teacher:
        teacher = load_published(args.teacher)
        save_checkpoint(teacher, args.output / "teacher.pt", origin=args.teacher.name)
        gaps = stores.gaps(clip_scores(teacher, stores.validation))
        console.print(f"teacher {args.teacher.name}: 1 - AUC on validation clips {gaps}")
    else:
        teacher = train_base("teacher", BASE_64, effort.teacher_steps, stores, args, effort)
    student, curve = train_student(teacher, stores, args, effort)
    gaps = stores.gaps(stream_scores(student, stores.validation))
    console.print(f"student: 1 - AUC on validation clips {gaps}")
    detection, expected = calibrate(
        student, stores.validation, stores.is_keyword, stores.validation_speech
    )
    save_checkpoint(
        student,
        args.output / "student.pt",
        keyword=args.keyword,
        corpus={"name": describe(corpus, args), "kind": kind, "skipped": corpus.skipped},
        clips={split: len(corpus.of(split)) for split in ("training", "validation")},
        keyword_clips={
            split: len(corpus.of(split, args.keyword)) for split in ("training", "validation")
        },
        teacher=args.teacher.name if args.teacher else "trained here",
        effort=dataclasses.asdict(effort),
        seed=args.seed,
        curve=curve,
        detection=dataclasses.asdict(detection),
        expected=expected,
        seconds=round(time.monotonic() - started),
        torch=str(torch.__version__),
    )
    (args.output / "validation.json").write_text(
        json.dumps([dataclasses.asdict(c) | {"path": str(c.path)} for c in stores.validation_clips])
    )
    console.print(f"Trained in {(time.monotonic() - started) / 60:.1f} min: {args.output}")


def describe(corpus: Corpus, args: argparse.Namespace) -> str:
    """The corpus in words that hold no path of this machine."""
    parts = ["Speech Commands layout" if args.data else corpus.name]
    if args.synthetic:
        parts.append("synthetic voices")
    if args.speech:
        parts.append("running speech")
    if args.noise:
        parts.append("noise")
    return ", ".join(parts)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--keyword", default="sheila", help="a word of the corpus")
    parser.add_argument("--data", type=Path, help="folder in the layout of Speech Commands")
    parser.add_argument("--speech", type=Path, help="folder of running speech without the keyword")
    parser.add_argument("--noise", type=Path, help="folder of noise")
    parser.add_argument("--synthetic", type=Path, help="folder made by train_host.synthesize")
    parser.add_argument("--teacher", type=Path, help="published teacher, a TorchScript archive")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--cache", type=Path, default=Path("build/features"))
    parser.add_argument("--steps", type=int, help="training steps of the student")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=console)])
    try:
        run(parse(arguments))
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
