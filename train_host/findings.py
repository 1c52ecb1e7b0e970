"""What the laboratory and the search found, read from their JSON files for the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from device.errors import ExportError

Finding = TypeVar("Finding")
GROUPS = ("start", "pruning", "distillation", "quantization", "separable", "sequence")
"""The order in which groups of methods are shown; others follow."""


@dataclass(frozen=True)
class Method:
    """One compression method, measured by itself or in sequence."""

    number: int
    """Its place in the table, from 1, by which the plots name it."""
    method: str
    group: str
    setting: str
    parameters: int
    macs_clip: int
    bytes_onnx: int
    one_minus_auc: dict[str, tuple[float, ...]]
    """By group of clips, `real` or `synthetic`: one value for each seed."""
    note: str


@dataclass(frozen=True)
class Laboratory:
    """laboratory.json: every method, trained alike."""

    machine: str
    steps: int
    seeds: tuple[int, ...]
    corpus: str
    rows: tuple[Method, ...]
    did_not_help: tuple[str, ...]

    @property
    def conditions(self) -> str:
        """On what it was measured, as half a sentence."""
        return (
            f"on {self.corpus}, {self.steps:,} steps of training, "
            f"{counted(len(self.seeds), 'seed')}, {self.machine}"
        )


@dataclass(frozen=True)
class Trial:
    """One trial of the search."""

    number: int
    label: str
    macs_clip: int
    bytes_onnx: int
    one_minus_auc: float | None
    """None where the trial was pruned before it was scored."""
    front: bool
    state: str


@dataclass(frozen=True)
class Search:
    """search.json: the trials of the study."""

    machine: str
    corpus: str
    steps: int
    objective: str
    trials: tuple[Trial, ...]

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that ran to their end; the figures of the others are of half-trained ones."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def conditions(self) -> str:
        """On what it was measured, as half a sentence."""
        return (
            f"{self.objective}, on {self.corpus}, {self.steps:,} steps of training, {self.machine}"
        )


def counted(number: int, what: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def read_laboratory(path: Path) -> Laboratory | None:
    """The methods; None without the file. Raises ExportError when it holds something else."""

    def laboratory(raw: dict[str, Any]) -> Laboratory:
        place = {group: number for number, group in enumerate(GROUPS)}
        rows = sorted(raw["rows"], key=lambda row: place.get(row["group"], len(GROUPS)))
        return Laboratory(
            machine=str(raw["machine"]),
            steps=int(raw["steps"]),
            seeds=tuple(int(seed) for seed in raw["seeds"]),
            corpus=str(raw["corpus"]),
            rows=tuple(
                Method(
                    number=number,
                    method=str(row["method"]),
                    group=str(row["group"]),
                    setting=str(row["setting"]),
                    parameters=int(row["parameters"]),
                    macs_clip=int(row["macs_clip"]),
                    bytes_onnx=int(row["bytes_onnx"]),
                    one_minus_auc={
                        str(group): tuple(float(gap) for gap in gaps)
                        for group, gaps in row["one_minus_auc"].items()
                        if gaps
                    },
                    note=str(row["note"]),
                )
                for number, row in enumerate(rows, 1)
            ),
            did_not_help=tuple(str(line) for line in raw["did_not_help"]),
        )

    return _read(path, "make methods", laboratory)


def read_search(path: Path) -> Search | None:
    """The trials; None without the file. Raises ExportError when it holds something else."""

    def search(raw: dict[str, Any]) -> Search:
        return Search(
            machine=str(raw["machine"]),
            corpus=str(raw["corpus"]),
            steps=int(raw["steps"]),
            objective=str(raw["objective"]),
            trials=tuple(
                Trial(
                    number=int(row["number"]),
                    label=str(row["label"]),
                    macs_clip=int(row["macs_clip"]),
                    bytes_onnx=int(row["bytes_onnx"]),
                    one_minus_auc=None
                    if row["one_minus_auc"] is None
                    else float(row["one_minus_auc"]),
                    front=bool(row["front"]),
                    state=str(row["state"]),
                )
                for row in raw["trials"]
            ),
        )

    return _read(path, "make search", search)


def _read(path: Path, maker: str, build: Callable[[dict[str, Any]], Finding]) -> Finding | None:
    if not path.is_file():
        return None
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{path}: not what `{maker}` writes ({type(error).__name__}: {error}); "
            f"run `{maker}` again or remove the file"
        ) from error
