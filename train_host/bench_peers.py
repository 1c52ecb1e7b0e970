"""What it costs to listen, ours beside microWakeWord and openWakeWord: `make bench-peers`.

    python -m train_host.bench_peers [--model MODEL.json] [--instructions]

No tapes are needed: this is the table of costs of `make evaluate-peers`
alone, of every shipped model, in a minute.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from device.model import MODEL_FOLDERS, manifests_in
from train_host.comparison import COST_NAMES, COST_TITLE, cost_rows
from train_host.evaluation import console, print_table
from train_host.machine import machine
from train_host.peers import open_peer, peers_for
from train_host.spotter_cost import ROUNDS, SECONDS, cost_note, measure, our_subject, peer_subject
from train_host.stores import command

KEYWORD = "alexa"
"""A word that both packages carry a model for."""


def run(args: argparse.Namespace) -> None:
    """Raises SetupError when a package is not installed, and what `measure` raises."""
    paths = args.model or manifests_in(MODEL_FOLDERS[0])
    peers = [open_peer(package, KEYWORD) for package in peers_for(KEYWORD)]
    subjects = [our_subject(path, path.stem) for path in paths]
    subjects += [peer_subject(peer, KEYWORD) for peer in peers]
    with console.status("starting a process for each spotter") as status:
        costs = measure(subjects, SECONDS, ROUNDS, status.update, args.instructions)
    print_table(COST_TITLE, COST_NAMES, cost_rows(costs))
    console.print(f"{cost_note(ROUNDS, SECONDS)} {machine()}.", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What ours and the peers take to listen.")
    parser.add_argument(
        "--model", type=Path, action="append", help="manifest to measure in place of the shipped"
    )
    parser.add_argument("--instructions", action="store_true", help="count instructions as well")
    return command(run, parser.parse_args(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
