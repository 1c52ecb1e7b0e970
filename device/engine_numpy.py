"""The engine in numpy: runs the network of `MODEL.npz`, whatever its shape, step by step.

The file holds the arrays that export/npz.py describes: weights as int8 with a
scale for each row (`NAME.scale`), or as floats. The network is that of
train_host/network.py, computed with two short cuts that change nothing but
rounding:

* the classifier is linear and its softmax sees only the difference of the two
  logits, so the attention's window keeps one number of each GRU output and
  not all of it;
* attention does not ask for the order of its slots, so the newest step takes
  the place of the oldest and nothing is moved.

A step of so small a network costs what its calls cost, not its products: hence
the method `dot`, the quickest way into the matrix product, and plain floats
where there are a dozen of them.
"""

from __future__ import annotations

import math
import operator
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from device.errors import ManifestError
from device.manifest import Manifest, State

Floats = NDArray[np.float32]


class NumpyEngine:
    """The network in numpy.

    Raises ManifestError when the file is not the network that the manifest
    describes.
    """

    def __init__(self, manifest: Manifest, path: Path) -> None:
        self._network = _Network(manifest, path, ())
        self._attention = self._network.attention()

    def reset(self) -> None:
        self._network.reset()
        self._attention.reset()

    def step(self, mel: Floats) -> float:
        energy, logit = self._network.step(mel)
        return self._attention(float(energy), float(logit))


class NumpyStreams:
    """The network on several streams, whose products are those of a matrix and not of vectors.

    So the weights are read once for all streams. Raises as `NumpyEngine`.
    """

    def __init__(self, manifest: Manifest, path: Path, streams: int) -> None:
        self._network = _Network(manifest, path, (streams,))
        self._attentions = [self._network.attention() for _ in range(streams)]

    def reset(self) -> None:
        self._network.reset()
        for attention in self._attentions:
            attention.reset()

    def step(self, mel: Floats) -> list[float]:
        energies, logits = self._network.step(mel.transpose(1, 2, 0))
        each = zip(self._attentions, energies.tolist(), logits.tolist(), strict=True)
        return [attention(energy, logit) for attention, energy, logit in each]


class _Network:
    """All layers up to the attention.

    `streams` is empty or holds their number: then every array has a last axis more,
    for the streams. Raises ManifestError as `NumpyEngine`.
    """

    def __init__(self, manifest: Manifest, path: Path, streams: tuple[int, ...]) -> None:
        try:
            states = _states(manifest)
            weights = _Weights(path)
            _, tail, bands = states["conv_tail"].shape
            layers, _, units = states["hidden"].shape
            self._frames = np.zeros((tail + manifest.frames_per_step, bands, *streams), np.float32)
            form = _Separable if "depthwise" in weights else _Full
            self._convolution = form(weights, self._frames)
            inputs = [self._convolution.features, *[units] * (layers - 1)]
            self._layers = [
                _GruLayer(weights, f"gru.{layer}", features, units, streams)
                for layer, features in enumerate(inputs)
            ]
            self._energy = _Energy(weights, units, streams)
            classifier = weights.take("classifier", 2, units)
            bias = weights.take("classifier.bias", 2)
            weights.check_all_taken()
        except _WrongError as error:
            raise ManifestError(f"{path}: {error}; export the model again") from error
        self._classifier: Floats = classifier[1] - classifier[0]
        self._bias = float(bias[1] - bias[0])
        self._tail = tail
        self._window = states["energies"].shape[1]
        self._initial = {name: state.initial for name, state in states.items()}
        self.reset()

    def attention(self) -> _Attention:
        """What pools the steps of one stream."""
        empty = self._initial["values"] * float(self._classifier.sum())
        return _Attention(self._window, self._initial["energies"], empty, self._bias)

    def reset(self) -> None:
        self._frames.fill(self._initial["conv_tail"])
        for layer in self._layers:
            layer.hidden = np.full_like(layer.hidden, self._initial["hidden"])

    def step(self, mel: Floats) -> tuple[Floats, Floats]:
        """(frames, bands[, streams]) to the energy and the logit of the step, ([streams])."""
        frames, tail = self._frames, self._tail
        frames[:tail] = frames[-tail:]
        frames[tail:] = mel
        value = self._convolution()
        for layer in self._layers:
            value = layer(value)
        return self._energy(value), self._classifier.dot(value)


