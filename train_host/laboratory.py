"""Measures every compression method, each alone and trained alike: the method table.

    python -m train_host.laboratory --build build/sheila --output models/laboratory.json \
        --keyword sheila --data DIR --speech DIR --noise DIR --synthetic DIR

Carries out each recipe under train_host/recipes/methods, stretched or shrunk
to the same number of steps, once for every seed, on the same recorded scenes,
and writes a row for each: parameters, MACs, bytes, 1 - AUC on the validation
clips. Rows that are done are kept, so that a run that broke off goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, track

from export.storage import deployed
from export.torchscript import engine_of_the_pi
from train_host import listeners
from train_host.evaluate import stream_scores
from train_host.machine import machine
from train_host.macs import count_macs, parameters
from train_host.methods import Training
from train_host.network import Network, load_checkpoint
from train_host.recipe import FOLDER, Recipe, carry_out, read_recipe
from train_host.scenes import Recording
from train_host.stores import (
    Stores,
    add_corpus_arguments,
    command,
    console,
    describe,
    read_corpus,
)
from train_host.train import FULL, QUICK, find_tutor

METHODS = FOLDER / "methods"
"""A folder for each group of methods."""
TRIED = METHODS / "did-not-help.txt"
"""What was tried at full length and given up, a line each (see docs/decisions)."""
CHANCE = 0.45
"""A mean 1 - AUC above this is hardly better than guessing, which gives 0.5."""
BATCH = 64
STEPS = 500
SEEDS = 3


@dataclass(frozen=True)
class Bench:
    """What every network of one study is made and measured with."""

    stores: Stores
    teacher: Network
    tutor: Network
    scenes: Path
    """A `Recording`."""

    def make(self, recipe: Recipe, seed: int, steps: int, folder: Path) -> Network:
        """The network of a recipe, shortened or stretched to so many steps."""
        training = Training(
            Recording(self.scenes, seed),
            self.teacher,
            self.tutor,
            folder,
            BATCH,
            seed,
            quiet=True,
        )
        return carry_out(recipe, training, steps)[0]

    def job(self, path: Path, seed: int, steps: int) -> dict[str, Any]:
        """What `measure` says of the recipe in a file, carried out with one seed."""
        recipe = read_recipe(path)
        with tempfile.TemporaryDirectory() as folder:
            network = self.make(recipe, seed, steps, Path(folder))
        return self.measure(network, recipe.storage)

    def measure(self, network: Network, storage: str) -> dict[str, Any]:
        """Cost and quality of a network in the form in which it is stored."""
        with engine_of_the_pi():  # of concern to the dynamic form only
            stored, size = deployed(network, storage)
            gaps = self.stores.gaps(stream_scores(stored, self.stores.validation))
        return {
            "parameters": parameters(network),
            "macs_clip": count_macs(network),
            "bytes_onnx": size,
            "one_minus_auc": gaps,
        }


def prepare(args: argparse.Namespace) -> tuple[Bench, str]:
    """Reads corpus, teachers and scenes; and the corpus in words.

    Raises CorpusError when something is not there.
    """
    corpus, kind = read_corpus(args)
    teacher = load_checkpoint(args.build / "teacher.pt")[0]
    stores = Stores(corpus, kind, args)
    tutor = find_tutor(
        teacher,
        stores,
        argparse.Namespace(output=args.build, seed=args.seed, listeners=listeners.FOLDER),
        FULL if kind == "recordings" else QUICK,
    )
    words = describe(corpus, args)
    clips = len(corpus.of("training"))
    scenes = args.cache / f"scenes-{args.keyword}-{clips}-{args.steps}-{BATCH}-{args.seed}"
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("composing scenes", total=args.steps)
        Recording.make(
            stores.composer(tutor, args.seed),
            BATCH,
            args.steps,
            scenes,
            lambda: progress.advance(task),
        )
    return Bench(stores, teacher, tutor, scenes), words


def cores_and_machine() -> str:
    """What the figures were obtained with."""
    return f"{os.cpu_count()} cores {machine()}"


# --- One job: a recipe with one seed, in a process of its own ---

_bench: Bench | None = None


def _start(args: argparse.Namespace) -> None:
    global _bench
    torch.set_num_threads(1)
    _bench, _ = prepare(args)


def _job(path: Path, seed: int, steps: int) -> dict[str, Any]:
    assert _bench is not None
    return _bench.job(path, seed, steps)


# --- The table ---


def carried_out(
    jobs: list[tuple[Path, int]], bench: Bench, args: argparse.Namespace
) -> Iterator[tuple[tuple[Path, int], dict[str, Any]]]:
    """Each job with its result, in the jobs' order."""
    if args.processes == 1:
        for job in track(jobs, "methods", console=console):
            yield job, bench.job(*job, args.steps)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        args.processes, mp_context=context, initializer=_start, initargs=(args,)
    ) as pool:
        found = {job: pool.submit(_job, *job, args.steps) for job in jobs}
        for job, result in track(found.items(), "methods", console=console):
            yield job, result.result()


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    bench, words = prepare(args)  # once, before the processes do: they find everything in the cache
    paths = sorted(METHODS.glob("*/*.toml"))
    jobs = [(path, seed) for path in paths for seed in range(args.seeds)]
    args.scratch.mkdir(parents=True, exist_ok=True)
    kept = {
        (p, s): args.scratch / f"{p.parent.name}.{p.stem}.{s}.{args.steps}.json" for p, s in jobs
    }
    left = [job for job in jobs if not kept[job].exists()]
    for job, result in carried_out(left, bench, args):
        kept[job].write_text(json.dumps(result))
    rows = [
        row(path, [json.loads(kept[path, s].read_text()) for s in range(args.seeds)])
        for path in paths
    ]
    content = {
        "machine": cores_and_machine(),
        "corpus": words,
        "steps": args.steps,
        "seeds": list(range(args.seeds)),
        "rows": rows,
        "did_not_help": did_not_help(rows) + TRIED.read_text(encoding="utf-8").splitlines(),
    }
    args.output.write_text(json.dumps(content, indent=2) + "\n")
    console.print(f"The method table: {args.output}")


