"""Normalisation as part of the first convolution.

A convolution of (x - m) / s with weights W and bias b is one of x with W / s and b - sum(W * m / s),
channel by channel: exact where the convolution pads nothing, for padding zeros of the normalised
picture are not zeros of the raw one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.model import nodes_within

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Array = npt.NDArray[np.float64]


def fold_normalization(model: ModelProto) -> bool:
    """Fold `input -> [Transpose] -> Sub -> Div -> Conv` in place; False where that would not be exact."""
    graph = model.graph
    name = graph.input[0].name
    transpose = _only_reader(graph, name, "Transpose")
    if transpose is not None:
        name = transpose.output[0]
    sub = _only_reader(graph, name, "Sub")
    div = sub and _only_reader(graph, sub.output[0], "Div")
    conv = div and _only_reader(graph, div.output[0], "Conv")
    if sub is None or div is None or conv is None or not _pads_nothing(conv):
        return False
    wanted = [sub.input[1], div.input[1], *conv.input[1:]]
    constants = _constants(graph, wanted)
    if len(constants) < len(set(wanted)):
        return False
    weight = constants[conv.input[1]]
    mean, std = (constants[key].reshape(-1) for key in (sub.input[1], div.input[1]))
    bias = constants[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weight))
    weight = weight / std.reshape(1, -1, 1, 1)
    bias = bias - (weight * mean.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))
    _replace(graph, conv, weight, bias)
    conv.input[0] = name
    graph.node.remove(sub)
    graph.node.remove(div)
    _drop_unused(graph)
    return True


def _only_reader(graph: Any, name: str, operator: str) -> NodeProto | None:
    readers = [node for node in nodes_within(graph) if name in node.input]
    fits = len(readers) == 1 and readers[0].op_type == operator and readers[0].input[0] == name
    if not fits or readers[0] not in graph.node:
        return None
    found: NodeProto = readers[0]
    return found


def _pads_nothing(conv: NodeProto) -> bool:
    attributes = {attribute.name: attribute for attribute in conv.attribute}
    pads = attributes["pads"].ints if "pads" in attributes else []
    group = attributes["group"].i if "group" in attributes else 1
    auto = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    return not any(pads) and group == 1 and auto in {b"NOTSET", b"VALID"}


def _constants(graph: Any, wanted: list[str]) -> dict[str, Array]:
    from onnx import numpy_helper

    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    tensors += [
        (node.output[0], node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    ]
    return {
        name: numpy_helper.to_array(tensor).astype(np.float64) for name, tensor in tensors if name in wanted
    }


def _replace(graph: Any, conv: NodeProto, weight: Array, bias: Array) -> None:
    from onnx import numpy_helper

    for values, kind in ((weight, "weight"), (bias, "bias")):
        name = f"normalized_{kind}"
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        position = 1 if kind == "weight" else 2
        if len(conv.input) > position:
            conv.input[position] = name
        else:
            conv.input.append(name)


def _drop_unused(graph: Any) -> None:
    used = {name for node in nodes_within(graph) for name in node.input}
    used |= {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in used]:
        graph.node.remove(node)
