"""Surgery on an ONNX graph in memory: who makes a value, who reads it, what is constant, what is dead.

Everything works on protobuf messages alone; no native code looks at the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from edgeworthy.model import nodes_of, nodes_within, subgraphs_of

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


class Names:
    """Gives names that no value and no node of a model has, the same ones for the same model."""

    def __init__(self, model: ModelProto) -> None:
        self._taken: set[str] = set()
        graphs: list[Any] = [model.graph]
        graphs += [graph for node in nodes_of(model) for graph in subgraphs_of(node)]
        for graph in graphs:
            values = (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
            self._taken |= {value.name for value in values}
        for node in nodes_of(model):
            self._taken |= {node.name, *node.input, *node.output}

    def __contains__(self, name: str) -> bool:
        """Whether something has the name."""
        return name in self._taken

    def __call__(self, stem: str) -> str:
        """The stem, or else `stem_2`, `stem_3` and so on."""
        names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return name


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """A node's attribute of that name."""
    return next((entry for entry in node.attribute if entry.name == name), None)


def attribute_value(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute as `onnx.helper` reads it, or `default`."""
    from onnx import helper

    found = attribute(node, name)
    return default if found is None else helper.get_attribute_value(found)


def drop_attributes(node: NodeProto, *names: str) -> None:
    """Take attributes off a node, those that it has."""
    for found in [entry for entry in node.attribute if entry.name in names]:
        node.attribute.remove(found)


def producer(graph: GraphProto, name: str) -> NodeProto | None:
    """The node of the graph itself that makes a value; None for inputs, initialisers and unknown names."""
    return next((node for node in graph.node if name in node.output), None)


def readers(graph: GraphProto, name: str) -> list[NodeProto]:
    """The nodes that read a value, those of subgraphs included."""
    return [node for node in nodes_within(graph) if name in node.input]


def constant(graph: GraphProto, name: str) -> npt.NDArray[Any] | None:
    """The value of an initialiser or of a Constant node, None for what is computed or fed."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return array_of(tensor)
    node = producer(graph, name)
    return None if node is None else constant_of(node)


def constant_of(node: NodeProto) -> npt.NDArray[Any] | None:
    """The value that a Constant node makes; None for other nodes, and for texts."""
    import numpy as np

    if node.op_type != "Constant" or node.domain not in {"", "ai.onnx"} or len(node.attribute) != 1:
        return None
    entry = node.attribute[0]
    if entry.name == "value":
        return array_of(entry.t)
    kinds: dict[str, Any] = {
        "value_float": (entry.f, np.float32),
        "value_int": (entry.i, np.int64),
        "value_floats": (entry.floats, np.float32),
        "value_ints": (entry.ints, np.int64),
    }
    if entry.name not in kinds:
        return None
    value, dtype = kinds[entry.name]
    return np.array(value, dtype=dtype)


def lift_constants(graph: GraphProto) -> int:
    """Make initialisers of the Constant nodes of the graph itself, but for texts; how many there were."""
    from onnx import numpy_helper

    lifted = 0
    for place in reversed(range(len(graph.node))):
        value = constant_of(graph.node[place])
        if value is not None:
            graph.initializer.append(numpy_helper.from_array(value, graph.node[place].output[0]))
            del graph.node[place]
            lifted += 1
    return lifted


def array_of(tensor: TensorProto) -> npt.NDArray[Any] | None:
    """A tensor's values; None where they lie in another file, or do not fit its shape."""
    from onnx import numpy_helper

    if tensor.data_location:
        return None
    try:
        values: npt.NDArray[Any] = numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None
    return values


def rename(model: ModelProto, old: str, new: str) -> None:
    """Give a value of the main graph another name, wherever it is read, inputs and outputs included."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new
    for node in nodes_within(graph):
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for inner in (inner for node in nodes_within(graph) for inner in subgraphs_of(node)):
        for value in inner.output:  # a branch may hand on a value of the graph around it
            if value.name == old:
                value.name = new


def redirect(graph: GraphProto, old: str, new: str, *, but: Iterable[NodeProto] = ()) -> None:
    """Let all nodes that read `old` read `new`, except those in `but`."""
    spared = [id(node) for node in but]
    for node in nodes_within(graph):
        if old in node.input and id(node) not in spared:
            node.input[:] = [new if name == old else name for name in node.input]


def prune(graph: GraphProto) -> int:
    """Drop nodes that nothing needs, then initialisers and value infos without a reader.

    Returns:
        How many nodes and initialisers went.
    """
    makers = {name: node for node in graph.node for name in node.output if name}
    needed: set[str] = set()
    waiting = [value.name for value in graph.output]
    while waiting:
        name = waiting.pop()
        if not name or name in needed:
            continue
        needed.add(name)
        if name in makers:
            waiting += needs(makers[name])
    gone = _delete(graph.node, lambda node: not needed.intersection(filter(None, node.output)))
    gone += _delete(graph.initializer, lambda tensor: tensor.name not in needed)
    known = needed | {name for node in graph.node for name in node.output}
    _delete(graph.value_info, lambda value: value.name not in known)
    return gone


def needs(node: NodeProto) -> list[str]:
    """The names that a node reads, those that its subgraphs take from around it included."""
    names = list(node.input)
    for graph in subgraphs_of(node):
        names += [name for inner in nodes_within(graph) for name in inner.input]
        names += [value.name for value in graph.output]
    return names


def _delete(entries: Any, unwanted: Callable[[Any], bool]) -> int:
    places = [index for index, entry in enumerate(entries) if unwanted(entry)]
    for index in reversed(places):
        del entries[index]
    return len(places)
