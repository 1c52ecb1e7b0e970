"""Float16 storage: every number takes two bytes in the file and is made float32 when it loads."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from device.errors import ExportError
from export.graph import write_network
from train_host.network import Network


def half_twin(network: Network, *, biases_only: bool = False) -> Network:
    """A float32 network with its weights and biases, or those alone, rounded to float16.

    Raises ExportError when one of them is greater than float16 can hold.
    """
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if biases_only and parameter.dim() > 1:
                continue
            rounded = parameter.half().float()
            if not torch.isfinite(rounded).all():
                raise ExportError(f"{name} is too large for float16; store the network as float32")
            parameter.copy_(rounded)
    return twin.eval()


def write_half(network: Network) -> onnx.ModelProto:
    """`export.graph.write_network` with float16 numbers, which a Cast makes float32 at load.

    It computes what `half_twin` computes.
    """
    model = write_network(half_twin(network), {})
    graph = model.graph
    casts = []
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            whole, stored = constant.name, f"{constant.name}h"
            half = numpy_helper.to_array(constant).astype(np.float16)
            constant.CopyFrom(numpy_helper.from_array(half, stored))
            casts.append(helper.make_node("Cast", [stored], [whole], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model
