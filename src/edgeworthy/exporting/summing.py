"""Long sums in two steps, where ONNX Runtime adds up value by value.

Its InstanceNormalization and reductions add thousands of float32 values in a few running sums, which loses
two of seven digits: normalising groups of 50,000 values is off by 2e-5 of their size, where a mean of means
is off by 6e-7 (timm's test_efficientnet_gn, node by node). Summing blocks first bounds the error by the root
of the length instead of the length (pairwise summation, of which this is the two-level form: Higham, Accuracy
and Stability of Numerical Algorithms, 4.2). A network full of them becomes a quarter to a third slower, so
it is done only where the plain graph cannot be proven.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeworthy.exporting.building import Adder, Builder, inferred_shapes
from edgeworthy.graph import attribute_value, constant, prune

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_LONG = 1024  # values; what is added of fewer hardly loses a digit
_LONG_IN_ROWS = 256  # of values that do not lie side by side, which are added to one running sum each


def split_sums(model: ModelProto) -> int:
    """Rewrite the long sums of float32 of a graph with static shapes, in place.

    Args:
        model: of an opset whose ReduceMean has its axes as an attribute: 17 or below.

    Returns:
        How many there were.
    """
    shapes = inferred_shapes(model, floats=True)
    build = Builder(model)
    nodes: list[NodeProto] = []
    split = 0
    for node in model.graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        apart = None
        if shape and node.op_type == "InstanceNormalization":
            apart = _instance_normalization(node, shape, build)
        elif shape and node.op_type in {"ReduceMean", "ReduceSum", "ReduceL2"}:
            apart = _reduction(node, shape, build)
        nodes += apart or [node]
        split += apart is not None
    if split:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        del model.graph.value_info[:]
        prune(model.graph)  # scales of one and biases of nothing
    return split


def _instance_normalization(
    node: NodeProto, shape: tuple[int, ...], build: Builder
) -> list[NodeProto] | None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, means in two steps; None where they are short."""
    length = math.prod(shape[2:])
    if length <= _LONG:
        return None
    data, scale, bias = node.input
    add = build.after(node)
    centred = add("Reshape", data, add.constant(_blocks(shape[:2], length)))
    centred = add("Sub", centred, _mean_of_means(centred, add))
    variance = _mean_of_means(add("Mul", centred, centred), add)
    variance = add("Add", variance, add.constant(np.float32(attribute_value(node, "epsilon", 1e-5))))
    result = add("Div", centred, add("Sqrt", variance))
    for kind, name, nothing in (("Mul", scale, 1), ("Add", bias, 0)):
        known = constant(build.graph, name)
        if known is None or (known != nothing).any():
            result = add(kind, result, add("Reshape", name, add.constant([1, shape[1], 1, 1])))
    add("Reshape", result, add.constant(shape), output=node.output[0])
    return add.nodes


def _reduction(node: NodeProto, shape: tuple[int, ...], build: Builder) -> list[NodeProto] | None:
    """A mean, sum or root of squares over neighbouring axes in two steps; None where it is short."""
    axes = _axes(node, shape, build)
    if not axes or axes != list(range(axes[0], axes[-1] + 1)):
        return None
    lead, middle, trail = shape[: axes[0]], shape[axes[0] : axes[-1] + 1], shape[axes[-1] + 1 :]
    length = math.prod(middle)
    if length <= (_LONG if math.prod(trail) == 1 else _LONG_IN_ROWS) or _rows(length) == 1:
        return None
    add = build.after(node)
    values = add("Mul", node.input[0], node.input[0]) if node.op_type == "ReduceL2" else node.input[0]
    apart = _blocks((math.prod(lead),), length)
    if math.prod(trail) == 1:
        result = _mean_of_means(add("Reshape", values, add.constant([1, *apart])), add)
    else:
        result = add("Reshape", values, add.constant([*apart, math.prod(trail)]))
        result = add("Transpose", add("ReduceMean", result, axes=[2], keepdims=0), perm=[0, 2, 1])
        result = add("Reshape", result, add.constant([apart[0], math.prod(trail), apart[1], 1]))
        result = add("GlobalAveragePool", result)
    if node.op_type != "ReduceMean":
        result = add("Mul", result, add.constant(np.float32(length)))
    if node.op_type == "ReduceL2":
        result = add("Sqrt", result)
    kept = [1] * len(axes) if attribute_value(node, "keepdims", 1) else []
    add("Reshape", result, add.constant([*lead, *kept, *trail]), output=node.output[0])
    return add.nodes


def _axes(node: NodeProto, shape: tuple[int, ...], build: Builder) -> list[int]:
    """That a reduction is over, in order; none where they are computed, or where it reduces nothing."""
    found = attribute_value(node, "axes", None)
    if found is None and len(node.input) > 1 and node.input[1]:
        known = constant(build.graph, node.input[1])
        found = [] if known is None else known.reshape(-1).tolist()
    elif found is None:
        found = [] if attribute_value(node, "noop_with_empty_axes", 0) else range(len(shape))
    return sorted(axis % len(shape) for axis in found)


def _mean_of_means(blocks: str, add: Adder) -> str:
    """Of values [n, c, rows, columns], as [n, c, 1, 1].

    Two operators, or the simplifier would make one of them again.
    """
    return add("GlobalAveragePool", add("ReduceMean", blocks, axes=[3], keepdims=1))


def _blocks(lead: tuple[int, ...], length: int) -> list[int]:
    """The shape in which so many values lie in rows and columns."""
    rows = _rows(length)
    return [*lead, rows, length // rows]


def _rows(length: int) -> int:
    """Of the blocks that so many values fall into: the largest divisor up to the root; 1 of a prime."""
    return next(rows for rows in range(math.isqrt(length), 0, -1) if length % rows == 0)
