"""Runs one file of a model for `make bench`, in a process of its own.

    python -m train_host.bench_worker MANIFEST ROLE RECORDING.wav

Of the host's packages it imports torch, and only for a TorchScript file, so
that its memory is that of the device's loop. Each line on its standard input
is a word, answered by a number in a line:

* `step`: microseconds of CPU for one step of the file alone, mean of many;
* `start`: seconds of CPU that the process took until the model was loaded;
* `listen`: seconds of CPU to read the recording and run `Spotter` over it, as
  `kws-pi listen` does;
* `memory`: the most bytes of memory that the process has had resident.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.audiofile import AudioFile
from device.engine import ROLES, Engine
from device.engine_onnxruntime import open_session
from device.errors import KwsPiError
from device.frontend import LogMel
from device.manifest import Manifest, read_manifest
from device.model import Model, load_model
from device.spotter import Spotter
from train_host.memory import peak_memory

STEPS = 300

Samples = NDArray[np.float32]


class NoFrontEnd(LogMel):
    """Hands the samples on: the file has the log-mel inside."""

    def push(self, samples: Samples) -> Samples:
        return samples


class SampleOnnxEngine:
    """The ONNX file that takes samples: a step of them stands for `mel`."""

    def __init__(self, manifest: Manifest, path: Path) -> None:
        self._session = open_session(path)
        self._initial = {s.name: np.full(s.shape, s.initial, np.float32) for s in manifest.states}
        self._initial["audio_tail"] = np.zeros((1, manifest.front_end.tail), np.float32)
        self._outputs = ["probability", *(f"{name}_next" for name in self._initial)]
        self.reset()

    def reset(self) -> None:
        self._state = dict(self._initial)

    def step(self, mel: Samples) -> float:
        feeds = {"samples": mel[np.newaxis], **self._state}
        probability, *after = self._session.run(self._outputs, feeds)
        self._state = dict(zip(self._state, after, strict=True))
        return float(probability[0])


class TorchScriptEngine:
    """A streaming TorchScript file: it takes samples in place of `mel`, and keeps its state."""

    def __init__(self, path: Path) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_num_threads(1)
        quantized = self._torch.backends.quantized
        if "qnnpack" in quantized.supported_engines:  # the Pi's, chosen before loading
            quantized.engine = "qnnpack"
        self._module = self._torch.jit.load(str(path))

    def reset(self) -> None:
        self._module.reset()

    def step(self, mel: Samples) -> float:
        with self._torch.no_grad():
            return float(self._module(self._torch.from_numpy(mel))[0])


def open_model(path: Path, role: str) -> Model:
    """The model of a manifest, run by the file in that role.

    Raises ManifestError as `load_model` does.
    """
    for engine_name, own in ROLES.items():
        if role == own:
            return load_model(path, engine_name)
    manifest = read_manifest(path)
    file = manifest.file(path, role)
    engine: Engine
    if role == "frontend_onnx":
        engine = SampleOnnxEngine(manifest, file)
    else:
        engine = TorchScriptEngine(file)
    return Model(manifest, NoFrontEnd(manifest.front_end, manifest.step_samples), engine)


def time_steps(model: Model) -> float:
    """Microseconds of CPU for one step of the file: the network, and the log-mel if inside."""
    sound = np.random.default_rng(0).standard_normal(model.manifest.step_samples) * 0.1
    fed = model.log_mel.push(sound.astype(np.float32))
    model.reset()
    begin = time.process_time()
    for _ in range(STEPS):
        model.engine.step(fed)
    return (time.process_time() - begin) / STEPS * 1e6


def time_listening(model: Model, recording: Path) -> float:
    """Seconds of CPU for the whole loop of the device over a recording."""
    model.reset()
    begin = time.process_time()
    spotter = Spotter(model)
    with AudioFile(recording, spotter.sample_rate, spotter.step_samples) as pieces:
        for samples in pieces:
            spotter.push(samples, 0.0)
    return time.process_time() - begin


def main(arguments: list[str]) -> int:
    path, role, recording = Path(arguments[0]), arguments[1], Path(arguments[2])
    try:
        model = open_model(path, role)
    except KwsPiError as error:
        print(error, file=sys.stderr)
        return 1
    started = time.process_time()
    answers = {
        "start": lambda: started,
        "step": lambda: time_steps(model),
        "listen": lambda: time_listening(model, recording),
        "memory": peak_memory,
    }
    for line in sys.stdin:
        print(answers[line.strip()](), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
