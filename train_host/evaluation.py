"""`make evaluate`: judges models on hours of continuous audio, as a house would.

    python -m train_host.evaluation --negatives dev-clean --positives sheila --noise noise

The exported ONNX file hears tapes (`train_host/tape_conditions.py`) in the
device's own loop and detector; out come the DET curve of misses against false
accepts an hour, misses under every condition, and latency. It prints tables
and writes evaluation.json and evaluation.html; the report's page of the same
folder shows them too.

With `--folds` each model hears only what its own training held out, at the
threshold that the other folds' models need (`crossed`), and the counts are pooled.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as RichTable

from device.errors import CorpusError, ManifestError
from device.manifest import read_manifest
from device.model import MODEL_FOLDERS, default_manifest, manifests_in
from train_host.crossed import crossed
from train_host.evaluation_figures import FILE, Evaluation, Run, System, summarise
from train_host.evaluation_table import explanations, tables
from train_host.keyword import slug
from train_host.listening import Heard, Listener, SpotterListener, hear
from train_host.machine import machine
from train_host.page import write_page
from train_host.page_evaluation import write_evaluation_page
from train_host.stores import command
from train_host.table import Row, find_manifest
from train_host.tape_conditions import CONDITIONS, tapes
from train_host.tape_material import Material, deal_out, gather, read_fold

console = Console(width=max(110, Console().width))


def listen(
    listeners: Sequence[Listener],
    material: Material,
    say: Callable[[str], None],
    seed: int = 0,
) -> list[Run]:
    """Plays every tape to every listener; one run for each, in their order."""
    heard: list[list[Heard]] = [[] for _ in listeners]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("tapes", total=None)
        for tape in tapes(material, say, seed):
            for found, listener in zip(heard, listeners, strict=True):
                progress.update(task, description=f"{listener.name}: {tape.name}")
                found.append(hear(listener, tape))
    return [
        Run(listener.detection, tuple(found))
        for listener, found in zip(listeners, heard, strict=True)
    ]


def shipped_models(keyword: str) -> list[Path]:
    """The manifests beside their networks in models/ that listen for a keyword.

    Raises ManifestError when there is none.
    """
    paths = [*manifests_in(MODEL_FOLDERS[0]), default_manifest()]
    found = [path for path in dict.fromkeys(paths) if read_manifest(path).keyword == keyword]
    if not found:
        raise ManifestError(
            f"no shipped model listens for {keyword!r}; give the manifest of one with MODEL=FILE"
        )
    return found


def open_models(paths: Sequence[Path]) -> list[SpotterListener]:
    """Listeners for manifests of one keyword, by the names of their files.

    Raises ManifestError as `load_model` does, and when keywords or names clash.
    """
    listeners = [SpotterListener(path) for path in paths]
    keywords = {listener.keyword for listener in listeners}
    if len(keywords) > 1:
        raise ManifestError(
            f"the models listen for different keywords ({', '.join(sorted(keywords))}); "
            "evaluate those of one keyword at a time"
        )
    if len({listener.name for listener in listeners}) < len(listeners):
        for listener, path in zip(listeners, paths, strict=True):
            listener.name = f"{path.resolve().parent.name}/{path.stem}"
    return listeners


def evaluate_models(args: argparse.Namespace) -> Evaluation:
    """Models side by side on the same tapes."""
    listeners = open_models(args.model or shipped_models(args.keyword))
    return side_by_side(listeners[0].keyword, listeners, args)


def side_by_side(
    keyword: str, listeners: Sequence[Listener], args: argparse.Namespace
) -> Evaluation:
    """Listeners for one keyword on the same tapes, from the folders that the arguments name."""
    material = gather(
        keyword,
        args.positives,
        args.negatives,
        args.noise,
        args.impulses,
        held_out=args.held_out,
        warn=console.print,
    )
    _say_what(material)
    runs = listen(listeners, material, console.print, args.seed)
    systems = [summarise(each.name, [run]) for each, run in zip(listeners, runs, strict=True)]
    notes = []
    if not (args.positives and args.negatives and args.noise):
        notes.append(
            "The embedded corpus stands in for what was not given; it is small and synthetic, "
            "so its figures say little about a house."
        )
    if not args.held_out:
        notes.append(
            "What of these recordings the models were trained on flatters them; HELD_OUT=1 "
            "leaves out the running speech and noise that training with the same folders takes."
        )
    return _evaluation(keyword, material.origins, notes, systems)


def folded_name(name: str, folds: int) -> str:
    """What a system is called whose models heard what their folds held out."""
    return f"{name} (cross-fitted, {folds} folds)"


def evaluate_folds(args: argparse.Namespace, peers: Sequence[Listener] = ()) -> Evaluation:
    """Each fold's model on what it held out; models of one name are pooled.

    Positives are shared among the folds (`deal_out`). `peers` hear every fold
    once, with the models of the first name.
    """
    if args.model or args.negatives or args.noise or args.held_out:
        raise CorpusError(
            "each fold brings its own model and recordings; "
            "give FOLDS without MODEL, NEGATIVES, NOISE and HELD_OUT"
        )
    paths = [find_manifest(folder) for folder in args.folds]
    listeners = [SpotterListener(path) for path in paths]
    if len({listener.keyword for listener in listeners}) > 1:
        raise ManifestError("the folds' models listen for different keywords; train them again")
    materials = [read_fold(folder, args.impulses, console.print) for folder in args.folds]
    if args.positives:
        names = [listener.name for listener in listeners]
        keyword = listeners[0].keyword
        materials = deal_out(materials, names, args.positives, keyword, console.print)
    runs: dict[str, list[Run]] = {}
    seen: dict[str, set[Path]] = {}
    for listener, material, folder in zip(listeners, materials, args.folds, strict=True):
        clips = {clip.path for clip in (*material.keywords, *material.speech, *material.noise)}
        if clips & seen.setdefault(listener.name, set()):
            raise CorpusError(
                f"{folder}: holds out what another fold of {listener.name} holds out as well; "
                "give each fold once"
            )
        seen[listener.name] |= clips
        console.print(f"{folder.name}: {listener.name}")
        together: list[Listener] = [listener]
        if listener.name == listeners[0].name:
            together += peers
        for each, run in zip(
            together, listen(together, material, console.print, args.seed), strict=True
        ):
            runs.setdefault(each.name, []).append(run)
    others = [peer.name for peer in peers]
    systems = [
        summarise(folded_name(name, len(folds)), crossed(folds))
        for name, folds in runs.items()
        if name not in others
    ]
    systems += [summarise(name, runs[name]) for name in others]
    notes = [
        "Cross-fitted: each model heard only the part that its training, its hard negatives and "
        "its threshold had left out, and the counts are pooled. Each has "
        "the threshold that the other folds' models need together: half a false accept an hour "
        "in speech, none in noise. A model that is trained on everything was not measured: the "
        "pooled figure is not its own."
    ]
    return _evaluation(listeners[0].keyword, materials[0].origins, notes, systems)


def _evaluation(
    keyword: str, origins: dict[str, str], notes: Sequence[str], systems: Sequence[System]
) -> Evaluation:
    return Evaluation(
        keyword,
        time.strftime("%Y-%m-%d"),
        f"{machine()}, onnxruntime {onnxruntime.__version__}",
        origins,
        tuple(notes),
        tuple(systems),
    )


def _say_what(material: Material) -> None:
    for what, origin in material.origins.items():
        console.print(f"{what.capitalize()}: {origin}", highlight=False)
    console.print(
        f"{len(material.keywords):,} clips of the keyword, under {len(CONDITIONS)} conditions",
        highlight=False,
    )


def show(evaluation: Evaluation) -> None:
    """Prints every table and how to read them."""
    for each in tables(evaluation):
        print_table(each.title, each.names, each.rows)
    for line in explanations(evaluation):
        console.print(line, highlight=False)
    console.print(f"Measured with {evaluation.machine}.", highlight=False)


def print_table(title: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    """`names`: of the columns after the labels'."""
    table = RichTable(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.label, *row.cells)
    console.print(table)


