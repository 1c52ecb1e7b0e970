"""A small network with the interface of an exported model, made on the spot.

Its probability rises with the loudness of the last two steps, so tests can
make it fire with noise and need no trained model. `tail` remembers the last
step's loudness and `count` the number of steps, as a real model's states do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device.manifest import Detection, FrontEnd, Manifest, State, describe_file

DETECTION = Detection(threshold=0.6, smoothing_steps=3, rearm=0.3, refractory_s=0.8, mute_steps=5)
STATES = (State("tail", (1, 4), -20.0), State("count", (1,), 0.0))


def write_energy_model(folder: Path, detection: Detection = DETECTION) -> Path:
    """Writes loud.onnx and its manifest loud.json; returns the manifest's path."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, real = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT

    def constant(name: str, value: object) -> object:
        return numpy_helper.from_array(np.array(value, np.float32), name)

    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["now"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["now", "axis"], ["now2"]),
        helper.make_node("Expand", ["now2", "shape"], ["tail_next"]),
        helper.make_node("ReduceMean", ["tail"], ["before"], axes=[1], keepdims=0),
        helper.make_node("Add", ["now", "before"], ["sum"]),
        helper.make_node("Sub", ["sum", "middle"], ["centred"]),
        helper.make_node("Sigmoid", ["centred"], ["probability"]),
        helper.make_node("Add", ["count", "one"], ["count_next"]),
    ]
    graph = helper.make_graph(
        nodes,
        "energy",
        [
            helper.make_tensor_value_info("mel", real, (1, 8, 40)),
            helper.make_tensor_value_info("tail", real, (1, 4)),
            helper.make_tensor_value_info("count", real, (1,)),
        ],
        [
            helper.make_tensor_value_info("probability", real, (1,)),
            helper.make_tensor_value_info("tail_next", real, (1, 4)),
            helper.make_tensor_value_info("count_next", real, (1,)),
        ],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(np.array([1, 4], np.int64), "shape"),
            constant("middle", [-4.0]),
            constant("one", [1.0]),
        ],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(network)
    path = folder / "loud.onnx"
    path.write_bytes(network.SerializeToString())
    manifest = Manifest(
        keyword="loud",
        front_end=FrontEnd(),
        step_samples=1280,
        states=STATES,
        detection=detection,
        files={"onnx": describe_file(path)},
        training={"corpus": "none"},
    )
    manifest.write(folder / "loud.json")
    return folder / "loud.json"
