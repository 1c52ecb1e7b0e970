"""What `make evaluate-peers` found, as JSON and as a table of costs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device.errors import ExportError
from train_host.evaluation_figures import Evaluation, evaluation_of
from train_host.spotter_cost import Cost
from train_host.table import Row

FILE = "peers.json"
COST_TITLE = "What it takes to listen"
COST_NAMES = (
    "run by",
    "ms CPU a second of audio",
    "M instructions a second of audio",
    "MiB of memory, peak",
    "bytes of its model",
)


@dataclass(frozen=True)
class Comparison:
    """Our models and the peers."""

    evaluation: Evaluation
    """On the same tapes; CPU and memory in it are those of `costs`."""
    costs: tuple[Cost, ...]
    """Measured in one run. May name a model of ours that listens for another word."""
    cost_note: str
    """On what and how."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")


def with_costs(evaluation: Evaluation, costs: Sequence[Cost]) -> Evaluation:
    """The evaluation, its systems' CPU and memory taken from the costs of the same names."""
    by_name = {cost.name: cost for cost in costs}
    systems = tuple(
        dataclasses.replace(
            system,
            cpu_ms_per_second=by_name[system.name].cpu_ms_per_second,
            peak_mib=by_name[system.name].peak_mib,
        )
        for system in evaluation.systems
    )
    return dataclasses.replace(evaluation, systems=systems)


def cost_rows(costs: Sequence[Cost]) -> list[Row]:
    """A row for each spotter."""
    return [
        Row(
            cost.name,
            (
                cost.version,
                f"{cost.cpu_ms_per_second:.2f}",
                f"{cost.instructions_per_second / 1e6:.1f}"
                if cost.instructions_per_second
                else "-",
                f"{cost.peak_mib:.0f}",
                f"{cost.model_bytes:,} ({', '.join(cost.files)})",
            ),
        )
        for cost in costs
    ]


def read_comparison(path: Path) -> Comparison | None:
    """What `make evaluate-peers` wrote; None without the file.

    Raises ExportError when the file holds something else.
    """
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Comparison(
            evaluation_of(raw["evaluation"]),
            tuple(Cost(**(cost | {"files": tuple(cost["files"])})) for cost in raw["costs"]),
            raw["cost_note"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{path}: not what `make evaluate-peers` writes ({type(error).__name__}: {error}); "
            "run it again or remove the file"
        ) from error
