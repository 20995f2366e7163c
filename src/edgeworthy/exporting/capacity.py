"""What one ONNX file holds, and what to do where that is not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeworthy.contract import MAX_FILE_BYTES

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLER = "Choose a smaller model; for other runtimes than the platform's: --exporter dynamo --no-simplify."


def excess(model: ModelProto) -> str:
    """The size of a graph's tensors, such as `2.64 GiB`, where no file holds them; "" where one does."""
    size = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    return f"{size / 2**30:.2f} GiB" if size > MAX_FILE_BYTES else ""
