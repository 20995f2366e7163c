"""The single-precision twin of a half-precision model: how much does half precision itself round?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeworthy.model import nodes_of, subgraphs_of, tensors_of

if TYPE_CHECKING:
    from onnx import ModelProto

_FLOAT, _FLOAT16 = 1, 10  # TensorProto


def has_halves(model: ModelProto) -> bool:
    """Whether the graph computes with float16 anywhere."""
    values = (*model.graph.input, *model.graph.output)
    return any(tensor.data_type == _FLOAT16 for tensor in tensors_of(model)) or any(
        value.type.tensor_type.elem_type == _FLOAT16 for value in values
    )


def widened(model: ModelProto) -> ModelProto:
    """A copy that computes with float32 wherever the model does with float16; the weights are the same."""
    twin = type(model)()
    twin.CopyFrom(model)
    for tensor in tensors_of(twin):
        _widen(tensor)
    graphs: list[Any] = [twin.graph, *(graph for node in nodes_of(twin) for graph in subgraphs_of(node))]
    for graph in graphs:
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == _FLOAT16:
                value.type.tensor_type.elem_type = _FLOAT
    for node in nodes_of(twin):
        for entry in node.attribute:
            if entry.name in {"to", "dtype"} and entry.i == _FLOAT16:
                entry.i = _FLOAT
    return twin


def _widen(tensor: Any) -> None:
    import numpy as np
    from onnx import numpy_helper

    if tensor.data_type == _FLOAT16:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
