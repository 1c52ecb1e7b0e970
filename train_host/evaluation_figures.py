"""The figures of an evaluation: from traces to rates, and as JSON for tables and the page.

A `System` is one model, or several models of one kind whose counts are pooled:
in a cross-fitting each fold's model hears only what it held out, and the sums
are the figure.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device.errors import ExportError
from device.manifest import Detection
from train_host.listening import Heard, Judgement, at_threshold, judge_heard
from train_host.rates import FalseAccepts, median_and_95th, misses
from train_host.tape import Event
from train_host.tape_conditions import CLEAN, CONDITIONS, NEGATIVES, QUIET

KINDS = ("real", "synthetic")
LOGITS = np.linspace(-4.0, 9.0, 105)
THRESHOLDS = tuple(float(t) for t in np.round(1 / (1 + np.exp(-LOGITS)), 6))
"""What the sweep tries: 0.018 to 0.99988, evenly spaced in log odds, since good models are sure."""
RATES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""False accepts an hour for which the misses are told."""
TOLERANCE = 0.1
FILE = "evaluation.json"


@dataclass(frozen=True)
class Run:
    """What one model, with its own detector's numbers, made of its tapes."""

    detection: Detection
    heard: tuple[Heard, ...]


@dataclass(frozen=True)
class Row:
    """Keywords of one kind under one condition at one threshold."""

    condition: str
    kind: str
    missed: int
    keywords: int
    interval: tuple[float, float]
    """95 % of the miss rate, by a bootstrap over speakers."""
    clips: int
    """Different recordings; fewer than `keywords` where clips were placed several times."""
    speakers: int
    latency_s: tuple[float, float] | None
    """Median and 95th percentile, from the word's end to the detection."""

    @property
    def rate(self) -> float:
        return self.missed / self.keywords


@dataclass(frozen=True)
class Working:
    """What a system does at one threshold."""

    threshold: float | None
    """None where each fold's model has its own."""
    negatives: FalseAccepts
    quiet: FalseAccepts
    """In noise, music and silence."""
    among_keywords: FalseAccepts
    """On the clean tape with keywords, besides the detections of keywords."""
    rows: tuple[Row, ...]

    def row(self, condition: str, kind: str) -> Row | None:
        """The row of a condition, None where there is none."""
        return next((r for r in self.rows if (r.condition, r.kind) == (condition, kind)), None)


@dataclass(frozen=True)
class Swept:
    """One point of the DET curve: the clean tape against the negatives."""

    threshold: float
    false_accepts: int
    missed: dict[str, float]
    """Miss rate by kind."""


@dataclass(frozen=True)
class System:
    """One column of the tables and one line of the plot."""

    name: str
    thresholds: tuple[float, ...]
    """The thresholds that its models come with; several in a cross-fitting."""
    own: Working
    """At these thresholds."""
    curve: tuple[Swept, ...]
    """Common thresholds for all its models, from low to high."""
    at_rates: dict[str, Working]
    """By the wanted false accepts an hour: at the lowest common threshold that keeps to it."""
    cpu_ms_per_second: float
    """CPU time of a second of audio, in this run, beside whatever else ran on the machine."""
    peak_mib: float | None = None
    """Peak memory of a process that does nothing else; None where it was not measured."""

    @property
    def hours(self) -> float:
        return self.own.negatives.hours


@dataclass(frozen=True)
class Evaluation:
    """Everything that `make evaluate` found."""

    keyword: str
    date: str
    machine: str
    origins: dict[str, str]
    """What positives, negatives, noise and impulse responses were."""
    notes: tuple[str, ...]
    systems: tuple[System, ...]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")


def summarise(name: str, runs: Sequence[Run], peak_mib: float | None = None) -> System:
    """The figures of a system from the traces of its models, the counts pooled."""
    own = working(runs, None)
    clean = [
        Run(r.detection, tuple(h for h in r.heard if h.tape in (CLEAN, NEGATIVES))) for r in runs
    ]
    curve = []
    for threshold in THRESHOLDS:
        swept = working(clean, threshold)
        rates = {row.kind: row.rate for row in swept.rows}
        curve.append(Swept(threshold, swept.negatives.count, rates))
    hours = own.negatives.hours
    at_rates = {}
    for rate in RATES:
        there = threshold_for(curve, rate, hours)
        if there is not None:
            at_rates[f"{rate:g}"] = working(runs, there)
    heard = [h for run in runs for h in run.heard]
    return System(
        name,
        tuple(run.detection.threshold for run in runs),
        own,
        tuple(curve),
        at_rates,
        1000 * sum(h.cpu_s for h in heard) / sum(h.seconds for h in heard),
        peak_mib,
    )


