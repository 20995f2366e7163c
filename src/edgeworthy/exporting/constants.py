"""What a graph computes of constants and shapes alone, computed once and for all.

The simplifier does so as well, but holds every value on the way. Where a model standardises its weights as it
runs, that is a dozen copies of them: for timm's nf_resnet26, 64 MB of weights, its process takes 1022 MB, and
384 MB with this done first. ONNX Runtime lets go of a value once the last node has read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.exporting.building import inferred_shapes
from edgeworthy.graph import attribute_value, needs, prune
from edgeworthy.memory import give_back
from edgeworthy.model import subgraphs_of, to_bytes
from edgeworthy.runtime import Session

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_DRAWN = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_KEPT_APART = {"QuantizeLinear", "DequantizeLinear"}  # what is quantised stays small
_NO_TENSOR = ("Sequence", "SplitToSequence", "Optional")  # beginnings of operators that make something else


def compute_constants(model: ModelProto, scratch: Path) -> int:
    """Replace what depends on no input of the graph, or on its shape alone, by its value, in place.

    Shapes that are computed of other shapes, as for a padding, are known once these are: round by round.

    Args:
        model: whose tensors lie in the file itself.
        scratch: a folder for a file of a moment.

    Returns:
        How many values were computed.

    Raises:
        ModelFileError: where ONNX Runtime refuses what is to be computed.
    """
    computed = 0
    while True:
        computed += _compute(model, scratch)
        known = _know_shapes(model)
        if not known:
            return computed
        computed += known


def _know_shapes(model: ModelProto) -> int:
    """Put static shapes in the place of the nodes that ask for them; how many there were."""
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    results = {value.name for value in graph.output}
    asking = [
        place
        for place, node in enumerate(graph.node)
        if node.op_type == "Shape" and not results.intersection(node.output)
    ]
    shapes = inferred_shapes(model) if asking else {}
    answered = [place for place in asking if graph.node[place].input[0] in shapes]
    for place in reversed(answered):
        node = graph.node[place]
        part = slice(attribute_value(node, "start", 0), attribute_value(node, "end", None))
        sides = np.array(shapes[node.input[0]][part], np.int64)
        graph.initializer.append(numpy_helper.from_array(sides, node.output[0]))
        del graph.node[place]
    return len(answered)


def _compute(model: ModelProto, scratch: Path) -> int:
    """Replace what depends on no input of the graph by its value; how many values there were."""
    from onnx import numpy_helper

    graph = model.graph
    inputs = {value.name for value in graph.input}
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
    constant = set(_constant_nodes(graph, set(tensors)))
    nodes = [graph.node[place] for place in sorted(constant)]
    made = {name for node in nodes for name in node.output if name and node.op_type != "Constant"}
    others = (node for place, node in enumerate(graph.node) if place not in constant)
    wanted = sorted(made.intersection(name for node in others for name in needs(node)))
    if not wanted:
        return 0
    fed = {name: tensors[name] for node in nodes for name in node.input if name in tensors}
    path = scratch / "constants.onnx"
    try:
        path.write_bytes(to_bytes(_part(model, nodes, list(fed.values()), wanted)))
        session = Session(path, lean=True, optimize=False)
        values = session.run({name: numpy_helper.to_array(tensor) for name, tensor in fed.items()}, wanted)
        del session
    finally:
        path.unlink(missing_ok=True)
    for place in sorted(constant, reverse=True):
        if graph.node[place].op_type != "Constant":
            del graph.node[place]
    for name in reversed(wanted):
        graph.initializer.append(numpy_helper.from_array(values.pop(), name))
    prune(graph)  # with the tensors that only these nodes have read
    give_back()
    return len(wanted)


def _constant_nodes(graph: GraphProto, known: set[str]) -> Iterator[int]:
    """The places of the nodes that read nothing but constants; nodes stand in the order in which they run."""
    results = {value.name for value in graph.output}
    for place, node in enumerate(graph.node):
        fixed = node.domain in {"", "ai.onnx"} and node.op_type not in _DRAWN | _KEPT_APART
        fixed = fixed and not node.op_type.startswith(_NO_TENSOR)
        fixed = fixed and not results.intersection(node.output) and not any(subgraphs_of(node))
        if fixed and all(name in known for name in node.input if name):
            known.update(node.output)
            yield place


def _part(
    model: ModelProto, nodes: Sequence[NodeProto], feeds: Sequence[Any], wanted: Sequence[str]
) -> ModelProto:
    """Nodes as a model of its own, which is fed tensors in place of holding them."""
    from onnx import TypeProto, helper

    inputs = [helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)) for one in feeds]
    outputs = [helper.make_value_info(name, TypeProto()) for name in wanted]
    return helper.make_model(
        helper.make_graph(nodes, "constants", inputs, outputs),
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
    )
