"""Writes tests/loud/: a small network that fires at noise, exported like any other.

    python -m tests.energy_model

Its probability rises with the loudness of the last two steps, so tests make
it fire with noise and need no trained model. The files lie in the repository
so that the device's tests need neither torch nor onnx.
"""

from __future__ import annotations

from pathlib import Path

import torch

from device.manifest import Detection, Manifest, describe_file
from export.graph import write_network
from export.npz import npz_bytes
from export.quantize import Int8Weight
from train_host.network import Network, Shape

FOLDER = Path(__file__).resolve().parent / "loud"
SHAPE = Shape("separable", 1, 1, 1, "flat", kernel=(5, 16), window=2)
DETECTION = Detection(threshold=0.6, smoothing_steps=3, rearm=0.3, refractory_s=0.8, mute_steps=5)


def energy_network() -> Network:
    """probability = sigmoid(27 x mean over the last two steps of tanh(max(0, mel + 6)) - 20),
    where mel is the mean of a step's own frames."""
    network = Network(SHAPE).eval()
    values = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    values["convolution.depthwise.weight"][:, :, 8:] = 1 / 8  # the frames before are another step's
    values["convolution.pointwise.weight"][:] = 1 / 40
    values["convolution.pointwise.bias"][:] = 6
    values["gru.weight_ih_l0"][2] = 1  # the candidate; the update gate lets all of it through
    values["gru.bias_ih_l0"][1] = -30
    values["classifier.weight"][1] = 27
    values["classifier.bias"][1] = -20
    network.load_state_dict(values)
    return network


def int8_weights(network: Network) -> dict[str, Int8Weight]:
    """Each row holds zeros and one number, which is its scale: just the numbers from above."""
    return {
        name: Int8Weight((weight != 0).to(torch.int8), weight.detach().flatten(1).amax(1))
        for name, weight in network.named_parameters()
        if weight.dim() > 1
    }


def write(folder: Path) -> None:
    """Writes loud.onnx, loud.npz and their manifest loud.json."""
    folder.mkdir(exist_ok=True)
    network = energy_network()
    graph = write_network(network, int8_weights(network))
    paths = {"onnx": folder / "loud.onnx", "npz": folder / "loud.npz"}
    paths["onnx"].write_bytes(graph.SerializeToString())
    paths["npz"].write_bytes(npz_bytes(graph))
    manifest = Manifest(
        keyword="loud",
        front_end=network.front_end,
        step_samples=1280,
        states=network.state_layout(),
        detection=DETECTION,
        files={role: describe_file(path) for role, path in paths.items()},
        training={"corpus": "none: written by hand for tests"},
    )
    manifest.write(folder / "loud.json")


if __name__ == "__main__":
    write(FOLDER)
