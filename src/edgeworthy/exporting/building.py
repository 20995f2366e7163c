"""Nodes that take the place of others, with names and constants of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.graph import Names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SMALL = 1024  # values of a tensor that may well be a shape


class Builder:
    """Makes what takes the place of nodes."""

    def __init__(self, model: ModelProto) -> None:
        self.graph, self.names = model.graph, Names(model)

    def after(self, node: NodeProto) -> Adder:
        """Makes nodes that are called after one."""
        return Adder(self, node.name or node.output[0])


class Adder:
    """Makes nodes, one behind the other, and their constants."""

    def __init__(self, build: Builder, stem: str) -> None:
        self._build, self._stem = build, stem
        self.nodes: list[NodeProto] = []

    def __call__(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The output of a node that is added."""
        from onnx import helper

        name = self._build.names(f"{self._stem}/{kind}")
        output = output or self._build.names(f"{name}_output_0")
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def constant(self, value: Any) -> str:
        """A float32 number, or a shape."""
        from onnx import numpy_helper

        name = self._build.names(f"{self._stem}/constant")
        array = np.asarray(value) if isinstance(value, np.float32) else np.array(value, np.int64)
        self._build.graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def inferred_shapes(model: ModelProto, *, floats: bool = False) -> dict[str, tuple[int, ...]]:
    """Of all values, or those of float32, whose shape can be inferred, and is static."""
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    found = {}
    for value in (*graph.value_info, *graph.input):
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        wanted = not floats or value.type.tensor_type.elem_type == TensorProto.FLOAT
        if wanted and sides and all(side > 0 for side in sides):
            found[value.name] = tuple(sides)
    return found


def _without_weights(model: ModelProto) -> ModelProto:
    """The same graph, with large tensors as inputs: inference makes copies of all that it is given."""
    from onnx import GraphProto, helper

    whole = model.graph
    small = [tensor for tensor in whole.initializer if math.prod(tensor.dims) <= _SMALL]
    large = [tensor for tensor in whole.initializer if math.prod(tensor.dims) > _SMALL]
    graph = GraphProto(name=whole.name, node=whole.node, value_info=whole.value_info, output=whole.output)
    graph.initializer.extend(small)
    graph.input.extend(whole.input)
    given = {value.name for value in whole.input}
    graph.input.extend(
        helper.make_tensor_value_info(one.name, one.data_type, list(one.dims))
        for one in large
        if one.name not in given
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
