"""Trains the networks for one keyword: base, teacher and the small student.

    python -m train_host.train --keyword sheila --output build/sheila
    python -m train_host.train --keyword sheila --data DIR --speech DIR --noise DIR \
        --synthetic DIR --teacher kws.pth --size tiny --output build/sheila

The base and the teacher judge clips, as the origin's did. The student is made
as its recipe says. Where that asks for a teacher of streams, the tutor is
trained as well, from a network that has learned to listen. Writes base.pt,
teacher.pt, student.pt and perhaps tutor.pt, each with a record of how it was
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

import torch
from rich.logging import RichHandler

from device.manifest import Detection
from train_host import folds, listeners
from train_host.calibrate import OF_FOLDS_PER_HOUR, alignments, calibrate, hours_of, lowest
from train_host.evaluate import clip_scores, stream_scores
from train_host.fit import fit
from train_host.listeners import read_listener
from train_host.methods import Training
from train_host.network import BASE_32, Network, load_checkpoint, save_checkpoint
from train_host.objectives import ClipObjective
from train_host.phrase import fitted
from train_host.recipe import FOLDER, Recipe, carry_out, read_recipe
from train_host.sizes import SIZES
from train_host.stores import (
    Stores,
    add_corpus_arguments,
    command,
    console,
    describe,
    read_corpus,
)
from train_host.teacher import load_published
from train_host.verifier import Confirmation, numbers, read_verifiers

BATCH = 128
BASE_RATE = 3e-3
TEACHER_RATE = 1e-3


@dataclass(frozen=True)
class Effort:
    """How many steps of training each network gets."""

    base: int
    teacher: int
    tutor: int | None
    """None: as many as its recipe says; so the student and the verifier."""
    student: int | None
    verifier: int | None


QUICK = Effort(base=500, teacher=500, tutor=500, student=2000, verifier=500)
"""For the embedded corpus and synthetic voices alone: minutes on two cores."""
FULL = Effort(base=1500, teacher=1000, tutor=None, student=None, verifier=None)
"""For real recordings: less than an hour on two cores, the synthesis of voices not counted."""


def train_clips(
    name: str, network: Network, steps: int, rate: float, stores: Stores, args: argparse.Namespace
) -> Network:
    """Trains the origin's CRNN on one-second clips."""
    curve = fit(
        name,
        network,
        ClipObjective(network),
        stores.composer(network, args.seed + network.shape.hidden),
        steps=steps,
        batch=BATCH,
        rate=rate,
        partial=args.output / f"{name}.partial.pt",
    )
    gaps = stores.gaps(clip_scores(network, stores.validation))
    console.print(f"{name}: 1 - AUC on validation clips {gaps}")
    save_checkpoint(
        network, args.output / f"{name}.pt", origin="trained", curve=curve, seed=args.seed
    )
    return network


def find_teacher(stores: Stores, args: argparse.Namespace, effort: Effort) -> Network:
    """The published teacher if there is one, else a listener gone on with clips."""
    if args.teacher is None:
        listener = read_listener("listener", args.listeners, stores.training.window)
        return train_clips("teacher", listener, effort.teacher, TEACHER_RATE, stores, args)
    teacher = load_published(args.teacher)
    save_checkpoint(teacher, args.output / "teacher.pt", origin=args.teacher.name)
    gaps = stores.gaps(clip_scores(teacher, stores.validation))
    console.print(f"teacher {args.teacher.name}: 1 - AUC on validation clips {gaps}")
    return teacher


def prepare(
    teacher: Network, tutor: Network | None, stores: Stores, args: argparse.Namespace
) -> Training:
    """What recipes are carried out with, its scenes from the beginning."""
    return Training(
        stores.composer(teacher, args.seed),
        teacher,
        tutor,
        args.output,
        BATCH,
        args.seed,
        listeners=args.listeners,
    )


def find_tutor(
    teacher: Network, stores: Stores, args: argparse.Namespace, effort: Effort
) -> Network:
    """The tutor in the output folder if there is one, else one that is trained now.

    It begins as a listener and learns near-words and running speech, which the
    teacher has never met, and what that knows of the keyword.
    """
    path = args.output / "tutor.pt"
    if path.exists():
        return load_checkpoint(path)[0]
    training = prepare(teacher, None, stores, args)
    tutor, curve = carry_out(read_recipe(FOLDER / "tutor.toml"), training, effort.tutor)
    gaps = stores.gaps(stream_scores(tutor, stores.validation))
    console.print(f"tutor: 1 - AUC on validation clips {gaps}")
    save_checkpoint(tutor, path, curve=curve, seed=args.seed)
    return tutor


def find_verifier(recipe: str, training: Training, effort: Effort) -> Network:
    """The network that confirms the student: the tutor, or what learns from it by a recipe."""
    if recipe == "tutor":
        assert training.tutor is not None
        return training.tutor
    return carry_out(read_recipe(FOLDER / f"{recipe}.toml"), training, effort.verifier)[0]


