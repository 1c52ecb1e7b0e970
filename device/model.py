"""A model ready to run: its manifest, front end and engine, and where the shipped one lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.engine import DEFAULT_ENGINE, ROLES, Engine, open_engine
from device.errors import ManifestError
from device.frontend import LogMel
from device.manifest import Manifest, read_manifest

MODEL_FOLDERS = (
    Path(__file__).resolve().parent.parent / "models",
    Path("/usr/share/kws-pi/models"),
)
"""Where the shipped models lie: beside the package in the source tree, or installed."""


@dataclass
class Model:
    """Samples in, probabilities out, one step at a time."""

    manifest: Manifest
    log_mel: LogMel
    engine: Engine

    def reset(self) -> None:
        """Forgets the stream so far."""
        self.log_mel.reset()
        self.engine.reset()

    def step(self, samples: NDArray[np.float32]) -> float:
        """`samples`: float32 (step_samples,); returns the probability of the keyword."""
        return self.engine.step(self.log_mel.push(samples))


def load_model(path: Path, engine: str = DEFAULT_ENGINE) -> Model:
    """Loads the model of a manifest into the engine of that name.

    Raises ManifestError when a file is missing, altered or disagrees with the
    manifest, and SetupError when the engine is not installed.
    """
    manifest = read_manifest(path)
    log_mel = LogMel(manifest.front_end, manifest.step_samples)
    return Model(manifest, log_mel, open_engine(engine, manifest, path))


def manifests_in(folder: Path) -> list[Path]:
    """The manifests of a folder that lie beside their networks, by name."""
    found = sorted(folder.glob("*.json"))
    return [
        path
        for path in found
        if any(path.with_suffix(f".{role}").is_file() for role in ROLES.values())
    ]


def default_manifest(folders: tuple[Path, ...] = MODEL_FOLDERS) -> Path:
    """The manifest of the shipped model.

    `models/default` holds the manifest's name in one line; without it, the
    only manifest that lies beside its network is meant. Raises ManifestError
    when there is none, or no telling which.
    """
    for folder in folders:
        try:
            return folder / (folder / "default").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            manifests = manifests_in(folder)
        if len(manifests) == 1:
            return manifests[0]
        if manifests:
            names = ", ".join(path.name for path in manifests)
            raise ManifestError(
                f"{folder}: holds several models ({names}) and no file 'default' that names one; "
                "give --model"
            )
    raise ManifestError("no model is installed; give the path of a manifest with --model")
