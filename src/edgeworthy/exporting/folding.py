"""Normalisation as part of the first convolution.

A convolution of (x - m) / s with weights W and bias b is one of x with W / s and b - sum(W * m / s),
channel by channel: exact where the convolution pads nothing, for padding zeros of the normalised
picture are not zeros of the raw one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.graph import attribute_value, constant, prune, readers

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
    constants = {name: constant(graph, name) for name in (sub.input[1], div.input[1], *conv.input[1:])}
    values = {name: value.astype(np.float64) for name, value in constants.items() if value is not None}
    if len(values) < len(constants):
        return False
    weight = values[conv.input[1]]
    mean, std = (values[key].reshape(-1) for key in (sub.input[1], div.input[1]))
    bias = values[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weight))
    weight = weight / std.reshape(1, -1, 1, 1)
    bias = bias - (weight * mean.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))
    _replace(graph, conv, weight, bias)
    conv.input[0] = name
    graph.node.remove(sub)
    graph.node.remove(div)
    prune(graph)
    return True


def _only_reader(graph: Any, name: str, operator: str) -> NodeProto | None:
    found = readers(graph, name)
    fits = len(found) == 1 and found[0].op_type == operator and found[0].input[0] == name
    return found[0] if fits and found[0] in graph.node else None


def _pads_nothing(conv: NodeProto) -> bool:
    pads, group = attribute_value(conv, "pads", []), attribute_value(conv, "group", 1)
    auto = attribute_value(conv, "auto_pad", b"NOTSET")
    return not any(pads) and group == 1 and auto in {b"NOTSET", b"VALID"}


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
