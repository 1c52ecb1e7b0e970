"""Charts as SVG text, to stand inside a page: points with labels, and lines.

Colours, dark mode and fonts are the page's: every mark carries the CSS class
of its kind. Written by hand because a plotting library's SVG brings its own
colours and fonts, which do not follow the reader's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 540, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 22, 12, 48
"""Room around the plot for ticks and axis labels, in the drawing's units (CSS pixels at full
size), as is all else here."""
FONT = 13
RADIUS = 5

SHAPES = {
    "student": "circle",
    "reference": "circle",
    "file": "square",
    "method": "diamond",
    "front": "triangle",
    "trial": "dot",
    "system-0": "circle",
    "system-1": "diamond",
    "system-2": "square",
    "system-3": "triangle",
    "system-4": "circle",
    "system-5": "diamond",
}
"""The mark of each kind of point; kinds also differ in colour. The first lie on top."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Axis:
    """One axis: what it shows, from where to where, in which steps."""

    label: str
    low: float
    high: float
    log: bool
    form: Callable[[float], str]
    """How a tick is written."""

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1; values beyond the ends lie on them."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if not self.log:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            found = [f * 10.0**d for d in decades for f in factors]
            found = [value for value in found if self.low <= value * 1.0000001 <= self.high * 1.001]
            if len(found) > 2:
                break
        return found


@dataclass(frozen=True)
class Point:
    """A mark, and if it has a label that too."""

    x: float
    y: float
    kind: str
    """A key of SHAPES."""
    title: str
    """What a pointer that rests on it is told."""
    label: str = ""
    spread: tuple[float, float] | None = None
    """From where to where the value was seen, drawn as a thin vertical line ..."""
    spread_x: tuple[float, float] | None = None
    """... and the same of x, as a horizontal one."""


@dataclass(frozen=True)
class Line:
    """A line through (x, y) pairs."""

    pairs: Sequence[tuple[float, float]]
    kind: str
    title: str
    step: bool = False
    """Keeps its value until the next x, as a count does."""


def log_axis(label: str, values: Iterable[float], form: Callable[[float], str]) -> Axis:
    """A logarithmic axis with all positive values inside, and a factor of 3 at least."""
    positive = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    low, high = min(positive) / 1.25, max(positive) * 1.25
    widen = max(1.0, math.sqrt(3 / (high / low)))
    return Axis(label, low / widen, high * widen, True, form)


def linear_axis(label: str, values: Iterable[float], form: Callable[[float], str]) -> Axis:
    """A linear axis from zero to a round number above all values."""
    top = max((v for v in values if math.isfinite(v)), default=1.0) or 1.0
    step = _round_step(top / 5)
    return Axis(label, 0, math.ceil(top / step - 1e-9) * step, False, form)


def _round_step(about: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten that is not smaller."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= about * 0.999999)


def chart(title: str, x: Axis, y: Axis, points: Sequence[Point], lines: Sequence[Line] = ()) -> str:
    """One figure: an SVG drawing below its title.

    Every labelled point but the trials of a search gets its label, and no
    label lies on another or on a mark as long as there is room.
    """
    frame = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)

    def place(at_x: float, at_y: float) -> tuple[float, float]:
        return (
            frame[0] + x.share(at_x) * (frame[2] - frame[0]),
            frame[3] - y.share(at_y) * (frame[3] - frame[1]),
        )

    parts = [_axes(x, y, frame)]
    corners: list[tuple[float, float]] = []
    for line in lines:
        path = _path([place(*pair) for pair in line.pairs], line.step)
        corners += path
        drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in path)
        parts.append(
            f'<polyline class="line {line.kind}" points="{drawn}">'
            f"<title>{escape(line.title)}</title></polyline>"
        )
    places = [place(p.x, p.y) for p in points]
    for point, (at_x, at_y) in zip(points, places, strict=True):
        if point.spread:
            (_, low), (_, high) = (place(point.x, end) for end in point.spread)
            parts.append(
                f'<path class="spread {point.kind}" d="M{at_x:.1f} {low:.1f}V{high:.1f}"/>'
            )
        if point.spread_x:
            (low, _), (high, _) = (place(end, point.y) for end in point.spread_x)
            parts.append(
                f'<path class="spread {point.kind}" d="M{low:.1f} {at_y:.1f}H{high:.1f}"/>'
            )
    leaders, labels = _labels(points, places, corners, frame)
    parts += leaders
    order = list(SHAPES)
    by_kind = sorted(zip(points, places, strict=True), key=lambda pair: -order.index(pair[0].kind))
    for point, (at_x, at_y) in by_kind:
        parts.append(
            f'<g class="mark {point.kind}">{mark(point.kind, at_x, at_y)}'
            f"<title>{escape(point.title)}</title></g>"
        )
    parts += labels
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def mark(kind: str, x: float, y: float) -> str:
    """The mark of a kind of point, its middle at (x, y)."""
    shape, r = SHAPES[kind], RADIUS
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    if shape == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r / 2}"/>'
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
        "triangle": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    }[shape]
    drawn = " ".join(f"{x + a * r:.1f},{y + b * r:.1f}" for a, b in corners)
    return f'<polygon points="{drawn}"/>'


