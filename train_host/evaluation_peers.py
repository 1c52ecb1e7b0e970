"""`make evaluate-peers`: our models and other people's on the same tapes, for one word.

    python -m train_host.evaluation_peers --keyword alexa --positives alexa --negatives dev-clean

The tapes, rates and plots are those of `make evaluate` (`train_host/evaluation.py`),
and the options too; with `--folds` the peers hear what each fold held out. CPU,
memory and bytes are measured beside each other in the same run. It prints
tables and writes peers.json and peers.html; the report's page of the same
folder shows them too.

Models of ours that listen for another word only show what they cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from device.errors import ManifestError
from device.manifest import read_manifest
from device.model import MODEL_FOLDERS, default_manifest, manifests_in
from train_host.comparison import (
    COST_NAMES,
    COST_TITLE,
    FILE,
    Comparison,
    cost_rows,
    with_costs,
)
from train_host.evaluation import (
    add_arguments,
    console,
    evaluate_folds,
    folded_name,
    open_models,
    print_table,
    show,
    side_by_side,
)
from train_host.evaluation_figures import Evaluation
from train_host.kept_traces import KeptPeer
from train_host.keyword import slug, spoken
from train_host.page import write_page
from train_host.page_peers import write_peers_page
from train_host.peers import REARM, REFRACTORY_S, open_peer, peers_for
from train_host.spotter_cost import (
    ROUNDS,
    SECONDS,
    Cost,
    Subject,
    cost_note,
    measure,
    our_subject,
    peer_subject,
)
from train_host.stores import command
from train_host.table import find_manifest

TRACES = "peer-traces"
"""Folder of the peers' traces."""


def our_models(keyword: str, given: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Manifests of ours: those that listen for the word, and those that only show their cost.

    Where none is given, the shipped ones. Raises ManifestError when one cannot be read.
    """
    paths = given or [*manifests_in(MODEL_FOLDERS[0]), default_manifest()]
    listening: list[Path] = []
    others: list[Path] = []
    for path in dict.fromkeys(paths):
        (listening if read_manifest(path).keyword == keyword else others).append(path)
    return listening, others


def compare_models(args: argparse.Namespace, peers: Sequence[KeptPeer]) -> Comparison:
    """Our models, as they are, beside the peers."""
    listening, others = our_models(args.keyword, args.model)
    ours = open_models(listening)
    subjects = [
        our_subject(path, listener.name) for path, listener in zip(listening, ours, strict=True)
    ]
    subjects += [
        our_subject(path, f'{path.stem} (for "{read_manifest(path).keyword}")') for path in others
    ]
    costs = costs_of(subjects, peers, args)
    return comparison(side_by_side(args.keyword, [*ours, *peers], args), costs, peers)


def compare_folds(args: argparse.Namespace, peers: Sequence[KeptPeer]) -> Comparison:
    """The models of a cross-fitting beside the peers, on what each fold held out."""
    paths = {path.stem: path for path in map(find_manifest, args.folds)}
    folds = Counter(find_manifest(folder).stem for folder in args.folds)
    for path in paths.values():
        if read_manifest(path).keyword != args.keyword:
            raise ManifestError(
                f"{path}: listens for {read_manifest(path).keyword!r} and not for "
                f"{args.keyword!r}; give KEYWORD= with the folds' word"
            )
    costs = costs_of(
        [our_subject(path, folded_name(name, folds[name])) for name, path in paths.items()],
        peers,
        args,
    )
    return comparison(evaluate_folds(args, peers), costs, peers)


def costs_of(
    ours: Sequence[Subject], peers: Sequence[KeptPeer], args: argparse.Namespace
) -> tuple[Cost, ...]:
    """What ours and the peers take, measured in one run."""
    subjects = [*ours, *(peer_subject(peer.peer, peer.word) for peer in peers)]
    with console.status("starting a process for each spotter") as status:
        return measure(subjects, SECONDS, ROUNDS, status.update, args.instructions)


def comparison(
    evaluation: Evaluation, costs: Sequence[Cost], peers: Sequence[KeptPeer]
) -> Comparison:
    """Everything in one, with what is to be known of the peers."""
    packages = " and ".join(f"{peer.name} is {peer.peer.version}" for peer in peers)
    note = (
        f"{packages}, with the model that the package carries. Its own smoothing counts; a word is "
        f"reported once, as by our detector (again after {REFRACTORY_S:g} s, and below {REARM:g} "
        "of the threshold). What the peers were trained on is not known here."
    )
    notes = (*evaluation.notes, note)
    return Comparison(
        with_costs(dataclasses.replace(evaluation, notes=notes), costs),
        tuple(costs),
        f"{cost_note(ROUNDS, SECONDS)} {evaluation.machine}.",
    )


def run(args: argparse.Namespace) -> None:
    """Raises SetupError when the packages are not installed or none knows the word, KeywordError
    when the keyword is no words, and what `measure`, `side_by_side` and `evaluate_folds` raise.
    """
    args.keyword = spoken(args.keyword)
    peers = [
        KeptPeer(open_peer(package, args.keyword), args.keyword, args.output / TRACES)
        for package in peers_for(args.keyword)
    ]
    found = (compare_folds if args.folds else compare_models)(args, peers)
    folder = args.output / slug(args.keyword)
    found.write(folder / FILE)
    show(found.evaluation)
    print_table(COST_TITLE, COST_NAMES, cost_rows(found.costs))
    console.print(found.cost_note, highlight=False)
    page = write_peers_page(folder)
    console.print(f"The figures as JSON: {folder / FILE}", soft_wrap=True)
    console.print(f"The page to look at: {page}", soft_wrap=True)
    if (folder / "report.html").is_file():
        console.print(f"The report with it: {write_page(folder)}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train_host.evaluation_peers",
        description="Our models and other people's on the same tapes.",
    )
    add_arguments(parser)
    parser.add_argument("--instructions", action="store_true", help="count instructions as well")
    parser.set_defaults(keyword="alexa")
    return command(run, parser.parse_args(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
