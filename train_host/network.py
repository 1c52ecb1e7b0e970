"""The convolutional-recurrent network (CRNN), one definition for every use.

Training, streaming, counting and export all call the module below. The origin
(the keyword-spotting homework of HSE's deep-learning-for-audio course) builds
it as convolution -> GRU -> attention over time -> linear layer, after Shan et
al., "Attention-based End-to-End Models for Small-Footprint Keyword Spotting"
(arXiv 1803.10916).

Two modes, one set of weights:

* `clip`: a whole recording at once, attention over all of it (the origin's);
* `stream`: any whole number of steps with explicit state in and out and
  attention over the last `window` steps. Offline is the same call over the
  whole recording, so stream and offline can be compared exactly.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from device.errors import CorpusError
from device.manifest import FrontEnd, State

EMPTY_SLOT = -1e4
"""Energy of an attention slot that holds nothing yet: its weight underflows to 0."""


@dataclass(frozen=True)
class Shape:
    """Sizes of one network."""

    convolution: Literal["full", "separable"]
    """`full`: one Conv2d as in the origin. `separable`: one filter in time for each
    mel band, then a pointwise mix (Howard et al., MobileNets, arXiv 1704.04861)."""
    channels: int
    """Output channels of the convolution."""
    hidden: int
    """GRU units a layer."""
    layers: int
    """GRU layers."""
    attention: Literal["deep", "flat"]
    """Energy of a step: `deep` is Linear-tanh-Linear (the origin's), `flat` one Linear."""
    kernel: tuple[int, int] = (5, 20)
    """Mel bands and frames under the full convolution; the separable one uses the frames."""
    stride: tuple[int, int] = (2, 8)
    """Likewise; the frames are those of one step."""
    window: int = 12
    """Attention window of a stream, in steps (80 ms each)."""
    attention_width: int | None = None
    """Units of a deep attention; None: as many as the GRU has."""
    inputs: tuple[int, ...] | None = None
    """Which features of the convolution the GRU takes; None: all."""


BASE_32 = Shape("full", channels=8, hidden=32, layers=2, attention="deep")
"""The seminar's base model: 25,387 parameters."""
BASE_64 = Shape("full", channels=8, hidden=64, layers=2, attention="deep")
"""The published base model: 70,443 parameters."""


class StreamState(NamedTuple):
    """What a stream carries from one step to the next, for a batch of B streams."""

    conv_tail: Tensor
    """(B, kernel - stride frames, mel bands): the last log-mel frames."""
    hidden: Tensor
    """(layers, B, hidden): the GRU's state."""
    energies: Tensor
    """(B, window): attention energies of the last steps."""
    values: Tensor
    """(B, window, hidden): GRU outputs of the last steps."""


class Trace(NamedTuple):
    """What a stream computes on its way, step by step, and its state at the end."""

    features: Tensor
    """(B, steps, GRU inputs): what the convolution gives the GRU."""
    outputs: Tensor
    """(B, steps, hidden): the GRU's last layer."""
    weights: Tensor
    """(B, steps, window): the attention of each step over the slots that end with its own."""
    logits: Tensor
    """(B, steps, 2)."""
    state: StreamState


class SeparableConvolution(nn.Module):
    """(B, bands, frames) -> (B, channels, steps)."""

    def __init__(self, shape: Shape, bands: int) -> None:
        super().__init__()
        # No bias: the pointwise one, which follows at once, serves both.
        self.depthwise = nn.Conv1d(
            bands, bands, shape.kernel[1], stride=shape.stride[1], groups=bands, bias=False
        )
        self.pointwise = nn.Conv1d(bands, shape.channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(self.depthwise(mel))
        return torch.relu(mixed)


class FullConvolution(nn.Module):
    """(B, bands, frames) -> (B, channels x band positions, steps)."""

    def __init__(self, shape: Shape, bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, shape.channels, shape.kernel, stride=shape.stride)

    def forward(self, mel: Tensor) -> Tensor:
        maps: Tensor = self.conv(mel[:, None])
        return maps.flatten(1, 2)


class Network(nn.Module):
    """The CRNN. Class 1 of its two classes is the keyword."""

    inputs: Tensor

    def __init__(self, shape: Shape, front_end: FrontEnd | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.front_end = front_end or FrontEnd()
        bands = self.front_end.mel_bands
        self.convolution: nn.Module
        if shape.convolution == "separable":
            self.convolution = SeparableConvolution(shape, bands)
            features = shape.channels
        else:
            self.convolution = FullConvolution(shape, bands)
            positions = (bands - shape.kernel[0]) // shape.stride[0] + 1
            features = shape.channels * positions
        if shape.inputs is not None:
            features = len(shape.inputs)
        self.register_buffer(
            "inputs", torch.tensor(shape.inputs or (), dtype=torch.int64), persistent=False
        )
        self.gru = nn.GRU(features, shape.hidden, shape.layers, batch_first=True)
        if shape.attention == "deep":
            width = shape.attention_width or shape.hidden
            self.energy: nn.Module = nn.Sequential(
                nn.Linear(shape.hidden, width), nn.Tanh(), nn.Linear(width, 1)
            )
        else:
            self.energy = nn.Linear(shape.hidden, 1)
        self.classifier = nn.Linear(shape.hidden, 2)

    @property
    def tail_frames(self) -> int:
        return self.shape.kernel[1] - self.shape.stride[1]

    def state_layout(self) -> tuple[State, ...]:
        """The streaming state of one stream, as the manifest lists it."""
        shape, front_end = self.shape, self.front_end
        # Before its first sample a stream is taken for digital silence.
        silence = float(torch.log(torch.tensor(front_end.floor)))
        return (
            State("conv_tail", (1, self.tail_frames, front_end.mel_bands), silence),
            State("hidden", (shape.layers, 1, shape.hidden), 0.0),
            State("energies", (1, shape.window), EMPTY_SLOT),
            State("values", (1, shape.window, shape.hidden), 0.0),
        )

    def initial_state(self, batch: int = 1) -> StreamState:
        """The state of `batch` streams at their start."""
        parts = []
        for state in self.state_layout():
            size = list(state.shape)
            size[1 if state.name == "hidden" else 0] = batch
            parts.append(torch.full(size, state.initial))
        return StreamState(*parts)

    def clip(self, mel: Tensor) -> Tensor:
        """Logits (B, 2) of whole clips, from log-mel (B, frames, bands)."""
        outputs, _ = self.gru(self._features(mel))
        weights = torch.softmax(self.energy(outputs), dim=1)
        logits: Tensor = self.classifier((weights * outputs).sum(dim=1))
        return logits

    def stream(self, mel: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Logits (B, steps, 2) after each step, and the state after the last, as `trace` has."""
        trace = self.trace(mel, state)
        return trace.logits, trace.state

    def trace(self, mel: Tensor, state: StreamState) -> Trace:
        """All that the stream computes on the frames that follow those `state` has seen.

        `mel` is (B, frames, bands) with `stride` frames to a step.
        """
        if mel.shape[1] % self.shape.stride[1]:
            raise ValueError(f"{mel.shape[1]} frames are not a whole number of steps")
        frames = torch.cat([state.conv_tail, mel], dim=1)
        features = self._features(frames)
        outputs, hidden = self.gru(features, state.hidden)
        energies = torch.cat([state.energies, self.energy(outputs).squeeze(2)], dim=1)
        values = torch.cat([state.values, outputs], dim=1)
        window = self.shape.window
        # Step k sees the `window` slots that end with its own; the oldest window is the past's.
        weights = torch.softmax(energies.unfold(1, window, 1)[:, 1:], dim=2)
        context = (values.unfold(1, window, 1)[:, 1:] * weights[:, :, None]).sum(dim=3)
        next_state = StreamState(
            frames[:, frames.shape[1] - self.tail_frames :],
            hidden,
            energies[:, -window:],
            values[:, -window:],
        )
        return Trace(features, outputs, weights, self.classifier(context), next_state)

    def _features(self, mel: Tensor) -> Tensor:
        """What the GRU takes: (B, frames, bands) -> (B, steps, features)."""
        features: Tensor = self.convolution(mel.transpose(1, 2)).transpose(1, 2)
        return features if self.shape.inputs is None else features[:, :, self.inputs]


def fold_normalisation(network: Network, mean: Tensor, std: Tensor) -> None:
    """Makes a network that was trained on (mel - mean) / std take mel itself.

    `mean` and `std` are (bands,). The filters absorb both, so the running
    network spends nothing on them. Raises ValueError when they differ between
    bands and the convolution is full: its filters slide over the bands.
    """
    convolution = network.convolution
    with torch.no_grad():
        if isinstance(convolution, SeparableConvolution):
            filters, mix = convolution.depthwise.weight, convolution.pointwise
            filters /= std[:, None, None]
            assert mix.bias is not None
            mix.bias -= mix.weight[:, :, 0] @ (filters.sum(dim=(1, 2)) * mean)
        else:
            assert isinstance(convolution, FullConvolution)
            if not (mean.allclose(mean[0]) and std.allclose(std[0])):
                raise ValueError(
                    "a full convolution absorbs one mean and deviation for all bands only"
                )
            conv = convolution.conv
            assert conv.bias is not None
            conv.weight /= std[0]
            conv.bias -= conv.weight.flatten(1).sum(dim=1) * mean[0]


def save_checkpoint(network: Network, path: Path, **record: Any) -> None:
    """Writes weights, shape and a record of plain values; loads without running code."""
    torch.save(
        {
            "shape": asdict(network.shape),
            "front_end": asdict(network.front_end),
            "weights": network.state_dict(),
            "record": record,
        },
        path,
    )


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network and the record that `save_checkpoint` wrote.

    Raises CorpusError when the file is no such checkpoint.
    """
    try:
        content = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CorpusError(f"{path}: not a checkpoint; run `make train` again") from error
    shape = dict(content["shape"])
    for name in ("kernel", "stride", "inputs"):  # written as lists, or not at all
        if shape.get(name) is not None:
            shape[name] = tuple(shape[name])
    network = Network(Shape(**shape), FrontEnd(**content["front_end"]))
    try:
        network.load_state_dict(content["weights"])
    except RuntimeError as error:
        raise CorpusError(
            f"{path}: of another version of kws-pi; run `make train` again"
        ) from error
    return network.eval(), content["record"]
