"""Searches shapes and recipes for students that cost little and spot well.

    python -m train_host.search --build build/sheila --output build/sheila/search.json \
        --keyword sheila --data DIR --speech DIR --noise DIR --synthetic DIR --trials 60

An Optuna study with three objectives to minimise: MACs of a one-second clip,
bytes of the .onnx file, and 1 - AUC. Trials are added to the study in
`--storage`, any URL that Optuna takes, by default an SQLite file beside the
output: a search that broke off goes on, and many machines can share one study.
The front is printed and written, with every trial, for the report page.

The last objective ranks on validation speakers and held-out synthetic voices:
keywords by those voices against all that is not the keyword. Real keywords of
the validation split, few and precious, are left out, so that figures on them
are not chosen for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
from rich.table import Table

from device.errors import SetupError
from export.storage import deployed
from train_host.evaluate import stream_scores
from train_host.laboratory import Bench, cores_and_machine, prepare
from train_host.macs import count_macs
from train_host.metrics import one_minus_auc
from train_host.network import Network
from train_host.recipe import Recipe, parse_recipe
from train_host.stores import add_corpus_arguments, command, console

STEPS = 500
TRIALS = 60
MOST_MACS = 80_000
MOST_BYTES = 16_384
FIRST_LOOK = 0.25
"""After this share of the steps a trial is given up ..."""
HOPELESS = 2.0
"""... if one that costs no more was better by this factor by then."""
OBJECTIVE = "1 - AUC of held-out synthetic voices against all validation clips without the keyword"


def propose(trial: optuna.Trial) -> Recipe:
    """A recipe: a shape, what it learns from, and whether it is cut down to it or born in it."""
    hidden = trial.suggest_int("hidden", 8, 28, step=2)
    channels = trial.suggest_int("channels", 8, 32, step=2)
    attention = trial.suggest_categorical("attention", ["flat", "deep"])
    shape: dict[str, Any] = {
        "convolution": "separable",
        "channels": channels,
        "hidden": hidden,
        "layers": 1,
        "attention": attention,
        "kernel": [5, trial.suggest_categorical("frames", [12, 14, 16, 20, 22, 30])],
        "window": trial.suggest_categorical("window", [8, 12, 16]),
    }
    if attention == "deep":
        shape["attention_width"] = trial.suggest_int("attention_width", 4, 16, step=4)
    rate = trial.suggest_float("rate", 2e-3, 1e-2, log=True)
    distil = []
    if trial.suggest_categorical("soft_labels", [False, True]):
        distil.append(
            {
                "term": "stream-soft-labels",
                "temperature": trial.suggest_categorical("temperature", [1.0, 2.0, 4.0]),
                "weight": trial.suggest_float("weight", 0.1, 2.0, log=True),
            }
        )
    stages: list[dict[str, Any]] = [{"method": "train", "steps": 6, "rate": rate}]
    if trial.suggest_categorical("cut_down", [False, True]):
        shape |= {"channels": channels * 3 // 2, "hidden": hidden * 3 // 2}
        stages += [
            {"method": "prune-channels", "keep": channels, "steps": 1, "rate": rate / 2},
            {"method": "prune-hidden", "keep": hidden, "steps": 2, "rate": rate / 2},
        ]
    if trial.suggest_categorical("quantize_aware", [False, True]):
        parts = ["convolution", "gru", "linear"]
        stages.append({"method": "quantize-aware", "parts": parts, "steps": 1, "rate": rate / 4})
    return parse_recipe(
        f"trial-{trial.number}",
        {"shape": shape, "stage": [stage | {"distil": distil} for stage in stages]},
    )


def final_network(recipe: Recipe) -> Network:
    """An untrained network of the shape that the recipe ends with, to count its cost."""
    keep = {stage.method: stage.settings.get("keep") for stage in recipe.stages}
    shape = recipe.shape
    assert shape is not None  # every trial says its own
    return Network(
        replace(
            shape,
            channels=keep.get("prune-channels") or shape.channels,
            hidden=keep.get("prune-hidden") or shape.hidden,
        )
    )


def gap(bench: Bench, network: Network) -> float:
    """The objective `OBJECTIVE` of a network."""
    stores = bench.stores
    scores = stream_scores(network, stores.validation)
    keywords = stores.is_keyword & ~stores.is_real
    if not keywords.any():  # a corpus without synthetic voices
        keywords = stores.is_keyword
    return one_minus_auc(scores[keywords], scores[~stores.is_keyword])


class Objective:
    """Carries out one trial."""

    def __init__(self, bench: Bench, steps: int) -> None:
        self.bench, self.steps = bench, steps

    def __call__(self, trial: optuna.Trial) -> tuple[float, float, float]:
        """MACs, bytes, 1 - AUC. Raises TrialPruned for what is too large or hopeless."""
        recipe = propose(trial)
        sketch = final_network(recipe)
        macs, size = count_macs(sketch), deployed(sketch, recipe.storage)[1]
        trial.set_user_attr("macs_clip", macs)
        trial.set_user_attr("bytes_onnx", size)
        if macs > MOST_MACS or size > MOST_BYTES:
            raise optuna.TrialPruned
        early = self._run(recipe, max(1, round(FIRST_LOOK * self.steps)))
        trial.set_user_attr("early", early)
        if self._is_hopeless(trial.study, macs, size, early):
            raise optuna.TrialPruned
        return macs, size, self._run(recipe, self.steps)

    def _run(self, recipe: Recipe, steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            network = self.bench.make(recipe, 0, steps, Path(folder))
        return gap(self.bench, deployed(network, recipe.storage)[0])

    def _is_hopeless(self, study: optuna.Study, macs: int, size: int, early: float) -> bool:
        # Optuna's own pruners know one objective only.
        return any(
            t.user_attrs["macs_clip"] <= macs
            and t.user_attrs["bytes_onnx"] <= size
            and t.user_attrs["early"] * HOPELESS < early
            for t in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        )


def label(params: dict[str, Any]) -> str:
    """A trial in a few characters: channels x units, frames; what it did."""
    words = [f"{params['channels']}x{params['hidden']}", f"k{params['frames']}"]
    words += [word for key, word in MARKS.items() if params.get(key)]
    return " ".join(words)


MARKS = {"soft_labels": "KD", "cut_down": "cut", "quantize_aware": "QAT"}


def summarise(study: optuna.Study, words: str, steps: int) -> dict[str, Any]:
    """The study as the report page reads it."""
    front = {trial.number for trial in study.best_trials}
    trials = []
    for trial in study.get_trials(deepcopy=False):
        complete = trial.state == optuna.trial.TrialState.COMPLETE
        value = trial.values[2] if complete else trial.user_attrs.get("early")
        if value is None:  # too large, or under way elsewhere
            continue
        trials.append(
            {
                "number": trial.number,
                "label": label(trial.params),
                "macs_clip": trial.user_attrs["macs_clip"],
                "bytes_onnx": trial.user_attrs["bytes_onnx"],
                "one_minus_auc": value,
                "front": trial.number in front,
                "state": "complete" if complete else "pruned",
                "settings": trial.params,
            }
        )
    return {
        "machine": cores_and_machine(),
        "corpus": words,
        "steps": steps,
        "objective": OBJECTIVE,
        "trials": trials,
    }


def show(content: dict[str, Any]) -> None:
    """Prints the front, cheapest first."""
    table = Table(title="The front: what no other trial beats in all three", title_justify="left")
    for heading in ("trial", "setting", "MACs, 1 s clip", "bytes, .onnx", "1 - AUC"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    front = [trial for trial in content["trials"] if trial["front"]]
    for trial in sorted(front, key=lambda t: t["macs_clip"]):
        table.add_row(
            str(trial["number"]),
            trial["label"],
            f"{trial['macs_clip']:,}",
            f"{trial['bytes_onnx']:,}",
            f"{trial['one_minus_auc']:.2e}",
        )
    console.print(table)
    states = [trial["state"] for trial in content["trials"]]
    console.print(
        f"{states.count('complete')} trials complete, {states.count('pruned')} given up early."
    )


def open_study(args: argparse.Namespace) -> optuna.Study:
    """The study in the storage, made if it is not there.

    Raises SetupError when the storage cannot be opened.
    """
    storage = args.storage or f"sqlite:///{args.output.with_suffix('.db').resolve()}"
    name = f"kws-pi-{args.keyword}-{args.steps}"
    try:
        return optuna.create_study(
            study_name=name,
            storage=storage,
            load_if_exists=True,
            directions=["minimize"] * 3,
            sampler=optuna.samplers.TPESampler(seed=args.seed + os.getpid(), n_startup_trials=16),
        )
    except Exception as error:  # whatever the driver of a database raises
        reason = str(error).splitlines()[0]
        raise SetupError(
            f"{storage}: cannot be opened as an Optuna storage ({reason}); "
            "give STORAGE= a URL such as sqlite:////home/me/study.db"
        ) from error


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(args)
    bench, words = prepare(args)
    with console.status("searching") as status:

        def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            status.update(f"searching: {len(study.get_trials(deepcopy=False))} trials")
            write(summarise(study, words, args.steps), args.output)

        study.optimize(
            Objective(bench, args.steps),
            n_trials=args.trials,
            timeout=args.timeout,
            callbacks=[tell],
        )
    content = summarise(study, words, args.steps)
    write(content, args.output)
    show(content)
    console.print(f"Every trial: {args.output}")


def write(content: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Searches shapes and recipes for students.")
    add_corpus_arguments(parser)
    parser.add_argument("--build", type=Path, required=True, help="a finished build")
    parser.add_argument("--output", type=Path, required=True, help="trials to write, JSON")
    parser.add_argument("--storage", help="URL of an Optuna storage; default: SQLite by the output")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of a trial")
    parser.add_argument("--trials", type=int, default=TRIALS, help="how many more")
    parser.add_argument("--timeout", type=float, help="seconds after which no trial begins")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    return command(run, parse(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
