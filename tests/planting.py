"""Faults that are planted in one node of a sound file, so that somebody has to find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from edgeworthy.graph import Names, constant, redirect
from edgeworthy.wiring import Wiring

Fault = Callable[[ModelProto, int], bool]  # plants itself in the node at that place, if it can


def weight_carrying(model: ModelProto) -> Iterator[int]:
    """Places of the nodes that depend on the picture and on constant numbers."""
    wiring = Wiring(model)
    for place, node in enumerate(model.graph.node):
        if wiring.read_by(node) and _weights(model, node) is not None:
            yield place


def louder(model: ModelProto, place: int) -> bool:
    """The weights are a twentieth larger; where all are zero, not zero."""
    return _changed(model, place, lambda values: values * 1.05 if values.any() else values + 0.05)


def swapped(model: ModelProto, place: int) -> bool:
    """Two slices of the weights have changed places."""

    def swap(values: np.ndarray) -> np.ndarray | None:
        axis = next((axis for axis, size in enumerate(values.shape) if size > 1), None)
        if axis is None:
            return None
        order = np.arange(values.shape[axis])
        order[:2] = 1, 0
        return values.take(order, axis=axis)

    return _changed(model, place, swap)


def one_weight(model: ModelProto, place: int) -> bool:
    """The largest of the weights is a tenth larger, and no other."""

    def change(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        changed.flat[np.abs(values).argmax()] *= np.float32(1.1)
        return changed

    return _changed(model, place, change)


def shifted(model: ModelProto, place: int) -> bool:
    """The padding of a convolution or pooling is one row off."""
    for entry in model.graph.node[place].attribute:
        if entry.name == "pads" and entry.ints[0]:
            entry.ints[0] -= 1
            entry.ints[len(entry.ints) // 2] += 1
            return True
    return False


def dropped(model: ModelProto, place: int) -> bool:
    """An activation is gone, and what read it reads what it read."""
    node = model.graph.node[place]
    if node.op_type not in {"Relu", "Erf"}:
        return False
    redirect(model.graph, node.output[0], node.input[0])
    model.graph.node.remove(node)
    return True


FAULTS: dict[str, Fault] = {
    fault.__name__: fault for fault in (louder, swapped, one_weight, shifted, dropped)
}


def planted(model: ModelProto, place: int, fault: Fault) -> ModelProto | None:
    """A copy with the fault; None where that node cannot have it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy if fault(copy, place) else None


def _weights(model: ModelProto, node: NodeProto) -> int | None:
    """Which input of a node holds constant numbers, the largest."""
    found = [(at, constant(model.graph, name)) for at, name in enumerate(node.input) if name]
    floats = [(values.size, -at) for at, values in found if values is not None and values.dtype.kind == "f"]
    return -max(floats)[1] if floats else None


def _changed(model: ModelProto, place: int, change: Callable[[np.ndarray], np.ndarray | None]) -> bool:
    """Give one node weights of its own: others may share them."""
    node = model.graph.node[place]
    at = _weights(model, node)
    values = None if at is None else constant(model.graph, node.input[at])
    changed = None if values is None else change(values)
    if at is None or values is None or changed is None or np.array_equal(changed, values):
        return False
    name = Names(model)("fault")
    model.graph.initializer.append(numpy_helper.from_array(changed.astype(values.dtype), name))
    node.input[at] = name
    return True
