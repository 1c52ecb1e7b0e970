"""What the report's page is made of, read from a build folder and from models/."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device.errors import ExportError
from device.manifest import Manifest, read_manifest
from train_host import comparison
from train_host.comparison import Comparison, read_comparison
from train_host.evaluation_figures import FILE, Evaluation, read_evaluation
from train_host.findings import Laboratory, Search, read_laboratory, read_search
from train_host.keyword import slug
from train_host.network import Network, load_checkpoint
from train_host.table import find_manifest, read_figures

SCORES = "scores.npz"
"""The scores of the validation clips in a build folder, by network, with
`is_keyword` and `is_real`, all (clips,)."""
NETWORKS = ("base", "teacher", "student")
ORDER = ("base", "teacher", "tutor", "student")
"""The networks in the order of their training; the tutor may be absent."""


@dataclass(frozen=True)
class Contents:
    """All that the page shows."""

    name: str
    """The model's: its files are called so."""
    manifest: Manifest
    figures: dict[str, Any]
    scores: dict[str, npt.NDArray[Any]]
    networks: dict[str, Network]
    curves: dict[str, list[tuple[float, float]]]
    """(step, mean loss) of the networks that were trained here."""
    evaluation: Evaluation | None
    comparison: Comparison | None
    laboratory: Laboratory | None
    search: Search | None


def read_contents(build: Path, models: Path) -> Contents:
    """Findings of the laboratory and the search lie in `build`, or else in `models`; those of the
    evaluation and the comparison in `build`, or else in the folder of the keyword beside it.

    Raises ExportError when the report has not been made yet.
    """
    path = find_manifest(build)
    manifest = read_manifest(path)
    of_keyword = build.parent / slug(manifest.keyword)
    networks, curves = {}, {}
    for name in ORDER:
        if name not in NETWORKS and not (build / f"{name}.pt").is_file():
            continue
        networks[name], record = load_checkpoint(build / f"{name}.pt")
        if record.get("curve"):
            curves[name] = [(float(step), float(loss)) for step, loss in record["curve"]]
    try:
        with np.load(build / SCORES) as saved:
            scores = dict(saved)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"{build / SCORES}: no scores; run `make report` first") from error
    return Contents(
        name=path.stem,
        manifest=manifest,
        figures=read_figures(path.with_suffix(".table.json")),
        scores=scores,
        networks=networks,
        curves=curves,
        evaluation=read_evaluation(_either(build, of_keyword, FILE)),
        comparison=read_comparison(_either(build, of_keyword, comparison.FILE)),
        laboratory=read_laboratory(_either(build, models, "laboratory.json")),
        search=read_search(_either(build, models, "search.json")),
    )


def _either(build: Path, models: Path, name: str) -> Path:
    return build / name if (build / name).is_file() else models / name