class _Attention:
    """The window of one stream: the probability that its steps say together."""

    def __init__(self, window: int, energy: float, logit: float, bias: float) -> None:
        """`energy` and `logit`: those of an empty slot."""
        self._window, self._empty, self._bias = window, (energy, logit), bias
        self.reset()

    def reset(self) -> None:
        energy, logit = self._empty
        self._energies, self._logits = [energy] * self._window, [logit] * self._window
        self._slot = 0

    def __call__(self, energy: float, logit: float) -> float:
        self._energies[self._slot] = energy
        self._logits[self._slot] = logit
        self._slot = (self._slot + 1) % self._window
        # Softmax over the window, and that of two classes as a logistic function, by tanh,
        # which does not overflow.
        greatest = max(self._energies)
        shares = [math.exp(energy - greatest) for energy in self._energies]
        pooled = sum(map(operator.mul, shares, self._logits)) / sum(shares)
        return 0.5 + 0.5 * math.tanh(0.5 * (pooled + self._bias))


class _Separable:
    """One filter in time for each band, a pointwise mix and a rectifier."""

    def __init__(self, weights: _Weights, frames: Floats) -> None:
        """`frames`: (kernel, bands[, streams]), which the caller fills before each call."""
        kernel, bands, *streams = frames.shape
        self._frames = frames
        filters = np.ascontiguousarray(weights.take("depthwise", bands, kernel).T)
        self._filters = _beside(filters, streams)
        self._mix = weights.take("pointwise", None, bands)
        bias = weights.take("pointwise.bias", len(self._mix))
        if "inputs" in weights:
            inputs = weights.indices("inputs", len(self._mix))
            self._mix, bias = self._mix[inputs], bias[inputs]
        self._bias = _beside(bias, streams)
        self._filtered = np.empty_like(frames)
        self._in_time = self._filtered.reshape(kernel, -1)
        self._ones = np.ones(kernel, np.float32)
        self._bands = bands, *streams
        self.features = len(self._mix)

    def __call__(self) -> Floats:
        np.multiply(self._frames, self._filters, out=self._filtered)
        mixed: Floats = self._mix.dot(self._ones.dot(self._in_time).reshape(self._bands))
        mixed += self._bias
        return np.maximum(mixed, 0.0, out=mixed)


class _Full:
    """Filters that slide over the bands."""

    def __init__(self, weights: _Weights, frames: Floats) -> None:
        """`frames`: (kernel, bands[, streams]), which the caller fills before each call."""
        kernel, bands, *streams = frames.shape
        filters = weights.take("convolution", None, None, kernel)
        channels, height, _ = filters.shape
        stride = int(weights.indices("stride", bands + 1)[0])
        if not height <= bands or stride < 1:
            raise _WrongError("its filters do not fit the bands")
        self._filters = filters.reshape(channels, height * kernel)
        self._bias = weights.take("convolution.bias", channels)[:, None]
        # Views: they follow the frames. First the positions and the streams, then the patch.
        windows = sliding_window_view(frames, height, axis=1)[:, ::stride]
        self._windows = np.moveaxis(windows, 0, -1)
        self._copied = np.empty(self._windows.shape, np.float32)
        self._patches = self._copied.reshape(-1, height * kernel).T
        every = channels * len(self._copied)
        self._every = every, *streams
        self._inputs = weights.indices("inputs", every) if "inputs" in weights else None
        self.features = every if self._inputs is None else len(self._inputs)

    def __call__(self) -> Floats:
        self._copied[:] = self._windows
        maps = self._filters.dot(self._patches)
        maps += self._bias
        features: Floats = maps.reshape(self._every)
        return features if self._inputs is None else features[self._inputs]


class _GruLayer:
    """Gated recurrent units (Cho et al., arXiv 1406.1078) with their state.

    Torch's form: the reset gate comes after the recurrent product. The rows of
    the weights are those of the update gate, the reset gate and the candidate.
    """

    def __init__(
        self, weights: _Weights, name: str, features: int, units: int, streams: tuple[int, ...]
    ) -> None:
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: the gates' rows carry the inner half.
        half = np.ones(3 * units, np.float32)
        half[: 2 * units] = 0.5
        self._input = weights.take(f"{name}.input", 3 * units, features)
        self._input *= half[:, None]
        self._recurrent = weights.take(f"{name}.recurrent", 3 * units, units)
        self._recurrent *= half[:, None]
        biases = weights.take(f"{name}.bias", 2, 3 * units) * half
        self._input_bias, self._recurrent_bias = (_beside(bias, streams) for bias in biases)
        self._gates = slice(0, 2 * units)
        self._update, self._reset = slice(0, units), slice(units, 2 * units)
        self._candidate = slice(2 * units, 3 * units)
        self.hidden = np.zeros((units, *streams), np.float32)

    def __call__(self, features: Floats) -> Floats:
        """(features[, streams]) to the layer's new output and state, (units[, streams])."""
        fresh = self._input.dot(features)
        fresh += self._input_bias
        past = self._recurrent.dot(self.hidden)
        past += self._recurrent_bias
        gates = fresh[self._gates]
        gates += past[self._gates]
        np.tanh(gates, out=gates)
        gates *= 0.5
        gates += 0.5
        candidate = past[self._candidate]
        candidate *= gates[self._reset]
        candidate += fresh[self._candidate]
        np.tanh(candidate, out=candidate)
        hidden: Floats = self.hidden - candidate
        hidden *= gates[self._update]
        hidden += candidate
        self.hidden = hidden
        return hidden


