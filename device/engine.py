"""The engine: runs the exported network one step at a time, its state held inside.

`Engine` is what the rest of the device relies on. There are two backends by
name: `numpy`, which needs nothing that Debian does not package and runs on
every Pi, and `onnxruntime`, for 64-bit systems. What they give is equal within
1e-4 (docs/decisions/0030-numpy-engine.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from device.manifest import Manifest

ROLES = {"numpy": "npz", "onnxruntime": "onnx"}
"""The engines, and the role in the manifest of the file that each of them loads."""
DEFAULT_ENGINE = "numpy"


class Engine(Protocol):
    """A backend: log-mel frames of one step in, the keyword's probability out."""

    def reset(self) -> None:
        """Returns every state to its initial value."""

    def step(self, mel: NDArray[np.float32]) -> float:
        """One step: `mel` float32 (frames per step, mel_bands); returns P(keyword)."""


class Streams(Protocol):
    """A backend that runs one network on several streams, a step of each at a time."""

    def reset(self) -> None:
        """Returns every state of every stream to its initial value."""

    def step(self, mel: NDArray[np.float32]) -> list[float]:
        """`mel` float32 (streams, frames per step, mel_bands); returns P(keyword) of each."""


def open_engine(name: str, manifest: Manifest, manifest_path: Path) -> Engine:
    """The engine of that name (a key of ROLES) with the model's network or cascade loaded.

    Raises ManifestError when a file of its role is absent, altered or not
    the network that the manifest describes, and SetupError when the engine is
    not installed.
    """
    first, *others = manifest.engine_files(manifest_path, ROLES[name])
    (_, alone), *stages = manifest.stages
    engine = open_network(name, alone, first)
    if not others:
        return engine
    from device.cascade import Cascade

    verifiers = [
        (verifier, open_streams(name, stage, path, verifier.alignments))
        for verifier, (_, stage), path in zip(manifest.verifiers, stages, others, strict=True)
    ]
    return Cascade(engine, verifiers, silence=math.log(manifest.front_end.floor))


def open_network(name: str, manifest: Manifest, path: Path) -> Engine:
    """One network, from its own file. `manifest` holds its states. Raises as `open_engine`."""
    # Each is imported when it is chosen: what is not loaded takes no memory.
    if name == "numpy":
        from device.engine_numpy import NumpyEngine

        return NumpyEngine(manifest, path)
    from device.engine_onnxruntime import OnnxEngine

    return OnnxEngine(manifest, path)


def open_streams(name: str, manifest: Manifest, path: Path, streams: int) -> Streams:
    """One network for so many streams. Raises as `open_engine`."""
    if name == "numpy":
        from device.engine_numpy import NumpyStreams

        return NumpyStreams(manifest, path, streams)
    from device.engine_onnxruntime import OnnxStreams

    return OnnxStreams(manifest, path, streams)
