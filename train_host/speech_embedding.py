"""What Google's speech embedding hears: 96 numbers for every 80 ms, whatever is said.

The embedding of J. Lin, K. Kilgour, D. Roblek and M. Sharifi, "Training keyword
spotters with limited and synthesized speech data", ICASSP 2020 (arXiv
2002.01322), was trained on 200 million clips of speech to tell sounds apart that
words are made of. The package pyopen-wakeword carries it (Apache-2.0) as two
networks of TensorFlow Lite, from samples to mel frames and from those to the
embedding, which ai-edge-litert runs; both come with the group `pretrain`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import SetupError

SIZE = 96
"""Numbers of an embedding."""
WINDOW_FRAMES = 76
"""Mel frames of 10 ms under each embedding; the next one begins 8 frames later."""


class SpeechEmbedding:
    """Both networks. Raises SetupError when their packages are not installed."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("pyopen_wakeword")
        if package is None or importlib.util.find_spec("ai_edge_litert") is None:
            raise SetupError(
                "the speech embedding is not installed; run train_host/setup.sh pretrain"
            )
        assert package.submodule_search_locations is not None
        models = Path(package.submodule_search_locations[0]) / "models"
        self._mel = _Network(models / "melspectrogram.tflite")
        self._embedding = _Network(models / "embedding_model.tflite")

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples in [-1, 1) at 16 kHz -> (K, 96); number k ends 0.76 s + 0.08 k s after the start.

        The network is made of convolutions, so that a whole recording costs a
        tenth of what its windows, one by one, would. Less than 0.8 s gives none.
        """
        loud = (samples[None] * 32767).astype(np.float32)
        # The numbers with which openWakeWord feeds one network's output to the other.
        mel = self._mel(loud).reshape(-1, 32) / np.float32(10) + np.float32(2)
        if len(mel) < WINDOW_FRAMES:
            return np.zeros((0, SIZE), np.float32)
        return self._embedding(mel[None, :, :, None]).reshape(-1, SIZE)


class _Network:
    """A network of TensorFlow Lite for inputs of any length."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(str(path), num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if values.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, values.shape)
            self._interpreter.allocate_tensors()
            self._shape = values.shape
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        result: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return result
