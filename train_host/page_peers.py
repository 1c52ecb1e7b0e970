"""The page's section on other people's spotters: their DET curves, tables and costs beside ours.

    python -m train_host.page_peers build/alexa

makes peers.html of a folder's peers.json; the report's page has the same section.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

from device.errors import ExportError
from train_host.comparison import (
    COST_NAMES,
    COST_TITLE,
    FILE,
    Comparison,
    cost_rows,
    read_comparison,
)
from train_host.page_evaluation import evaluation_section
from train_host.page_markup import document, table
from train_host.stores import command, console


def write_peers_page(folder: Path) -> Path:
    """Writes peers.html of the folder's peers.json and returns its path.

    Raises ExportError when it is not there.
    """
    found = read_comparison(folder / FILE)
    if found is None:
        raise ExportError(f"{folder / FILE}: no comparison; run `make evaluate-peers` first")
    path = folder / "peers.html"
    title = f"kws-pi and its peers: {found.evaluation.keyword}"
    body = f"<h1>{escape(title)}</h1>{peers_section(found)}"
    path.write_text(document(title, body), encoding="utf-8")
    return path


def peers_section(found: Comparison | None) -> str:
    """The evaluation of all spotters on the same tapes, and what each takes."""
    if found is None:
        return "<p>Not measured: there is no peers.json (`make evaluate-peers` writes it).</p>"
    return (
        evaluation_section(found.evaluation)
        + f"<h3>{escape(COST_TITLE)}</h3>"
        + table(["", *COST_NAMES], [("", cost_rows(found.costs))])
        + f"<p>{escape(found.cost_note)}</p>"
    )


def run(args: argparse.Namespace) -> None:
    console.print(f"The page to look at: {write_peers_page(args.folder)}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes the page of a comparison again.")
    parser.add_argument("folder", type=Path, help="folder of peers.json")
    return command(run, parser.parse_args(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