def calibrate_on_folds(
    student: Network, stores: Stores, args: argparse.Namespace
) -> tuple[Detection, dict[str, Any]]:
    """The threshold that the models of a cross-fitting need on what each held out, together.

    `OF_FOLDS_PER_HOUR` false accepts an hour in running speech, none in noise and music.

    Raises CorpusError when a build is none of a cross-fitting.
    """
    heard, quiet = [], []
    for build in args.folds:
        network, record = load_checkpoint(build / "student.pt")
        confirm = Confirmation(read_verifiers(build, record))
        held_out = folds.read_held_out(build)
        speech = stores.store("held-out speech", held_out.speech)
        noise = stores.store("held-out noise", held_out.noise)
        heard.append(alignments(network, speech, confirm))
        quiet.append(alignments(network, noise, confirm))
    detection, false = lowest(student, heard, OF_FOLDS_PER_HOUR, quiet)
    return detection, {
        "negatives": "running speech that each fold of a cross-fitting held out",
        "noise_hours": round(hours_of(student, quiet), 3),
        "hours": round(hours_of(student, heard), 3),
        "false_accepts": round(false, 2),
    }


def choose_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe that the arguments name. Raises RecipeError when it cannot be read."""
    return read_recipe(args.recipe or FOLDER / f"{args.size}.toml")


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    # The networks are small: a second thread gains less than composing scenes beside it.
    torch.set_num_threads(1)
    recipe = choose_recipe(args)
    corpus, kind = read_corpus(args)
    console.print(f"Corpus: {corpus.name}")
    effort = FULL if kind == "recordings" else QUICK
    if args.steps:
        effort = dataclasses.replace(effort, student=args.steps)
    args.output.mkdir(parents=True, exist_ok=True)
    stores = Stores(corpus, kind, args)
    if args.teachers:
        teacher = take_over(args)
    else:
        torch.manual_seed(args.seed)
        base = Network(fitted(BASE_32, stores.training.window))
        train_clips("base", base, effort.base, BASE_RATE, stores, args)
        teacher = find_teacher(stores, args, effort)
    tutor = None
    if recipe.needs_tutor:
        tutor = find_tutor(teacher, stores, args, effort)
    training = prepare(teacher, tutor, stores, args)
    student, curve = carry_out(recipe, training, effort.student)
    verifiers = []
    if recipe.confirm:
        verifier = find_verifier(recipe.confirm, training, effort)
        verifiers.append((numbers(verifier), verifier))
        save_checkpoint(verifier, args.output / "verifier_1.pt")
    confirm = Confirmation(verifiers)
    gaps = stores.gaps(stream_scores(student, stores.validation, confirm))
    console.print(f"student: 1 - AUC on validation clips {gaps}")
    if args.folds:
        # No fold has met what it held out, and together that is more than what validates.
        detection, expected = calibrate_on_folds(student, stores, args)
    else:
        detection, expected = calibrate(
            student, stores.validation, stores.is_keyword, stores.validation_speech, confirm
        )
    save_checkpoint(
        student,
        args.output / "student.pt",
        keyword=args.keyword,
        size=args.size,
        recipe=recipe.name,
        verifiers=[dataclasses.asdict(verifier) for verifier, _ in verifiers],
        storage=recipe.storage,
        corpus={"name": describe(corpus, args), "kind": kind, "skipped": corpus.skipped},
        clips={split: len(corpus.of(split)) for split in ("training", "validation")},
        keyword_clips={
            split: len(corpus.of(split, args.keyword)) for split in ("training", "validation")
        },
        teacher=args.teacher.name if args.teacher else "trained here",
        effort=dataclasses.asdict(effort) | {"student": effort.student or recipe.steps},
        seed=args.seed,
        fold=args.fold,
        folds=len(args.folds),
        curve=curve,
        detection=dataclasses.asdict(detection),
        expected=expected,
        seconds=round(time.monotonic() - started),
        torch=str(torch.__version__),
    )
    if args.fold is not None:
        stores.held_out.write(args.output)
    (args.output / "validation.json").write_text(
        json.dumps([dataclasses.asdict(c) | {"path": str(c.path)} for c in stores.validation_clips])
    )
    console.print(f"Trained in {(time.monotonic() - started) / 60:.1f} min: {args.output}")


def take_over(args: argparse.Namespace) -> Network:
    """Copies base, teacher and, if there is one, tutor of another build; the teacher.

    Raises CorpusError when a checkpoint is not there.
    """
    taken = {}
    for name in ("base", "teacher", "tutor"):
        path = args.teachers / f"{name}.pt"
        if name == "tutor" and not path.exists():
            continue
        taken[name], record = load_checkpoint(path)
        save_checkpoint(taken[name], args.output / f"{name}.pt", **record)
    return taken["teacher"]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    add_corpus_arguments(parser)
    parser.add_argument("--teacher", type=Path, help="published teacher, a TorchScript archive")
    parser.add_argument(
        "--teachers", type=Path, metavar="BUILD", help="take base, teacher and tutor from there"
    )
    parser.add_argument("--size", choices=SIZES, default="tiny", help="recipe of the student")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe of your own")
    parser.add_argument(
        "--folds",
        type=Path,
        nargs="+",
        default=[],
        metavar="BUILD",
        help="the builds of a cross-fitting: take the threshold that they need together",
    )
    parser.add_argument(
        "--listeners",
        type=Path,
        default=listeners.FOLDER,
        metavar="DIR",
        help="the networks that tutors and verifiers begin with, by `make pretrain`",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--steps", type=int, help="training steps of the student")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=console)])
    return command(run, parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
