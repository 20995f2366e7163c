"""Half precision, by ONNX Runtime's converter; input and output stay float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeworthy.quantizing.qdq import sort_nodes

if TYPE_CHECKING:
    from onnx import ModelProto


def halved(model: ModelProto) -> ModelProto:
    """The graph with weights and arithmetic in float16, with Casts behind the input and before the output.

    Operators for which float16 is too narrow, or which have no such kernel, stay in float32: the converter's
    own list.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = type(model)()
    copy.CopyFrom(model)
    result: ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    sort_nodes(result)
    del result.graph.value_info[:]  # of what was float32
    return result
