"""Nodes that take the place of others, with names and constants of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.graph import Names

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


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


def inferred_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Of all values whose shape can be inferred, and is static; takes a few times the model's memory."""
    from onnx import shape_inference

    return stated_shapes(shape_inference.infer_shapes(model).graph)


def stated_shapes(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """Of all values whose shape the graph tells, as the simplifier leaves it, and is static."""
    found = {}
    for value in (*graph.value_info, *graph.input):
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if sides and all(side > 0 for side in sides):
            found[value.name] = tuple(sides)
    return found
