"""Section of the page: quality against cost, as points on two charts for each group of clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from train_host.chart import Line, Point, chart, log_axis
from train_host.page_contents import Contents
from train_host.page_markup import legend, mean, power, short

SEARCHED = "synthetic"
"""The clips beside which the search's trials are drawn: it never ranks on real keywords."""


def front(contents: Contents) -> str:
    """1 - AUC against MACs and against bytes, for each group of clips."""
    text = ""
    drawn: set[str] = set()
    for group in contents.figures["columns"]["student"]["quality"]:
        charts, points = _front_of(contents, group)
        text += f'<div class="charts">{charts}</div>'
        drawn.update(point.label for point in points if point.kind == "method")
    keys = [
        ("student", "the student, .onnx"),
        ("reference", "base and teacher, .onnx"),
        ("file", "the student as TorchScript (front end and state inside the file)"),
    ]
    here = contents.figures["corpus"]["name"]
    captions = [
        "Lower and further left is better. The line joins what nothing drawn beats in both. "
        "A mark on the lower edge stands for 0, where no other word outscores a keyword."
    ]
    if contents.laboratory:
        keys.append(("method", "a method, by its number: mean and range of the seeds"))
        names: dict[str, list[str]] = {}
        for row in contents.laboratory.rows:
            if str(row.number) in drawn:
                names.setdefault(row.group, []).append(f"{row.number} {row.method}")
        listed = "; ".join(f"{group}: {', '.join(found)}" for group, found in names.items())
        captions.append(
            f"Methods: {listed}. Of those that cost the same only the best is drawn. Measured "
            f"{contents.laboratory.conditions}.{elsewhere(contents.laboratory.corpus, here)}"
        )
    if contents.search:
        keys += [("front", "on the front of the search"), ("trial", "another of its trials")]
        captions.append(
            f"Search: {contents.search.conditions}.{elsewhere(contents.search.corpus, here)}"
        )
    return text + legend(keys) + "".join(f"<p>{escape(line)}</p>" for line in captions)


def elsewhere(corpus: str, here: str) -> str:
    """A warning where findings were not measured on the clips of this run."""
    if corpus == here:
        return ""
    return f" This run's clips are others ({here}): compare their order, not their height."


@dataclass(frozen=True)
class Setting:
    """One network, or one form of it, with what it costs and how good it is."""

    kind: str
    label: str
    name: str
    macs: int
    bytes: int
    gap: float
    spread: tuple[float, float] | None = None


def _settings(contents: Contents, group: str) -> list[Setting]:
    """What was measured in this run, by the laboratory and by the search, on one group of clips."""
    columns = contents.figures["columns"]
    found = []
    for name, column in columns.items():
        label = name
        if name != "student":
            network, _, form = name.partition(" ")
            label = f"{network}, hidden {contents.networks[network].shape.hidden}"
            label += f", {form}" if form else ""
        found.append(
            Setting(
                "student" if name == "student" else "reference",
                label,
                label,
                column["macs_clip"],
                column["bytes_onnx"],
                column["quality"][group]["one_minus_auc"],
            )
        )
    macs = columns["student"]["macs_clip"]
    for role, entry in contents.figures["exports"].items():
        if "quality" in entry:
            label = role.removeprefix("ts_").removesuffix("_ts").replace("_", " ")
            gap = entry["quality"][group]["one_minus_auc"]
            found.append(Setting("file", label, entry["file"], macs, entry["bytes"], gap))
    for method in contents.laboratory.rows if contents.laboratory else ():
        if gaps := method.one_minus_auc.get(group):
            found.append(
                Setting(
                    "method",
                    str(method.number),
                    f"{method.number}: {method.method}, {method.setting}",
                    method.macs_clip,
                    method.bytes_onnx,
                    mean(gaps),
                    (min(gaps), max(gaps)),
                )
            )
    beside_search = group == SEARCHED or len(columns["student"]["quality"]) == 1
    for trial in contents.search.complete if contents.search and beside_search else ():
        if trial.one_minus_auc is not None:
            found.append(
                Setting(
                    "front" if trial.front else "trial",
                    trial.label if trial.front else "",
                    f"trial {trial.number}: {trial.label}",
                    trial.macs_clip,
                    trial.bytes_onnx,
                    trial.one_minus_auc,
                )
            )
    return found


def _front_of(contents: Contents, group: str) -> tuple[str, list[Point]]:
    """The two charts of a group of clips, and every point in them."""
    settings = _settings(contents, group)
    heights = [height for s in settings for height in (s.gap, *(s.spread or ()))]
    charts, drawn = "", []
    for what, cost in (
        ("MACs, 1 s clip", lambda s: s.macs),
        ("bytes of the file", lambda s: s.bytes),
    ):
        points = _points(settings, what, cost)
        drawn += points
        charts += chart(
            f"{group} clips: 1 - AUC against {what}",
            log_axis(what, [p.x for p in points], short),
            log_axis("1 - AUC", heights, power),
            points,
            [Line(best_of(points), "best", "nothing drawn is better in both", step=True)],
        )
    return charts, drawn


def _points(settings: Sequence[Setting], what: str, cost: Callable[[Setting], int]) -> list[Point]:
    """The settings as points; forms of the student that fall on it share its mark."""
    own = next(s for s in settings if s.kind == "student")
    same = [
        s
        for s in settings
        if s.kind == "file" and cost(s) == cost(own) and math.isclose(s.gap, own.gap, rel_tol=0.01)
    ]
    best = {cost(s): s for s in sorted(settings, key=lambda s: -s.gap) if s.kind == "method"}
    found = []
    for setting in settings:
        if setting in same or (setting.kind == "method" and best[cost(setting)] is not setting):
            continue
        shared = same if setting is own else []
        found.append(
            Point(
                x=float(cost(setting)),
                y=setting.gap,
                kind=setting.kind,
                title=f"{', '.join(s.name for s in (setting, *shared))}: {cost(setting):,} {what}, "
                f"1 - AUC {setting.gap:.2e}",
                label=_joined([s.label for s in (setting, *shared)]),
                spread=setting.spread,
            )
        )
    return found


def _joined(labels: Sequence[str]) -> str:
    """`student, buffer 1, 2`: what two labels in a row begin with is said once."""
    text = labels[0]
    for before, label in pairwise(labels):
        word, _, number = label.partition(" ")
        text += f", {number if number and before.startswith(f'{word} ') else label}"
    return text


def best_of(points: Iterable[Point]) -> list[tuple[float, float]]:
    """The points that none is better than in both, from left to right."""
    found: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not found or point.y < found[-1][1]:
            found.append((point.x, point.y))
    return found