def row(path: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table, of a recipe's results, one for each seed."""
    recipe = read_recipe(path)
    cost = {key: results[0][key] for key in ("parameters", "macs_clip", "bytes_onnx")}
    groups = [group for group in results[0]["one_minus_auc"] if group != "all"]
    return {
        "method": recipe.name.split("_", 1)[-1].replace("-", " "),
        "group": path.parent.name,
        "setting": recipe.description,
        **cost,
        "one_minus_auc": {g: [r["one_minus_auc"][g] for r in results] for g in groups},
        "note": recipe.note,
    }


def did_not_help(rows: list[dict[str, Any]]) -> list[str]:
    """Terms of distillation after which a network is no better than without; what ruins it."""

    def mean(row: dict[str, Any]) -> float:
        gaps = row["one_minus_auc"]["synthetic"]
        return float(sum(gaps) / len(gaps))

    plain = [r for r in rows if r["group"] == "start" and r["method"] == "separable student"]
    return [
        f"{r['method']} ({r['setting']}): mean 1 - AUC {mean(r):.2e} on synthetic clips, "
        f"{mean(plain[0]):.2e} without"
        for r in rows
        if plain and r["group"] == "distillation" and mean(r) >= mean(plain[0])
    ] + [
        f"{r['method']} ({r['setting']}): mean 1 - AUC {mean(r):.2f}, as by chance"
        for r in rows
        if mean(r) > CHANCE
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures every compression method.")
    add_corpus_arguments(parser)
    parser.add_argument(
        "--build", type=Path, required=True, help="a finished build, for its teacher"
    )
    parser.add_argument("--output", type=Path, required=True, help="table to write, JSON")
    parser.add_argument("--scratch", type=Path, default=Path("build/laboratory"))
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of every recipe")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    return command(run, parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
