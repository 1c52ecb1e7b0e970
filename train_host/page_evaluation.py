"""The page's section on continuous audio: the DET curve and the tables of an evaluation.

    python -m train_host.page_evaluation build/sheila

makes evaluation.html of a folder's evaluation.json; the report's page has the
same section.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

from device.errors import ExportError
from train_host.chart import Axis, Line, Point, chart, linear_axis
from train_host.evaluation_figures import FILE, KINDS, Evaluation, System, read_evaluation
from train_host.evaluation_table import explanations, tables
from train_host.page_markup import document, legend, percent, plain, table
from train_host.stores import command, console
from train_host.tape_conditions import CLEAN

COLOURS = 6
"""Lines that the page's style can tell apart; further ones begin again."""
LEAST_SPAN = 10.0
"""The axis of false accepts spans at least this factor."""


def write_evaluation_page(folder: Path) -> Path:
    """Writes evaluation.html of the folder's evaluation.json and returns its path.

    Raises ExportError when it is not there.
    """
    found = read_evaluation(folder / FILE)
    if found is None:
        raise ExportError(f"{folder / FILE}: no evaluation; run `make evaluate` first")
    path = folder / "evaluation.html"
    title = f"kws-pi: {found.keyword} in continuous audio"
    body = f"<h1>{escape(title)}</h1>{evaluation_section(found)}"
    path.write_text(document(title, body), encoding="utf-8")
    return path


def evaluation_section(found: Evaluation | None) -> str:
    """DET curves, tables, and how to read them."""
    if found is None:
        return "<p>Not measured: there is no evaluation.json (`make evaluate` writes it).</p>"
    charts = [
        _det(found, kind) for kind in KINDS if any(s.own.row(CLEAN, kind) for s in found.systems)
    ]
    names = [(f"system-{i % COLOURS}", s.name) for i, s in enumerate(found.systems)]
    shown = "".join(
        f"<h3>{escape(each.title)}</h3>{table(['', *each.names], [('', each.rows)])}"
        for each in tables(found)
    )
    return (
        f'<p class="origin">Measured {escape(found.date)} on {escape(found.machine)}.</p>'
        f'<div class="charts">{"".join(charts)}</div>{legend(lines=names)}'
        "<p>Each line is a threshold swept over the traces of one system: the share of keywords "
        "missed on the clean tape against false accepts an hour in the negatives, on a "
        "logarithmic axis whose left edge is none. The mark is where the system stands with the "
        "threshold that it comes with; the bars through it are the 95 % intervals.</p>"
        + shown
        + "".join(f"<p>{escape(line)}</p>" for line in explanations(found))
    )


def _det(found: Evaluation, kind: str) -> str:
    hours = max(system.hours for system in found.systems)
    most = max(
        (p.false_accepts / s.hours for s in found.systems for p in s.curve if s.hours), default=1.0
    )
    # Half a false accept stands for none at all, which a logarithm cannot show.
    none = 0.5 / hours if hours else 0.5
    axis = Axis(
        "false accepts an hour", none, max(min(most, 1000.0), LEAST_SPAN * none), True, plain
    )
    lines, points = [], []
    for number, system in enumerate(found.systems):
        name = f"system-{number % COLOURS}"
        lines.append(Line(_pairs(system, kind), name, system.name, step=True))
        row = system.own.row(CLEAN, kind)
        if row and system.hours:
            points.append(
                Point(
                    system.own.negatives.per_hour,
                    row.rate,
                    name,
                    f"{system.name} at its own threshold: {row.missed} of {row.keywords} missed, "
                    f"{system.own.negatives.count} false accepts in {system.hours:.2f} h",
                    spread=row.interval,
                    spread_x=system.own.negatives.interval,
                )
            )
    said = next(row for s in found.systems if (row := s.own.row(CLEAN, kind)))
    return chart(
        f"{kind} keywords: {said.keywords:,} ({said.clips:,} clips by {said.speakers:,} speakers), "
        f"{hours:.2f} h of negatives",
        axis,
        linear_axis("keywords missed", [1.0], percent),
        points,
        lines,
    )


def _pairs(system: System, kind: str) -> list[tuple[float, float]]:
    """The curve as (false accepts an hour, share missed), from few false accepts to many.

    The most that is found with no more false accepts: a lower threshold can
    give fewer detections, where one runs into the next.
    """
    best: dict[float, float] = {}
    lowest = 1.0
    for point in sorted(system.curve, key=lambda p: (p.false_accepts, -p.threshold)):
        lowest = min(lowest, point.missed.get(kind, 1.0))
        best[point.false_accepts / system.hours if system.hours else 0.0] = lowest
    return list(best.items())


def run(args: argparse.Namespace) -> None:
    console.print(f"The page to look at: {write_evaluation_page(args.folder)}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes the evaluation's page again.")
    parser.add_argument("folder", type=Path, help="folder of evaluation.json")
    return command(run, parser.parse_args(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
