"""HTML that the page's sections share: tables, legends, and figures as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from train_host.chart import mark
from train_host.table import Row

STYLE = Path(__file__).with_name("page.css")


def document(title: str, body: str) -> str:
    """A page that needs no other file."""
    # The policy forbids the browser to fetch anything, should a reference ever slip in.
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


class Markup(str):
    """A cell that is HTML already; what it holds has been escaped."""


def table(
    names: Sequence[str],
    bodies: Sequence[tuple[str, Sequence[Row]]],
    *,
    text_columns: int = 1,
) -> str:
    """A table whose first `text_columns` columns are text and the rest figures."""

    def kind(column: int) -> str:
        return ' class="text"' if column < text_columns else ""

    head = "".join(f'<th scope="col"{kind(i)}>{escape(name)}</th>' for i, name in enumerate(names))
    text = ""
    for heading, rows in bodies:
        text += "<tbody>"
        if heading:
            text += (
                f'<tr class="group"><th colspan="{len(names)}" scope="rowgroup">'
                f"{escape(heading)}</th></tr>"
            )
        for row in rows:
            cells = "".join(
                f"<td{kind(i)}>{cell if isinstance(cell, Markup) else escape(cell)}</td>"
                for i, cell in enumerate(row.cells, 1)
            )
            text += f'<tr><th scope="row" class="text">{escape(row.label)}</th>{cells}</tr>'
        text += "</tbody>"
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{text}</table></div>'


def legend(points: Iterable[tuple[str, str]] = (), lines: Iterable[tuple[str, str]] = ()) -> str:
    """What each kind of mark or line in a chart means, in (kind, meaning) pairs."""
    entries = [
        (f'<g class="mark {kind}">{mark(kind, 12, 8)}</g>', meaning) for kind, meaning in points
    ]
    entries += [(f'<path class="line {kind}" d="M0 8H24"/>', meaning) for kind, meaning in lines]
    items = "".join(
        f'<li><svg viewBox="0 0 24 16" aria-hidden="true">{drawn}</svg>{escape(meaning)}</li>'
        for drawn, meaning in entries
    )
    return f'<ul class="legend">{items}</ul>'


def mean(gaps: Sequence[float]) -> float:
    return sum(gaps) / len(gaps)


def short(value: float) -> str:
    """200, 20k, 2M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def power(value: float) -> str:
    """10⁻³, 2·10⁻³."""
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = f"{value / 10.0**exponent:.2g}"
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == "1" else f"{factor}·10{raised}"


def percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def plain(value: float) -> str:
    return f"{value:.3g}"
