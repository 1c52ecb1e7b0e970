"""The engine on ONNX Runtime: the network is a graph of one step with explicit state."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import ManifestError, SetupError
from device.manifest import Manifest


class OnnxEngine:
    """The network in ONNX Runtime.

    Raises SetupError when ONNX Runtime cannot be had, and ManifestError when
    the file is not the network that the manifest describes.
    """

    def __init__(self, manifest: Manifest, path: Path) -> None:
        self._session = open_session(path)
        _check_graph(self._session, manifest, path)
        self._states = manifest.states
        self._outputs = ["probability", *(f"{state.name}_next" for state in manifest.states)]
        self._feeds: dict[str, NDArray[np.float32]] = {}
        self.reset()

    def another(self) -> OnnxEngine:
        """The same network for a further stream."""
        other = copy.copy(self)
        other._feeds = {}
        other.reset()
        return other

    def reset(self) -> None:
        for state in self._states:
            self._feeds[state.name] = np.full(state.shape, state.initial, np.float32)

    def step(self, mel: NDArray[np.float32]) -> float:
        feeds = self._feeds
        feeds["mel"] = mel[np.newaxis]
        probability, *states = self._session.run(self._outputs, feeds)
        for state, value in zip(self._states, states, strict=True):
            feeds[state.name] = value
        return float(probability[0])


class OnnxStreams:
    """The network on several streams in ONNX Runtime: one session, run for each in turn.

    Raises as `OnnxEngine`.
    """

    def __init__(self, manifest: Manifest, path: Path, streams: int) -> None:
        first = OnnxEngine(manifest, path)
        self._engines = [first, *(first.another() for _ in range(streams - 1))]

    def reset(self) -> None:
        for engine in self._engines:
            engine.reset()

    def step(self, mel: NDArray[np.float32]) -> list[float]:
        return [engine.step(own) for engine, own in zip(self._engines, mel, strict=True)]


def open_session(path: Path) -> Any:
    """ONNX Runtime's session of a file: one thread, no spinning, constants folded at load.

    Raises SetupError when ONNX Runtime cannot be had, and ManifestError when
    it cannot load the file.
    """
    if sys.maxsize <= 2**32:
        raise SetupError(
            "this is a 32-bit system and ONNX Runtime exists for 64 bits only; "
            "choose the engine numpy"
        )
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise SetupError(
            f"ONNX Runtime cannot be imported ({error}); choose the engine numpy, install a "
            "package made by `make deb ENGINE=onnxruntime`, or run `pip install onnxruntime`"
        ) from error
    # Quiet: it warns of graphics cards that it does not find.
    runtime.set_default_logger_severity(3)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights are dequantized once, at load, and not again at every step.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # An arena takes memory in large pieces; a network of kilobytes does not need one.
    options.enable_cpu_mem_arena = False
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ManifestError(
            f"{path}: ONNX Runtime cannot load the network ({reason}); export the model again"
        ) from error


def _check_graph(session: Any, manifest: Manifest, path: Path) -> None:
    """Raises ManifestError, one sentence, where graph and manifest disagree."""
    mel = (1, manifest.frames_per_step, manifest.front_end.mel_bands)
    wanted_inputs = {"mel": mel, **{s.name: s.shape for s in manifest.states}}
    wanted_outputs = {
        "probability": (1,),
        **{f"{s.name}_next": s.shape for s in manifest.states},
    }
    for side, wanted, nodes in (
        ("input", wanted_inputs, session.get_inputs()),
        ("output", wanted_outputs, session.get_outputs()),
    ):
        found = {node.name: node for node in nodes}
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                raise ManifestError(f"{path}: the network has no {side} {name!r}; export it again")
            if name not in wanted:
                raise ManifestError(
                    f"{path}: the manifest does not know the network's {side} {name!r}; "
                    "export it again"
                )
            node = found[name]
            if node.type != "tensor(float)" or tuple(node.shape) != wanted[name]:
                raise ManifestError(
                    f"{path}: {side} {name!r} is {node.type} {list(node.shape)} and should be "
                    f"tensor(float) {list(wanted[name])}; export it again"
                )
