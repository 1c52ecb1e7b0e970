"""The tables of an evaluation, for the console and for the page alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from train_host.evaluation_figures import KINDS, Evaluation, System, Working
from train_host.evaluation_figures import Row as Figures
from train_host.rates import FalseAccepts
from train_host.table import Row
from train_host.tape_conditions import CLEAN, CONDITIONS, NOISE_DB
from train_host.tape_maker import FEW, MOST_SYNTHETIC, MOST_TIMES

ABSENT = "-"
AT_RATES = (CLEAN, next(name for name, db in NOISE_DB.items() if db == 10))
"""The conditions for which misses are told at given rates."""


@dataclass(frozen=True)
class Table:
    """One table: its title, the names of its columns after the labels', and its rows."""

    title: str
    names: tuple[str, ...]
    rows: tuple[Row, ...]


def tables(evaluation: Evaluation) -> list[Table]:
    """All tables, those without a row left out."""
    systems = evaluation.systems
    names = tuple(system.name for system in systems)
    kinds = [kind for kind in KINDS if any(s.own.row(CLEAN, kind) for s in systems)]
    found = [Table("At the thresholds that the models come with", names, _false_rows(systems))]
    for kind in kinds:
        found.append(
            Table(
                f"{kind.capitalize()} keywords missed, at these thresholds",
                names,
                tuple(_missed(c, [s.own.row(c, kind) for s in systems]) for c in CONDITIONS),
            )
        )
    found.append(
        Table(
            "Milliseconds from the word's end to the detection, median and 95th percentile",
            names,
            tuple(
                Row(f"{c}, {kind}", tuple(_latency(s.own.row(c, kind)) for s in systems))
                for kind in kinds
                for c in CONDITIONS
            ),
        )
    )
    for kind in kinds:
        rows = [
            _at_rate(rate, condition, kind, systems)
            for condition in AT_RATES
            for rate in _rates(systems)
        ]
        title = f"{kind.capitalize()} keywords missed at so many false accepts an hour"
        found.append(Table(f"{title}, the threshold swept", names, tuple(rows)))
    quiet = [_quiet_at_rate(rate, systems) for rate in _rates(systems)]
    found.append(
        Table("False accepts in noise, music and silence at those thresholds", names, tuple(quiet))
    )
    return [table for table in found if table.rows]


def explanations(evaluation: Evaluation) -> list[str]:
    """What to know to read the tables."""
    return [
        "Positives: {positives}. Negatives: {negatives}. Noise: {noise}. "
        "Impulse responses: {impulses}.".format(**evaluation.origins),
        *evaluation.notes,
        "False accepts with the exact 95 % Poisson interval of their rate. Misses are k of n, "
        "then the share and its 95 % interval by a bootstrap over speakers (2,000 resamples); "
        f"fewer than {FEW} clips are placed up to {MOST_TIMES} times each, and n counts every "
        f"time; of synthetic ones at most {MOST_SYNTHETIC} are drawn, as many of each voice as "
        "can be.",
        "A threshold that was swept is chosen on these very tapes: such a row compares models, "
        "it promises nothing. The first tables promise as much as the models' thresholds do.",
    ]


def _false_rows(systems: Iterable[System]) -> tuple[Row, ...]:
    systems = tuple(systems)

    def row(label: str, cells: Iterable[str]) -> Row:
        return Row(label, tuple(cells))

    found = [
        row("threshold", (", ".join(f"{t:g}" for t in s.thresholds) for s in systems)),
        row("false accepts in running speech", (_count(s.own.negatives) for s in systems)),
        row("  an hour", (_per_hour(s.own.negatives) for s in systems)),
        row("false accepts in noise, music, silence", (_count(s.own.quiet) for s in systems)),
        row("false accepts beside the keywords", (_count(s.own.among_keywords) for s in systems)),
        row("ms CPU a second of audio", (f"{s.cpu_ms_per_second:.2f}" for s in systems)),
    ]
    if any(s.peak_mib is not None for s in systems):
        found.append(row("MiB of memory, peak", (_optional(s.peak_mib) for s in systems)))
    return tuple(found)


def _optional(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0f}"


def _count(false: FalseAccepts) -> str:
    return f"{false.count:,} in {false.hours:.2f} h" if false.hours else ABSENT


def _per_hour(false: FalseAccepts) -> str:
    if not false.hours:
        return ABSENT
    low, high = false.interval
    return f"{false.per_hour:.2f} ({low:.2f} to {high:.2f})"


def _missed(label: str, rows: Iterable[Figures | None]) -> Row:
    return Row(label, tuple(_missed_cell(row) for row in rows))


def _missed_cell(row: Figures | None) -> str:
    if row is None:
        return ABSENT
    low, high = row.interval
    return (
        f"{row.missed:,} of {row.keywords:,}: {100 * row.rate:.1f} % "
        f"({100 * low:.0f} to {100 * high:.0f})"
    )


def _latency(row: Figures | None) -> str:
    if row is None or row.latency_s is None:
        return ABSENT
    middle, late = row.latency_s
    return f"{1000 * middle:.0f} / {1000 * late:.0f}"


def _rates(systems: Iterable[System]) -> list[str]:
    return sorted({rate for s in systems for rate in s.at_rates}, key=float)


def _quiet_at_rate(rate: str, systems: Iterable[System]) -> Row:
    found = (system.at_rates.get(rate) for system in systems)
    return Row(
        f"{rate} an hour in speech",
        tuple(ABSENT if there is None else _count(there.quiet) for there in found),
    )


def _at_rate(rate: str, condition: str, kind: str, systems: Iterable[System]) -> Row:
    cells = []
    for system in systems:
        there: Working | None = system.at_rates.get(rate)
        row = None if there is None else there.row(condition, kind)
        if there is None or row is None:
            cells.append(ABSENT)
            continue
        cells.append(f"{_missed_cell(row)}, threshold {there.threshold:.4g}")
    return Row(f"{condition}, {rate} an hour", tuple(cells))
