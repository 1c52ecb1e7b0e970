"""Writes report.html, the page to look at: one file that needs nothing else.

    python -m train_host.page --build build/sheila

It measures nothing: figures come from KEYWORD.table.json, scores from
scores.npz, training curves from the checkpoints, the evaluation on continuous
audio from evaluation.json, the comparison with other spotters from peers.json,
and the findings of the laboratory and the search from laboratory.json and
search.json, which lie in the build folder or else in models/.
"""

from __future__ import annotations

import argparse
import math
import sys
from html import escape
from pathlib import Path
from typing import Any

from sklearn.metrics import roc_curve

from train_host.chart import Axis, Line, chart, linear_axis, log_axis
from train_host.findings import counted
from train_host.page_contents import NETWORKS, Contents, read_contents
from train_host.page_evaluation import evaluation_section
from train_host.page_front import front
from train_host.page_markup import document, legend, percent, plain, short, table
from train_host.page_methods import did_not_help, methods, search
from train_host.page_peers import peers_section
from train_host.stores import command, console
from train_host.table import export_rows, headings, notes, result_sections

MODELS = Path(__file__).resolve().parents[1] / "models"


def write_page(build: Path, models: Path = MODELS) -> Path:
    """Writes report.html into the build folder and returns its path."""
    path = build / "report.html"
    path.write_text(render(read_contents(build, models)), encoding="utf-8")
    return path


def render(contents: Contents) -> str:
    """The page's text."""
    title = f"kws-pi: {contents.name}"
    base = contents.figures["columns"]["base"]
    sections = (
        ("Quality against cost", front(contents)),
        ("Result table", result_tables(contents.figures)),
        ("Misses against false accepts (DET)", errors(contents)),
        ("Continuous audio", evaluation_section(contents.evaluation)),
        ("Beside other spotters", peers_section(contents.comparison)),
        ("Training", training(contents)),
        ("Every method by itself", methods(contents.laboratory, base)),
        ("Tried, and did not help", did_not_help(contents.laboratory)),
        ("Search", search(contents.search)),
    )
    body = "".join(f"<section><h2>{escape(name)}</h2>{text}</section>" for name, text in sections)
    return document(title, f"<h1>{escape(title)}</h1>{summary(contents)}{body}")


def summary(contents: Contents) -> str:
    """Where the figures come from, what the model does, and the four figures that matter."""
    figures, manifest = contents.figures, contents.manifest
    detection, expected = manifest.detection, manifest.training.get("expected")
    step_ms = 1000 * manifest.step_samples / manifest.front_end.sample_rate
    card = (
        f"The student reports {escape(figures['keyword'])} when its probability, the mean of "
        f"{counted(detection.smoothing_steps, 'step')} of {step_ms:g} ms, reaches "
        f"{detection.threshold:g}."
    )
    if expected:
        card += (
            f" On validation recordings this gave "
            f"{counted(expected['false_accepts'], 'false accept')} in {expected['hours']:.2f} h of "
            f"{escape(expected['negatives'])}"
        )
        if "noise_hours" in expected:
            card += f", none in {expected['noise_hours']:.2f} h of noise and music"
        if "missed" in expected:
            keywords = counted(expected["keywords"], "keyword")
            card += f" and missed {expected['missed']:,} of {keywords}"
        card += "."
    student, base = figures["columns"]["student"], figures["columns"]["base"]
    macs, size = student["macs_clip"], student["bytes_onnx"]
    tiles = [
        (
            "MACs, 1 s clip",
            f"{macs:,}",
            f"{base['macs_clip'] / macs:.2f} times fewer than the base's {base['macs_clip']:,}",
        ),
        (
            "bytes, .onnx",
            f"{size:,}",
            f"{base['bytes_state_dict'] / size:.2f} times fewer than the base's state dict, "
            f"{base['bytes_state_dict']:,}",
        ),
    ]
    for group, quality in student["quality"].items():
        low, high = quality["one_minus_auc_interval"]
        tiles.append(
            (
                f"1 - AUC, {group} clips",
                f"{quality['one_minus_auc']:.2e}",
                f"95 %: {low:.2e} to {high:.2e}; base "
                f"{base['quality'][group]['one_minus_auc']:.2e}",
            )
        )
    shown = "".join(
        f"<li><span>{escape(name)}</span><strong>{value}</strong><small>{escape(note)}</small></li>"
        for name, value, note in tiles
    )
    return (
        f'<p class="origin">Measured {escape(figures["date"])} on {escape(figures["machine"])}. '
        f"Corpus: {escape(figures['corpus']['name'])}.</p><p>{card}</p>"
        f'<ul class="tiles">{shown}</ul>'
    )


def result_tables(figures: dict[str, Any]) -> str:
    """The result table and that of the exported files, as on the console."""
    bodies = [(section.heading, section.rows) for section in result_sections(figures)]
    names, rows = export_rows(figures)
    return (
        table(["", *headings(figures)], bodies)
        + "".join(f"<p>{escape(note)}</p>" for note in notes(figures))
        + "<h3>Exported files</h3>"
        + table(names, [("", rows)], text_columns=2)
    )


def errors(contents: Contents) -> str:
    """Share of keywords missed against share of other words accepted (DET), for each group."""
    is_keyword, is_real = contents.scores["is_keyword"], contents.scores["is_real"]
    charts = []
    for group, counts in contents.figures["columns"]["student"]["quality"].items():
        rows = is_real if group == "real" else ~is_real
        lines = []
        for name in NETWORKS:
            false, true, _ = roc_curve(is_keyword[rows], contents.scores[name][rows])
            pairs = list(zip(false.tolist(), (1 - true).tolist(), strict=True))
            lines.append(Line(pairs, name, name, step=True))
        charts.append(
            chart(
                f"{group} clips: {counts['keywords']:,} keyword, {counts['others']:,} other",
                # Half a clip stands for none at all, which a logarithm cannot show.
                Axis("other words accepted", 0.5 / counts["others"], 1, True, percent),
                linear_axis("keywords missed", [1.0], percent),
                [],
                lines,
            )
        )
    return (
        f'<div class="charts">{"".join(charts)}</div>{legend(lines=[(n, n) for n in NETWORKS])}'
        "<p>For every threshold, which share of the keywords is missed and which share of the "
        "other words is accepted, the latter on a logarithmic axis. The left edge is none.</p>"
    )


def training(contents: Contents) -> str:
    """The loss by step of each network that was trained here."""
    charts = []
    for name, curve in contents.curves.items():
        finite = [pair for pair in curve if all(map(math.isfinite, pair)) and pair[1] > 0]
        charts.append(
            chart(
                f"{name}: mean loss of every 50 steps",
                linear_axis("step", [step for step, _ in finite], short),
                log_axis("loss", [loss for _, loss in finite], plain),
                [],
                [Line(finite, name, name)],
            )
        )
    absent = [name for name in NETWORKS if name not in contents.curves]
    note = f" {' and '.join(absent).capitalize()}: not trained in this run." if absent else ""
    return (
        f'<div class="charts">{"".join(charts)}</div><p>Each network has its own loss (the '
        f"student's adds what it learns from the teacher), so heights do not compare.{note}</p>"
    )


def run(args: argparse.Namespace) -> None:
    path = write_page(args.build, args.models)
    console.print(f"The page to look at: {path}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes the report's page again, from its figures.")
    parser.add_argument("--build", type=Path, required=True, help="folder of a measured model")
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder of laboratory.json and search.json"
    )
    return command(run, parser.parse_args(arguments), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
