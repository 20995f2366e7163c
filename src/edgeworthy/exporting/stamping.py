"""Write the contract into a graph; nothing else is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeworthy.contract import Contract
from edgeworthy.errors import NotConformantError, UnexportableError
from edgeworthy.model import nodes_of, opset_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_GRAPH_NAME = "classifier"


def stamp(model: ModelProto, contract: Contract) -> None:
    """Make the graph say what the contract says, in place.

    Forces static shapes on input and output (the TorchScript exporter leaves a symbolic batch on
    some), carves the normalisation, sets the IR version, and drops what exporters and simplifiers
    leave behind: metadata, doc strings with source lines, unused value infos.

    Raises:
        UnexportableError: where the graph has not the opset that was asked for.
        NotConformantError: where the graph has not the contract's one input and one output.
    """
    opset = opset_of(model)
    if opset != contract.opset:
        raise UnexportableError(
            f"The graph came out at opset {opset}, asked for was {contract.opset}.",
            hint=f"Try --opset {opset}." if opset else "",
        )
    graph = model.graph
    names = ([value.name for value in graph.input], [value.name for value in graph.output])
    if names != ([contract.input_name], [contract.output_name]):
        raise NotConformantError(
            f"The graph came out with inputs {names[0]} and outputs {len(names[1])}.",
            hint="" if names[0] else "Does the model look at its picture?",
        )
    _make_static(graph, contract)
    graph.doc_string = contract.normalization.to_doc_string() if contract.normalization else ""
    graph.name = _GRAPH_NAME
    model.ir_version = contract.ir_version
    model.doc_string = ""
    model.model_version = 0
    del model.metadata_props[:]
    del graph.value_info[:]
    for node in nodes_of(model):
        node.doc_string = ""
        del node.metadata_props[:]


def _make_static(graph: GraphProto, contract: Contract) -> None:
    shapes = (contract.input_shape, (1, len(contract.class_names)))
    for value, shape in zip((graph.input[0], graph.output[0]), shapes, strict=True):
        dims = value.type.tensor_type.shape.dim
        del dims[:]
        for size in shape:
            dims.add().dim_value = size