class _Energy:
    """The attention's energy of a step: one linear layer, or two with a tanh between them."""

    def __init__(self, weights: _Weights, units: int, streams: tuple[int, ...]) -> None:
        self._hidden: tuple[Floats, Floats] | None = None
        if "energy.hidden" in weights:
            matrix = weights.take("energy.hidden", None, units)
            units = len(matrix)
            self._hidden = matrix, _beside(weights.take("energy.hidden.bias", units), streams)
        self._row = weights.take("energy", 1, units)[0]
        self._bias = weights.take("energy.bias", 1)[0]

    def __call__(self, value: Floats) -> Floats:
        if self._hidden:
            matrix, bias = self._hidden
            value = matrix.dot(value)
            value += bias
            np.tanh(value, out=value)
        energy: Floats = self._row.dot(value) + self._bias
        return energy


def _beside(values: Floats, streams: Sequence[int]) -> Floats:
    """The same for every stream, if there is an axis of them."""
    return values[..., None] if streams else values


class _WrongError(Exception):
    """What is wrong, without the path."""


class _Weights:
    """The arrays of a file by name, each taken once and made float32."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                self._arrays: dict[str, NDArray[np.generic]] = dict(archive)
        except (
            OSError,
            EOFError,
            ValueError,
            TypeError,
            AttributeError,
            RuntimeError,
            MemoryError,
            SyntaxError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise _WrongError(f"it holds no network ({error or type(error).__name__})") from error

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def take(self, name: str, *shape: int | None) -> Floats:
        """An array as float32, its rows scaled if it has scales; None stands for any length."""
        array = self._pop(name)
        if array.dtype not in (np.int8, np.float16, np.float32):
            raise _WrongError(f"{name!r} holds {array.dtype}")
        wrong = array.ndim != len(shape) or any(
            wanted not in (None, found) or not found
            for wanted, found in zip(shape, array.shape, strict=True)
        )
        if wrong:
            wanted = [length or "any" for length in shape]
            raise _WrongError(f"{name!r} is {list(array.shape)} and should be {wanted}")
        values: Floats = array.astype(np.float32)
        if f"{name}.scale" in self:
            scales = self.take(f"{name}.scale", len(array))
            values *= scales.reshape(-1, *[1] * (array.ndim - 1))
        if not np.isfinite(values).all():
            raise _WrongError(f"{name!r} holds numbers that are not finite")
        return values

    def indices(self, name: str, end: int) -> NDArray[np.int64]:
        """An array of whole numbers from 0 up to `end`, not included, at least one."""
        array = self._pop(name)
        if array.dtype != np.int64 or array.ndim != 1 or not len(array):
            raise _WrongError(f"{name!r} must be a list of whole numbers")
        found: NDArray[np.int64] = array.astype(np.int64)
        if found.min() < 0 or found.max() >= end:
            raise _WrongError(f"{name!r} must lie between 0 and {end - 1}")
        return found

    def check_all_taken(self) -> None:
        if self._arrays:
            raise _WrongError(f"it holds {min(self._arrays)!r}, which no network has")

    def _pop(self, name: str) -> NDArray[np.generic]:
        try:
            return self._arrays.pop(name)
        except KeyError:
            raise _WrongError(f"it has no {name!r}") from None


_STATES = {"conv_tail": 3, "hidden": 3, "energies": 2, "values": 3}
"""The states of the network and how many axes they have."""


def _states(manifest: Manifest) -> dict[str, State]:
    """The manifest's states by name."""
    states = {state.name: state for state in manifest.states}
    if {name: len(state.shape) for name, state in states.items()} != _STATES:
        raise _WrongError("the manifest's states are those of another network")
    bands, (layers, _, units) = manifest.front_end.mel_bands, states["hidden"].shape
    window = states["energies"].shape[1]
    for name, shape in {
        "conv_tail": (1, states["conv_tail"].shape[1], bands),
        "hidden": (layers, 1, units),
        "energies": (1, window),
        "values": (1, window, units),
    }.items():
        if states[name].shape != shape:
            raise _WrongError(
                f"the manifest's state {name!r} is {list(states[name].shape)} and should be "
                f"{list(shape)}"
            )
    return states
