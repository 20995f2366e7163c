"""What is known of a graph's values beside their names: element type and shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx import TensorProto

from edgeworthy.graph import attribute
from edgeworthy.model import nodes_of, subgraphs_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFacts:
    """What is known of one value.

    Attributes:
        dtype: its element type, a code of TensorProto.DataType; 0 where it is not known.
        shape: its dimensions, None for each one that is not fixed; None where not even the rank is known.
    """

    dtype: int
    shape: Shape | None


UNKNOWN = ValueFacts(dtype=0, shape=None)


def facts_of(model: ModelProto) -> dict[str, ValueFacts]:
    """What a model states of its values, without inference.

    Inputs, outputs, value_info and initialisers of all its graphs say it, and nodes that name the type
    they make. A name that stands for different things in different branches is left out.
    """
    found: dict[str, ValueFacts] = {}
    conflicts = set()
    for name, facts in _statements(model):
        both = _merge(found.get(name, facts), facts)
        if both is None:
            conflicts.add(name)
        else:
            found[name] = both
    return {name: facts for name, facts in found.items() if name not in conflicts}


def combine(model: ModelProto, given: Mapping[str, ValueFacts]) -> dict[str, ValueFacts]:
    """What a model states, and what somebody knows beyond that."""
    known = facts_of(model)
    for name, facts in given.items():
        known[name] = _merge(known.get(name, facts), facts) or facts
    return known


def _statements(model: ModelProto) -> Iterator[tuple[str, ValueFacts]]:
    graphs: list[Any] = [model.graph]
    graphs += [inner for node in nodes_of(model) for inner in subgraphs_of(node)]
    for graph in graphs:
        for tensor in graph.initializer:
            yield tensor.name, _of_tensor(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.HasField("tensor_type"):
                yield value.name, _of_value(value)
        for node in graph.node:
            if node.domain in {"", "ai.onnx"} and node.output:
                yield node.output[0], _of_node(node)


def _merge(one: ValueFacts, other: ValueFacts) -> ValueFacts | None:
    """What two statements say together; None where they contradict each other."""
    if one.dtype and other.dtype and one.dtype != other.dtype:
        return None
    shape = _merge_shapes(one.shape, other.shape)
    if shape is None and one.shape is not None and other.shape is not None:
        return None
    return ValueFacts(dtype=one.dtype or other.dtype, shape=shape)


def _merge_shapes(one: Shape | None, other: Shape | None) -> Shape | None:
    if one is None or other is None:
        return other if one is None else one
    pairs = list(zip(one, other, strict=False))
    if len(one) != len(other) or any(None not in pair and len(set(pair)) > 1 for pair in pairs):
        return None
    return tuple(second if first is None else first for first, second in pairs)


def _of_tensor(tensor: TensorProto) -> ValueFacts:
    return ValueFacts(dtype=tensor.data_type, shape=tuple(tensor.dims))


def _of_value(value: Any) -> ValueFacts:
    tensor = value.type.tensor_type
    shape = tuple(_size(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
    return ValueFacts(dtype=tensor.elem_type, shape=shape)


def _size(dim: Any) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _of_node(node: NodeProto) -> ValueFacts:
    """What Cast, Constant and ConstantOfShape say of their output in their attributes."""
    target, value = attribute(node, "to"), attribute(node, "value")
    if node.op_type == "Cast" and target is not None:
        return ValueFacts(dtype=target.i, shape=None)
    if node.op_type == "Constant" and value is not None:
        return _of_tensor(value.t)
    if node.op_type == "ConstantOfShape":
        return ValueFacts(dtype=TensorProto.FLOAT if value is None else value.t.data_type, shape=None)
    return UNKNOWN
