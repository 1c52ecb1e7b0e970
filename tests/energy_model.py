"""Writes tests/loud/: a small network with the interface of an exported model.

    python -m tests.energy_model

Its probability rises with the loudness of the last two steps, so tests make
it fire with noise and need no trained model. `tail` remembers the last step's
loudness and `count` the number of steps, as a real model's states do. The
files lie in the repository so that the device's tests need no onnx.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from device.manifest import Detection, FrontEnd, Manifest, State, describe_file

FOLDER = Path(__file__).resolve().parent / "loud"
DETECTION = Detection(threshold=0.6, smoothing_steps=3, rearm=0.3, refractory_s=0.8, mute_steps=5)
STATES = (State("tail", (1, 4), -20.0), State("count", (1,), 0.0))


def energy_network() -> onnx.ModelProto:
    """probability = sigmoid(mean mel of this step + that of the step before + 4)."""
    real = TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["now"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["now", "axis"], ["now_2d"]),
        helper.make_node("Expand", ["now_2d", "shape"], ["tail_next"]),
        helper.make_node("ReduceMean", ["tail"], ["before"], axes=[1], keepdims=0),
        helper.make_node("Add", ["now", "before"], ["sum"]),
        helper.make_node("Add", ["sum", "four"], ["centred"]),
        helper.make_node("Sigmoid", ["centred"], ["probability"]),
        helper.make_node("Add", ["count", "one"], ["count_next"]),
    ]
    shapes = {"tail": (1, 4), "count": (1,)}
    graph = helper.make_graph(
        nodes,
        "energy",
        [
            helper.make_tensor_value_info("mel", real, (1, 8, 40)),
            *(helper.make_tensor_value_info(name, real, shapes[name]) for name in shapes),
        ],
        [
            helper.make_tensor_value_info("probability", real, (1,)),
            *(helper.make_tensor_value_info(f"{name}_next", real, shapes[name]) for name in shapes),
        ],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(np.array([1, 4], np.int64), "shape"),
            numpy_helper.from_array(np.array([4], np.float32), "four"),
            numpy_helper.from_array(np.array([1], np.float32), "one"),
        ],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(network)
    return network


def write(folder: Path) -> None:
    """Writes loud.onnx and its manifest loud.json."""
    folder.mkdir(exist_ok=True)
    path = folder / "loud.onnx"
    path.write_bytes(energy_network().SerializeToString())
    manifest = Manifest(
        keyword="loud",
        front_end=FrontEnd(),
        step_samples=1280,
        states=STATES,
        detection=DETECTION,
        files={"onnx": describe_file(path)},
        training={"corpus": "none: written by hand for tests"},
    )
    manifest.write(folder / "loud.json")


if __name__ == "__main__":
    write(FOLDER)
