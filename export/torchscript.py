"""Streaming TorchScript: samples in, probabilities out, state inside.

The step is traced from the network itself, so that there is no second
definition; around it a small scripted module keeps the state and cuts any
chunks into steps.
"""

import contextlib
import copy
import dataclasses
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.ao.quantization import per_channel_dynamic_qconfig

from export.quantize import Int8Weight
from train_host.frontend import LogMel
from train_host.network import Network, StreamState

STEPS_PER_SECOND_OF_BUFFER = 12
"""Attention steps of `buffer` 1: 12 x 80 ms, the second that the origin's clips last."""


class _Step(nn.Module):
    """One step of the network from and to explicit state, to be traced.

    Int8 weights are kept as they are and made float when the step runs.
    """

    def __init__(self, network: Network, weights: dict[str, Int8Weight]) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.places = [_take_parameter(self.network, name) for name in weights]
        for index, weight in enumerate(weights.values()):
            rows = weight.scales.reshape([-1] + [1] * (weight.values.dim() - 1))
            self.register_buffer(f"values_{index}", weight.values)
            self.register_buffer(f"scales_{index}", rows)

    def forward(
        self, mel: Tensor, conv_tail: Tensor, hidden: Tensor, energies: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        for index, (module, name) in enumerate(self.places):
            weight = getattr(self, f"values_{index}").float() * getattr(self, f"scales_{index}")
            setattr(module, name, weight)
        logits, after = self.network.stream(mel, StreamState(conv_tail, hidden, energies, values))
        return torch.softmax(logits, 2)[0, :, 1], *after


def _take_parameter(network: Network, path: str) -> tuple[nn.Module, str]:
    """Removes a parameter, so that its name can hold what a step computes."""
    parent, _, name = path.rpartition(".")
    module = network.get_submodule(parent)
    delattr(module, name)
    setattr(module, name, torch.zeros(0))
    return module, name


class Streaming(nn.Module):
    """Takes chunks of any length; returns the probability of each step they complete."""

    audio: Tensor
    conv_tail: Tensor
    hidden: Tensor
    energies: Tensor
    values: Tensor
    initial_conv_tail: Tensor
    initial_hidden: Tensor
    initial_energies: Tensor
    initial_values: Tensor

    def __init__(self, step: torch.jit.ScriptModule, network: Network) -> None:
        super().__init__()
        front_end = network.front_end
        self.step = step
        self.log_mel = LogMel(front_end).mel
        self.floor, self.ceiling = front_end.floor, front_end.ceiling
        self.tail = front_end.tail
        self.step_samples = network.shape.stride[1] * front_end.hop
        # What follows is the state: samples not yet used, behind the front end's tail.
        self.register_buffer("audio", torch.zeros(front_end.tail))
        for name, value in network.initial_state()._asdict().items():
            self.register_buffer(name, value)
            self.register_buffer(f"initial_{name}", value.clone())

    def forward(self, samples: Tensor) -> Tensor:
        """float32 (n,) in [-1, 1] at 16 kHz -> float32 (steps completed,)."""
        self.audio = torch.cat([self.audio, samples])
        found: list[Tensor] = []
        need = self.tail + self.step_samples
        while self.audio.shape[0] >= need:
            energies = self.log_mel(self.audio[None, :need]).clamp(self.floor, self.ceiling)
            probability, conv_tail, hidden, energy, values = self.step(
                torch.log(energies).transpose(1, 2),
                self.conv_tail,
                self.hidden,
                self.energies,
                self.values,
            )
            self.conv_tail, self.hidden = conv_tail, hidden
            self.energies, self.values = energy, values
            self.audio = self.audio[self.step_samples :].clone()
            found.append(probability)
        return torch.cat(found) if len(found) > 0 else torch.zeros(0)

    @torch.jit.export
    def reset(self) -> None:
        """Starts a new stream."""
        self.audio = torch.zeros(self.tail)
        self.conv_tail = self.initial_conv_tail.clone()
        self.hidden = self.initial_hidden.clone()
        self.energies = self.initial_energies.clone()
        self.values = self.initial_values.clone()


def with_buffer(network: Network, buffer: int) -> Network:
    """The same network with an attention window of `buffer` seconds (12 steps each)."""
    shape = dataclasses.replace(network.shape, window=buffer * STEPS_PER_SECOND_OF_BUFFER)
    longer = Network(shape, network.front_end)
    longer.load_state_dict(network.state_dict())
    return longer.eval()


def write_streaming(network: Network, weights: dict[str, Int8Weight]) -> torch.jit.ScriptModule:
    """TorchScript with log-mel and softmax inside, and the int8 weights, weight-only."""
    return _script(_Step(network, weights), network)


def dynamic_twin(network: Network) -> Network:
    """A copy whose GRU and linear layers have int8 weights and quantize their activations too.

    Weights get a scale for each output channel: with one for the whole weight,
    torch's default, probabilities move twice as far.
    """
    return _Dynamic(network)


class _Dynamic(Network):
    """All activations of a call share one scale: a result depends on what else is in the call.

    A device calls it for one step of one stream, and so does `stream` here,
    however many it is given.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network.shape, network.front_end)
        self.load_state_dict(network.state_dict())
        self.eval()
        # The engine that packs the weights is the one that computes with them, wherever that is.
        with engine_of_the_pi(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.ao.quantization.quantize_dynamic(
                self, dict.fromkeys((nn.GRU, nn.Linear), per_channel_dynamic_qconfig), inplace=True
            )

    def stream(self, mel: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        if len(mel) > 1:
            axes = [int(name == "hidden") for name in StreamState._fields]
            parts = [part.split(1, axis) for part, axis in zip(state, axes, strict=True)]
            streams = zip(mel.split(1), *parts, strict=True)
            found = [self.stream(one, StreamState(*own)) for one, *own in streams]
            after = zip(*(own for _, own in found), strict=True)
            joined = [torch.cat(part, axis) for part, axis in zip(after, axes, strict=True)]
            return torch.cat([logits for logits, _ in found]), StreamState(*joined)
        if mel.shape[1] <= self.shape.stride[1]:
            return super().stream(mel, state)
        steps = []
        for step in mel.split(self.shape.stride[1], dim=1):
            logits, state = super().stream(step, state)
            steps.append(logits)
        return torch.cat(steps, dim=1), state


def write_dynamic(network: Network) -> torch.jit.ScriptModule:
    """TorchScript of `dynamic_twin`. Feed it whole steps; load it in `engine_of_the_pi`."""
    with engine_of_the_pi():
        return _script(_Step(dynamic_twin(network), {}), network)


def save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Writes a module without its debug tables.

    They hold the paths of the machine that wrote them, and are a third of the file.
    """
    whole = io.BytesIO()
    torch.jit.save(module, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))


@contextlib.contextmanager
def engine_of_the_pi() -> Iterator[None]:
    """Quantized operators as a Pi computes them: by QNNPACK, with 8-bit activations.

    x86-64's own engine leaves activations 7 bits and is less exact.
    """
    before = torch.backends.quantized.engine
    if "qnnpack" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "qnnpack"
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _script(step: _Step, network: Network) -> torch.jit.ScriptModule:
    mel = torch.zeros(1, network.shape.stride[1], network.front_end.mel_bands)
    with torch.no_grad(), warnings.catch_warnings():
        # torch deprecates TorchScript (2.11); the user's runtime still asks for it.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        step.requires_grad_(False)
        traced = torch.jit.trace(step.eval(), (mel, *network.initial_state()))
        scripted: torch.jit.ScriptModule = torch.jit.script(Streaming(traced, network).eval())
    return scripted
