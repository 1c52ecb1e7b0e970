"""The result table: its rows and notes, for the console and for the page alike.

`python -m train_host.report` measures the figures and keeps them as
KEYWORD.table.json; what is shown comes from there and from nowhere else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.errors import ExportError
from device.model import manifests_in

ROWS: tuple[tuple[str, str, str], ...] = (
    ("parameters", "parameters", "{:,.0f}"),
    ("MACs, 1 s clip", "macs_clip", "{:,.0f}"),
    ("MACs, 1 s of stream", "macs_stream_second", "{:,.0f}"),
    ("bytes, state dict", "bytes_state_dict", "{:,.0f}"),
    ("bytes, weights", "bytes_weights", "{:,.0f}"),
    ("bytes, .onnx", "bytes_onnx", "{:,.0f}"),
    ("µs CPU a step", "microseconds_per_step", "{:.1f}"),
)
QUALITY_ROWS: tuple[tuple[str, str, str], ...] = (
    ("1 - AUC", "one_minus_auc", "{:.2e}"),
    ("AU", "au", "{:.2e}"),
    ("AU at 2.68 % positives", "au_scaled", "{:.2e}"),
    ("missed at 0.1 % false accepts", "miss_at_0.1%", "{:.1%}"),
    ("missed at 1 % false accepts", "miss_at_1%", "{:.1%}"),
)
RATIOS = ("teacher", "base")
"""The columns that are divided by the student's."""
TRAINED_HERE = "trained here"
"""What the student's record says of a teacher that is no published one."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a label, a cell for each column, then the ratios."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Lines that belong together, below a heading that may be empty."""

    heading: str
    rows: tuple[Row, ...]


def headings(figures: dict[str, Any]) -> list[str]:
    """The columns' names, without that of the labels."""
    return [*figures["columns"], *(f"{name} / student" for name in RATIOS)]


def result_sections(figures: dict[str, Any]) -> list[Section]:
    """The lines of the result table, those of quality for each group of clips."""
    columns = figures["columns"]
    lines = [
        _row(label, form, {name: column.get(key) for name, column in columns.items()})
        for label, key, form in ROWS
    ]
    asked = {name: column.get("macs_asked") for name, column in columns.items()}
    if any(asked.values()):
        lines.append(_row("verifiers, MACs a time", "{:,.0f}", asked, ratio=False))
    front_end = dict.fromkeys(columns, figures["front_end_macs_clip"])
    lines.append(_row("front end, MACs of 1 s", "{:,.0f}", front_end, ratio=False))
    found = [Section("", tuple(lines))]
    for group, counts in columns["student"]["quality"].items():
        quality = {name: column["quality"][group] for name, column in columns.items()}
        lines = []
        for label, key, form in QUALITY_ROWS:
            lines.append(_row(label, form, {name: q[key] for name, q in quality.items()}))
            if key == "one_minus_auc":
                for end, place in enumerate(("from", "to")):
                    ends = {name: q["one_minus_auc_interval"][end] for name, q in quality.items()}
                    lines.append(_row(f"  95 % interval, {place}", form, ends, ratio=False))
        heading = f"{group} clips: {counts['keywords']} keyword, {counts['others']} other"
        found.append(Section(heading, tuple(lines)))
    return found


def export_rows(figures: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """Headings and lines of the table of exported files, the role as the label."""
    quality = figures["columns"]["student"]["quality"]
    lines = []
    for role, entry in figures["exports"].items():
        own = entry.get("quality") or quality  # the gate has shown that the others are equal
        gaps = [f"{own[group]['one_minus_auc']:.2e}" for group in quality]
        if role.startswith("verifier_"):
            gaps = ["-"] * len(gaps)  # it never stands alone
        lines.append(Row(role, (entry["file"], f"{entry['bytes']:,}", *gaps)))
    return ["role", "file", "bytes", *(f"1 - AUC, {group} clips" for group in quality)], lines


def notes(figures: dict[str, Any]) -> list[str]:
    """What a reader must know to judge the figures."""
    found = [
        "The student and its exports are scored as a stream, as the device runs them; teacher and "
        "base on clips of one second, as the origin scored them.",
        f"The 95 % interval of 1 - AUC comes from {figures['resamples']:,} bootstrap resamples of "
        "the speakers (or synthetic voices), each with all of their clips.",
    ]
    if "real" not in figures["columns"]["student"]["quality"]:
        found.append(
            "No real voice says the keyword among the validation clips: how real voices fare is "
            "not known. Recordings of a few people, by DATA or RECORDINGS, would tell."
        )
    if figures["columns"]["student"].get("macs_asked"):
        found.append(
            "The student is a cascade: its MACs are those of the network that is always on, its "
            "parameters and bytes those of all its networks. The TorchScript files and the ONNX "
            "file with the front end inside hold the first network alone."
        )
    if figures["teacher"] != TRAINED_HERE:
        found.append(
            f"The teacher {figures['teacher']} is a published one: it may have been trained on "
            "these very clips, which would flatter its figures."
        )
    return found


def find_manifest(build: Path) -> Path:
    """The one manifest of a build folder. Raises ExportError when there is none."""
    found = manifests_in(build)
    if len(found) != 1:
        raise ExportError(f"{build}: holds no exported model; run `make export` first")
    return found[0]


def read_figures(path: Path) -> dict[str, Any]:
    """What `python -m train_host.report` wrote. Raises ExportError when it is not there."""
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: no result table; run `make report` first") from error
    if not isinstance(figures, dict) or "resamples" not in figures:
        raise ExportError(f"{path}: an older version wrote it; run `make report` again")
    return figures


def _row(label: str, form: str, values: dict[str, float | None], ratio: bool = True) -> Row:
    cells = ["-" if value is None else form.format(value) for value in values.values()]
    for name in RATIOS:
        above, below = values.get(name), values.get("student")
        cells.append(f"{above / below:.2f}" if ratio and above and below else "")
    return Row(label, tuple(cells))