def _axes(x: Axis, y: Axis, frame: Box) -> str:
    left, top, right, bottom = frame
    parts = []
    for tick in x.ticks():
        at = left + x.share(tick) * (right - left)
        parts.append(f'<path class="grid" d="M{at:.1f} {top}V{bottom}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">'
            f"{escape(x.form(tick))}</text>"
        )
    for tick in y.ticks():
        at = bottom - y.share(tick) * (bottom - top)
        parts.append(f'<path class="grid" d="M{left} {at:.1f}H{right}"/>')
        parts.append(
            f'<text x="{left - 7}" y="{at + 4:.1f}" text-anchor="end">{escape(y.form(tick))}</text>'
        )
    middle = (top + bottom) / 2
    parts.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
    parts.append(
        f'<text class="name" x="{(left + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x.label)}</text>"
        f'<text class="name" text-anchor="middle" transform="translate(14 {middle}) rotate(-90)">'
        f"{escape(y.label)}</text>"
    )
    return "".join(parts)


def _path(corners: list[tuple[float, float]], step: bool) -> list[tuple[float, float]]:
    if not step:
        return corners
    found = corners[:1]
    for x, y in corners[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


def _labels(
    points: Sequence[Point],
    places: Sequence[tuple[float, float]],
    corners: Sequence[tuple[float, float]],
    frame: Box,
) -> tuple[list[str], list[str]]:
    """Puts each label where it covers least: other labels, marks, lines, in this order.

    Returns the lines that lead from far labels to their marks, and the labels.
    """
    marks = [
        ((x - 7, y - 7, x + 7, y + 7), 4 if point.kind == "trial" else 200)
        for point, (x, y) in zip(points, places, strict=True)
    ]
    along = [
        (a + (c - a) * t / 8, b + (d - b) * t / 8)
        for (a, b), (c, d) in pairwise(corners)
        for t in range(9)
    ]
    taken: list[Box] = []
    leaders, labels = [], []
    for own, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        if not point.label:
            continue
        width = 0.58 * FONT * len(point.label) + 4
        best, best_cost = None, math.inf
        for distance in (8, 14, 22, 34, 50, 70):
            for turn in range(16):
                box = _beside(x, y, width, distance, turn * math.pi / 8)
                if box[0] < frame[0] or box[2] > frame[2] or box[1] < frame[1] or box[3] > frame[3]:
                    continue
                cost = (
                    distance / 4
                    + 1000 * sum(_overlap(box, other) for other in taken)
                    + sum(c for i, (m, c) in enumerate(marks) if i != own and _overlap(box, m))
                    + 3 * sum(box[0] < a < box[2] and box[1] < b < box[3] for a, b in along)
                )
                if cost < best_cost:
                    best, best_cost = box, cost
        # A trial's label may be left out; the table below the plot has it.
        if best is None or (best_cost >= 200 and point.kind in ("front", "trial")):
            continue
        taken.append(best)
        near_x, near_y = min(max(x, best[0]), best[2]), min(max(y, best[1]), best[3])
        if math.hypot(near_x - x, near_y - y) > 14:
            leaders.append(f'<path class="leader" d="M{x:.1f} {y:.1f}L{near_x:.1f} {near_y:.1f}"/>')
        labels.append(
            f'<text class="label {point.kind}" x="{(best[0] + best[2]) / 2:.1f}" '
            f'y="{best[3] - 4:.1f}" text-anchor="middle">{escape(point.label)}</text>'
        )
    return leaders, labels


def _beside(x: float, y: float, width: float, distance: float, angle: float) -> Box:
    """The box of a label whose nearest side is `distance` away in the direction of `angle`."""
    height = FONT + 3
    middle_x = x + math.cos(angle) * (distance + width / 2)
    middle_y = y - math.sin(angle) * (distance + height / 2)
    return (
        middle_x - width / 2,
        middle_y - height / 2,
        middle_x + width / 2,
        middle_y + height / 2,
    )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
