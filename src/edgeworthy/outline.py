"""A model as text, a line for each thing in it, for people and for differences between two of them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeworthy.model import dtype_name, subgraphs_of, tensor_shape

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_LONGEST = 160  # of a value's name or an attribute; class lists are longer than any screen


def difference(before: ModelProto, after: ModelProto) -> tuple[str, ...]:
    """Lines of a unified difference between two models."""
    return tuple(
        difflib.unified_diff(list(outline(before)), list(outline(after)), "before", "after", lineterm="")
    )


def outline(model: ModelProto) -> Iterator[str]:
    """The model, line by line; weights by type, shape and the beginning of their SHA-256."""
    yield f"ir_version {model.ir_version}"
    for entry in model.opset_import:
        yield f"opset {entry.domain or 'ai.onnx'} {entry.version}"
    if model.doc_string:
        yield f"doc_string {_cut(model.doc_string)}"
    for prop in model.metadata_props:
        yield f"metadata {_cut(prop.key)} = {_cut(prop.value)}"
    if model.graph.doc_string:
        yield f"graph doc_string {_cut(model.graph.doc_string)}"
    yield from _graph(model.graph, "")
    for function in model.functions:
        yield f"function {function.domain}.{function.name}"
        yield from (line for node in function.node for line in _node(node, "  "))


def _graph(graph: GraphProto, indent: str) -> Iterator[str]:
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            shape = tensor_shape(value)
            shown = "?" if shape is None else ",".join(map(str, shape))
            yield f"{indent}{kind} {_cut(value.name)}: {dtype_name(value)}[{shown}]"
    for tensor in graph.initializer:
        yield f"{indent}weight {_cut(tensor.name)}: {_tensor(tensor)}"
    for node in graph.node:
        yield from _node(node, indent)


def _node(node: NodeProto, indent: str) -> Iterator[str]:
    outputs, inputs = (", ".join(map(_cut, names)) for names in (node.output, node.input))
    domain = f"{node.domain}." if node.domain else ""
    shown = [f"{entry.name}={_attribute(entry)}" for entry in node.attribute if not _is_graph(entry)]
    attributes = f" {{{', '.join(shown)}}}" if shown else ""
    yield f"{indent}{outputs} = {domain}{node.op_type}({inputs}){attributes}"
    for graph in subgraphs_of(node):
        yield from _graph(graph, indent + "  ")


def _is_graph(entry: Any) -> bool:
    return entry.HasField("g") or bool(entry.graphs)


def _attribute(entry: Any) -> str:
    from onnx import helper

    if entry.HasField("t"):
        return _tensor(entry.t)
    try:
        value = helper.get_attribute_value(entry)
    except ValueError:
        return "?"
    return _cut(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def _tensor(tensor: Any) -> str:
    summary = hashlib.sha256(tensor.SerializeToString(deterministic=True)).hexdigest()[:12]
    return f"type {tensor.data_type} {list(tensor.dims)} sha256:{summary}"


def _cut(text: str) -> str:
    text = text.encode("unicode_escape").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}…{text[-16:]}"
