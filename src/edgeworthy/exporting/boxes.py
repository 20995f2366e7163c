"""Values that are written into a part of a tensor, as slices around them.

`x[:, 1:] = y` is traced as a ScatterND with an index for every value: in timm's mvitv2_tiny, 99 MB of
indices beside 97 MB of weights, and a fifth of the time that a picture takes. Where the indices are all
places of a box, in order, slices and Concat give the same bits; where the box is the whole tensor, what is
written is the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.exporting.building import Adder, Builder, inferred_shapes
from edgeworthy.graph import attribute_value, constant, prune, redirect

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Box = list[tuple[int, int]]  # from, to, an axis each


def write_boxes(model: ModelProto) -> int:
    """Rewrite what is written into boxes of tensors with static shapes, in place.

    Args:
        model: of opset 10 or above, whose Slice takes its borders as inputs.

    Returns:
        How many there were.
    """
    graph = model.graph
    boxes = {node.output[0]: box for node in graph.node if (box := _box(graph, node))}
    if not boxes:
        return 0
    shapes, build = inferred_shapes(model), Builder(model)
    kept = {value.name for value in graph.output}
    nodes: list[NodeProto] = []
    for node in graph.node:
        box = boxes.get(node.output[0])
        shape = shapes.get(node.input[0]) if box else None
        if box is None or shape is None or not _lies_within(box, shape):
            boxes.pop(node.output[0], None)
            nodes.append(node)
        elif node.output[0] in kept or any(part != (0, side) for part, side in _against(box, shape)):
            add = build.after(node)
            _put_around(node, box, shape, add)
            nodes += add.nodes
        else:
            redirect(graph, node.output[0], node.input[2])
            shapes[node.input[2]] = shape
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)
    return len(boxes)


def _box(graph: Any, node: NodeProto) -> Box | None:
    """The places of a ScatterND along each axis that they name, where they are known, in order, and a box."""
    if node.op_type != "ScatterND" or attribute_value(node, "reduction", b"none") != b"none":
        return None
    places = constant(graph, node.input[1])
    if places is None or places.size == 0 or places.ndim - 1 != places.shape[-1]:
        return None
    box = []
    for axis in range(places.ndim - 1):
        found = _run(np.moveaxis(places[..., axis], axis, -1))
        if found is None:
            return None
        box.append(found)
    return box


def _run(places: npt.NDArray[Any]) -> tuple[int, int] | None:
    """From where to where the rows of an array count up by one, if all do alike."""
    first, length = int(places.flat[0]), places.shape[-1]
    return (first, first + length) if (places == np.arange(first, first + length)).all() else None


def _lies_within(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether it does; a place that counts from the end is left alone."""
    return all(start >= 0 and end <= side for (start, end), side in _against(box, shape))


def _against(box: Box, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], int]]:
    """The sides of the box beside those of the tensor, whose last ones it may leave out."""
    return zip(box, shape, strict=False)


def _put_around(node: NodeProto, box: Box, shape: tuple[int, ...], add: Adder) -> None:
    """The data with the values in the box: axis by axis, what lies before and behind is put beside them."""
    data, _, values = node.input
    partial = [axis for axis, (part, side) in enumerate(_against(box, shape)) if part != (0, side)]
    if not partial:
        add("Identity", values, output=node.output[0])
    for position, axis in enumerate(partial):
        inner = partial[position + 1 :]  # where the values are no wider than the box so far
        start, end = box[axis]
        parts = [(0, start), (start, end), (end, shape[axis])]
        beside = [
            values
            if part == box[axis]
            else _slice(data, [axis, *inner], [part, *(box[i] for i in inner)], add)
            for part in parts
            if part[0] < part[1]
        ]
        values = add("Concat", *beside, axis=axis, output="" if inner else node.output[0])


def _slice(data: str, axes: list[int], box: Box, add: Adder) -> str:
    starts, ends = zip(*box, strict=True)
    return add("Slice", data, *map(add.constant, (starts, ends, axes)))
