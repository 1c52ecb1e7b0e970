"""Sections of the page: what the laboratory and the search found, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from train_host.chart import Axis, log_axis, mark
from train_host.findings import Laboratory, Search, counted
from train_host.page_markup import Markup, mean, plain, table
from train_host.table import Row

DASHES = ("", "4 2", "1 2")
"""How the upright lines of the starts are drawn, in the order of their rows."""


def methods(laboratory: Laboratory | None, base: dict[str, Any]) -> str:
    """The table of every method: what it costs, what it does.

    `base` is the base's column of the result table, to which costs are compared.
    """
    if laboratory is None:
        return "<p>Not measured: there is no laboratory.json (`make methods` writes it).</p>"
    starts = [row for row in laboratory.rows if row.group == "start"][: len(DASHES)]
    groups = list(dict.fromkeys(group for row in laboratory.rows for group in row.one_minus_auc))
    axes = {
        group: log_axis(
            "", [gap for row in laboratory.rows for gap in row.one_minus_auc.get(group, ())], plain
        )
        for group in groups
    }
    bodies: dict[str, list[Row]] = {}
    for method in laboratory.rows:
        cells = [
            _beside(method.method, method.setting, method.note),
            f"{method.parameters:,}",
            _beside(f"{method.macs_clip:,}", f"÷ {base['macs_clip'] / method.macs_clip:.2f}"),
            _beside(
                f"{method.bytes_onnx:,}", f"÷ {base['bytes_state_dict'] / method.bytes_onnx:.2f}"
            ),
        ]
        for group in groups:
            gaps = method.one_minus_auc.get(group)
            if gaps is None:
                cells += ["-", ""]
                continue
            cells.append(_beside(f"{mean(gaps):.2e}", f"{min(gaps):.1e} to {max(gaps):.1e}"))
            marks = [mean(row.one_minus_auc[group]) for row in starts if group in row.one_minus_auc]
            cells.append(_strip(axes[group], gaps, marks))
        bodies.setdefault(method.group, []).append(Row(str(method.number), tuple(cells)))
    names = ["", "method", "parameters", "MACs", "bytes"]
    for group in groups:
        names += [f"1 - AUC, {group}", ""]
    explained = (
        "÷: how many times fewer than the base (its MACs; the bytes of its state dict). 1 - AUC is "
        "the mean of the seeds, below it the best and the worst seed, which the bar beside it "
        "spans on a logarithmic scale, the worse the further right."
    )
    if starts:
        explained += f" Upright lines: {', '.join(f'{row.number} {row.method}' for row in starts)}"
        styles = ", ".join(("solid", "dashed", "dotted")[: len(starts)])
        explained += f" ({styles})." if len(starts) > 1 else "."
    return (
        f"<p>{escape(f'Measured {laboratory.conditions}. {explained}')}</p>"
        f'<div class="methods">{table(names, list(bodies.items()), text_columns=2)}</div>'
    )


def _strip(axis: Axis, gaps: Sequence[float], starts: Sequence[float]) -> Markup:
    """A mark for the mean, a bar from the best to the worst seed, a line for each start."""
    low, middle, high = (5 + 110 * axis.share(gap) for gap in (min(gaps), mean(gaps), max(gaps)))
    lines = "".join(
        f'<path class="axis" stroke-dasharray="{dash}" d="M{5 + 110 * axis.share(gap):.1f} 0V28"/>'
        for gap, dash in zip(starts, DASHES, strict=False)
    )
    return Markup(
        f'<svg class="strip" viewBox="0 0 120 28" aria-hidden="true">{lines}'
        f'<path class="spread method" d="M{low:.1f} 14H{high:.1f}"/>'
        f'<g class="mark method">{mark("method", middle, 14)}</g></svg>'
    )


def _beside(cell: str, *below: str) -> Markup:
    return Markup(escape(cell) + "".join(f"<small>{escape(b)}</small>" for b in below if b))


def did_not_help(laboratory: Laboratory | None) -> str:
    if laboratory is None:
        return "<p>Not measured: there is no laboratory.json.</p>"
    lines = "".join(f"<li>{escape(line)}</li>" for line in laboratory.did_not_help)
    return f"<p>{escape(f'Measured {laboratory.conditions}.')}</p><ul>{lines}</ul>"


def search(found: Search | None) -> str:
    """What the search tried, and the settings on its front."""
    if found is None:
        return "<p>Not run: there is no search.json (`make search` writes it).</p>"
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