def threshold_for(curve: Sequence[Swept], rate: float, hours: float) -> float | None:
    """The lowest threshold from which on no more than `rate` false accepts an hour come.

    A rate is kept to within TOLERANCE, so that of 5 h one false accept counts as
    0.2 an hour. None where the hours are too few to tell (the rate must allow for
    one false accept at least), or where even the highest threshold gives more.
    """
    allowed = math.floor(rate * hours * (1 + TOLERANCE))
    found = None
    for point in reversed(curve):
        if not allowed or point.false_accepts > allowed:
            break
        found = point.threshold
    return found


def working(runs: Sequence[Run], threshold: float | None) -> Working:
    """Counts and rates at a threshold, or at each model's own where it is None."""
    false = {name: FalseAccepts(0, 0.0) for name in (NEGATIVES, QUIET, CLEAN)}
    events: dict[tuple[str, str], list[tuple[Event, float | None]]] = {}
    for run in runs:
        detection = run.detection if threshold is None else at_threshold(run.detection, threshold)
        for heard in run.heard:
            found: Judgement = judge_heard(heard, detection)
            if heard.tape in false:
                false[heard.tape] += FalseAccepts(len(found.false_s), heard.hours)
            for event, delay in zip(heard.events, found.delays_s, strict=True):
                events.setdefault((heard.tape, event.kind), []).append((event, delay))
    rows = [
        _row(condition, kind, events[condition, kind])
        for condition in CONDITIONS
        for kind in KINDS
        if (condition, kind) in events
    ]
    own = runs[0].detection.threshold if len(runs) == 1 else None
    return Working(
        own if threshold is None else threshold,
        false[NEGATIVES],
        false[QUIET],
        false[CLEAN],
        tuple(rows),
    )


def _row(condition: str, kind: str, said: list[tuple[Event, float | None]]) -> Row:
    missed = misses([delay is None for _, delay in said], [event.speaker for event, _ in said])
    return Row(
        condition,
        kind,
        missed.missed,
        missed.keywords,
        missed.interval,
        len({(event.speaker, event.clip) for event, _ in said}),
        len({event.speaker for event, _ in said}),
        median_and_95th([delay for _, delay in said if delay is not None]),
    )


def read_evaluation(path: Path) -> Evaluation | None:
    """What `make evaluate` wrote; None without the file.

    Raises ExportError when the file holds something else.
    """
    if not path.is_file():
        return None
    try:
        return evaluation_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{path}: not what `make evaluate` writes ({type(error).__name__}: {error}); "
            "run it again or remove the file"
        ) from error


def evaluation_of(raw: dict[str, Any]) -> Evaluation:
    """What JSON made of an evaluation, made one again.

    Raises KeyError, TypeError, ValueError or AttributeError when it is something else.
    """
    systems = tuple(_system(system) for system in raw["systems"])
    return Evaluation(**(raw | {"notes": tuple(raw["notes"]), "systems": systems}))


def _system(raw: dict[str, Any]) -> System:
    return System(
        **(
            raw
            | {
                "thresholds": tuple(raw["thresholds"]),
                "own": _working(raw["own"]),
                "curve": tuple(Swept(**point) for point in raw["curve"]),
                "at_rates": {rate: _working(w) for rate, w in raw["at_rates"].items()},
            }
        )
    )


def _working(raw: dict[str, Any]) -> Working:
    counts = {n: FalseAccepts(**raw[n]) for n in ("negatives", "quiet", "among_keywords")}
    return Working(**(raw | counts | {"rows": tuple(_row_of(row) for row in raw["rows"])}))


def _row_of(raw: dict[str, Any]) -> Row:
    latency = raw["latency_s"]
    return Row(
        **(raw | {"interval": tuple(raw["interval"]), "latency_s": latency and tuple(latency)})
    )