def run(args: argparse.Namespace) -> None:
    evaluation = evaluate_folds(args) if args.folds else evaluate_models(args)
    folder = args.output / slug(evaluation.keyword)
    evaluation.write(folder / FILE)
    show(evaluation)
    page = write_evaluation_page(folder)
    console.print(f"The figures as JSON: {folder / FILE}", soft_wrap=True)
    console.print(f"The page to look at: {page}", soft_wrap=True)
    if (folder / "report.html").is_file():
        console.print(f"The report with it: {write_page(folder)}", soft_wrap=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what hears what; `side_by_side` and `evaluate_folds` take them."""

    def folders(option: str, text: str) -> None:
        parser.add_argument(
            option, type=Path, action="append", default=[], metavar="DIR", help=text
        )

    parser.add_argument("--keyword", default="sheila", help="which shipped models to take")
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a manifest; give it again for further models",
    )
    folders("--positives", "clips of the keyword, or a folder of synthetic voices")
    folders("--negatives", "recordings without the keyword")
    folders("--noise", "noise and music")
    folders("--impulses", "impulse responses of rooms")
    parser.add_argument(
        "--held-out", action="store_true", help="only speakers and sources kept out of training"
    )
    parser.add_argument(
        "--folds", type=Path, nargs="+", default=[], metavar="DIR", help="builds of the folds"
    )
    parser.add_argument("--output", type=Path, default=Path("build"), metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train_host.evaluation",
        description="Judges models on hours of continuous audio.",
    )
    add_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    return command(run, parse(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
