"""Sections of the page: what the laboratory and the search found, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from train_host.chart import Axis, log_axis, mark
from train_host.findings import Laboratory, Method, Search, counted
from train_host.page_markup import Markup, mean, plain, table
from train_host.table import Row

GROUPS = ("real", "synthetic")


def methods(laboratory: Laboratory | None) -> str:
    """The table of every method: what it costs, what it does."""
    if laboratory is None:
        return "<p>Not measured: there is no models/laboratory.json (`make methods` writes it).</p>"
    start = next((row for row in laboratory.rows if row.group == "start"), None)
    groups = [g for g in GROUPS if any(g in m.one_minus_auc for m in laboratory.rows)]
    axes = {
        group: log_axis(
            "", [gap for m in laboratory.rows for gap in m.one_minus_auc.get(group, ())], plain
        )
        for group in groups
    }
    bodies: dict[str, list[Row]] = {}
    for method in laboratory.rows:
        cells = [
            method.method,
            _beside(method.setting, method.note),
            f"{method.parameters:,}",
            _beside(f"{method.macs_clip:,}", _fewer(start, method, lambda m: m.macs_clip)),
            _beside(f"{method.bytes_onnx:,}", _fewer(start, method, lambda m: m.bytes_onnx)),
        ]
        for group in groups:
            gaps = method.one_minus_auc.get(group)
            if gaps is None:
                cells += ["-", ""]
                continue
            cells.append(_beside(f"{mean(gaps):.2e}", f"{min(gaps):.1e} to {max(gaps):.1e}"))
            reference = start.one_minus_auc.get(group) if start else None
            cells.append(_strip(axes[group], gaps, mean(reference) if reference else None))
        bodies.setdefault(method.group, []).append(Row(str(method.number), tuple(cells)))
    names = ["", "method", "setting", "parameters", "MACs", "bytes"]
    for group in groups:
        names += [f"1 - AUC, {group}", ""]
    explained = (
        "1 - AUC is the mean of the seeds, below it the best and the worst seed, which the bar "
        "beside it spans on a logarithmic scale, the worse the further right."
    )
    if start:
        explained += (
            f" The upright line is {start.method}, the start, with which ÷ compares MACs and bytes."
        )
    return f"<p>{escape(f'Measured {laboratory.conditions}. {explained}')}</p>" + table(
        names, list(bodies.items()), text_columns=3
    )


def _strip(axis: Axis, gaps: Sequence[float], reference: float | None) -> Markup:
    """A mark for the mean, a bar from the best to the worst seed, a line for the start."""
    low, middle, high = (5 + 110 * axis.share(gap) for gap in (min(gaps), mean(gaps), max(gaps)))
    line = ""
    if reference is not None:
        at = 5 + 110 * axis.share(reference)
        line = f'<path class="axis" d="M{at:.1f} 0V28"/>'
    return Markup(
        f'<svg class="strip" viewBox="0 0 120 28" aria-hidden="true">{line}'
        f'<path class="spread method" d="M{low:.1f} 14H{high:.1f}"/>'
        f'<g class="mark method">{mark("method", middle, 14)}</g></svg>'
    )


def _beside(figure: str, small: str) -> Markup:
    return Markup(f"{escape(figure)}<small>{escape(small)}</small>")


def _fewer(start: Method | None, method: Method, of: Callable[[Method], int]) -> str:
    return f"÷ {of(start) / of(method):.2f}" if start and of(method) else ""


def did_not_help(laboratory: Laboratory | None) -> str:
    if laboratory is None:
        return "<p>Not measured: there is no models/laboratory.json.</p>"
    lines = "".join(f"<li>{escape(line)}</li>" for line in laboratory.did_not_help)
    return f"<p>{escape(f'Measured {laboratory.conditions}.')}</p><ul>{lines}</ul>"


def search(found: Search | None) -> str:
    """What the search tried, and the settings on its front."""
    if found is None:
        return "<p>Not run: there is no models/search.json (`make search` writes it).</p>"
    best = sorted((t for t in found.complete if t.front), key=lambda t: t.macs_clip)
    rows = [
        Row(
            str(trial.number),
            (
                trial.label,
                f"{trial.macs_clip:,}",
                f"{trial.bytes_onnx:,}",
                "-" if trial.one_minus_auc is None else f"{trial.one_minus_auc:.2e}",
            ),
        )
        for trial in best
    ]
    pruned = len(found.trials) - len(found.complete)
    return (
        f"<p>{escape(counted(len(found.trials), 'trial'))}, {pruned:,} of them ended early. "
        f"{escape(found.conditions)}. The front: no other trial is at least as good in MACs, bytes "
        "and 1 - AUC and better in one.</p>"
        + table(["trial", "setting", "MACs", "bytes", "1 - AUC"], [("", rows)], text_columns=2)
    )
