"""Long sums in two steps, where ONNX Runtime adds up value by value.

Its InstanceNormalization and ReduceMean add thousands of float32 values in a few running sums, which loses
two of seven digits: normalising groups of 50,000 values is off by 2e-5 of their size, where a mean of means
is off by 6e-7 (timm's test_efficientnet_gn, node by node). Summing blocks first bounds the error by the root
of the length instead of the length (pairwise summation, of which this is the two-level form: Higham, Accuracy
and Stability of Numerical Algorithms, 4.2). A network that is full of them becomes a quarter slower, so
it is done only where the plain graph cannot be proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.graph import Names, attribute_value, constant

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_LONG = 1024  # values; what is added of fewer hardly loses a digit


def split_sums(model: ModelProto) -> int:
    """Rewrite the long sums of a graph with static shapes, in place.

    Args:
        model: of an opset whose ReduceMean has its axes as an attribute, 17 or below.

    Returns:
        How many there were.
    """
    shapes = _shapes(model)
    build = _Builder(model)
    nodes: list[NodeProto] = []
    split = 0
    for node in model.graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        apart = None
        if shape and node.op_type == "InstanceNormalization":
            apart = _instance_normalization(node, shape, build)
        elif shape and node.op_type == "ReduceMean":
            apart = _mean(node, shape, build)
        nodes += apart or [node]
        split += apart is not None
    if split:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        del model.graph.value_info[:]
    return split


class _Builder:
    """Makes nodes and constants with names of their own."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self._names = Names(model)

    def constant(self, stem: str, value: Any) -> str:
        from onnx import numpy_helper

        name = self._names(f"{stem}/constant")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(
        self, kind: str, inputs: list[str], stem: str, *, output: str = "", **attributes: Any
    ) -> NodeProto:
        from onnx import helper

        name = self._names(f"{stem}/{kind}")
        return helper.make_node(kind, inputs, [output or f"{name}_output_0"], name=name, **attributes)


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Of all values whose shape is known and static."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.value_info, *graph.input):
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if sides and all(side > 0 for side in sides):
            found[value.name] = tuple(sides)
    return found


def _instance_normalization(
    node: NodeProto, shape: tuple[int, ...], build: _Builder
) -> list[NodeProto] | None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, means in two steps; None where they are short."""
    length = math.prod(shape[2:])
    if length <= _LONG:
        return None
    stem, (data, scale, bias) = node.name or node.output[0], node.input
    rows = _rows(length)
    epsilon = attribute_value(node, "epsilon", 1e-5)
    made: list[NodeProto] = []

    def add(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        made.append(build.node(kind, list(inputs), stem, output=output, **attributes))
        return str(made[-1].output[0])

    def mean(value: str) -> str:
        return add("ReduceMean", add("ReduceMean", value, axes=[3], keepdims=1), axes=[2], keepdims=1)

    blocks = build.constant(stem, np.array([shape[0], shape[1], rows, length // rows], np.int64))
    centred = add("Reshape", data, blocks)
    centred = add("Sub", centred, mean(centred))
    variance = add("Add", mean(add("Mul", centred, centred)), build.constant(stem, np.float32(epsilon)))
    result = add("Div", centred, add("Sqrt", variance))
    for kind, name, nothing in (("Mul", scale, 1), ("Add", bias, 0)):
        known = constant(build.graph, name)
        if known is None or (known != nothing).any():
            column = build.constant(stem, np.array([1, shape[1], 1, 1], np.int64))
            result = add(kind, result, add("Reshape", name, column))
    add("Reshape", result, build.constant(stem, np.array(shape, np.int64)), output=node.output[0])
    return made


def _mean(node: NodeProto, shape: tuple[int, ...], build: _Builder) -> list[NodeProto] | None:
    """The mean over the last axis, then over the others; of one alone, in blocks; None where it is short."""
    axes = sorted(axis % len(shape) for axis in attribute_value(node, "axes", range(len(shape))))
    if math.prod(shape[axis] for axis in axes) <= _LONG:
        return None
    stem, keep = node.name or node.output[0], attribute_value(node, "keepdims", 1)
    if len(axes) > 1:
        inner = build.node("ReduceMean", [node.input[0]], stem, axes=axes[-1:], keepdims=1)
        outer = build.node(
            "ReduceMean", [inner.output[0]], stem, output=node.output[0], axes=axes[:-1], keepdims=1
        )
        return [inner, *_squeezed(outer, axes, shape, keep, build)]
    (axis,) = axes
    rows = _rows(shape[axis])
    if rows == 1:
        return None
    sides = [*shape[:axis], rows, shape[axis] // rows, *shape[axis + 1 :]]
    apart = build.node("Reshape", [node.input[0], build.constant(stem, np.array(sides, np.int64))], stem)
    inner = build.node("ReduceMean", [apart.output[0]], stem, axes=[axis + 1], keepdims=0)
    outer = build.node(
        "ReduceMean", [inner.output[0]], stem, output=node.output[0], axes=[axis], keepdims=keep
    )
    return [apart, inner, outer]


def _squeezed(
    last: NodeProto, axes: list[int], shape: tuple[int, ...], keep: int, build: _Builder
) -> Iterator[NodeProto]:
    """The last step, and where the axes that it is over shall go, a reshape that drops all of them."""
    if keep:
        yield last
        return
    result = last.output[0]
    stem = last.name
    last.output[0] = f"{stem}_kept"
    yield last
    left = [side for axis, side in enumerate(shape) if axis not in axes]
    yield build.node(
        "Reshape", [last.output[0], build.constant(stem, np.array(left, np.int64))], stem, output=result
    )


def _rows(length: int) -> int:
    """Of the blocks that so many values fall into: the largest divisor up to the root; 1 of a prime."""
    return next(rows for rows in range(math.isqrt(length), 0, -1) if length % rows == 0)
