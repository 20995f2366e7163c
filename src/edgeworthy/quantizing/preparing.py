"""A float32 graph, made ready: what the quantizer and the steps after it take for granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeworthy.errors import NotAClassifierError, OptionError
from edgeworthy.graph import Names, attribute_value, lift_constants, prune
from edgeworthy.model import nodes_of, opset_of, tensors_of
from edgeworthy.opset import convert

if TYPE_CHECKING:
    from onnx import ModelProto

MIN_OPSET = 13  # the first whose DequantizeLinear takes a scale for each channel
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def require_single_precision(model: ModelProto) -> None:
    """Stop at a file that is in lower precision already.

    Raises:
        OptionError: then.
    """
    from onnx import TensorProto

    operators = {node.op_type for node in nodes_of(model)}
    if operators & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}:
        raise OptionError(
            "The file is quantized already.", hint="Give the float32 file that it was made from."
        )
    if any(tensor.data_type in {TensorProto.FLOAT16, TensorProto.BFLOAT16} for tensor in tensors_of(model)):
        raise OptionError(
            "The file has weights in half precision.", hint="Give the float32 file that it was made from."
        )


def prepared(model: ModelProto) -> ModelProto:
    """A copy in which every node has a name, constants are initialisers, and shapes are known.

    Convolutions and `Gemm` get a bias, of zeros where they had none: corrections go there.

    Raises:
        UnconvertibleError: where the graph cannot be brought to an opset that has what is needed.
        NotAClassifierError: where no layer has weights to quantize.
    """
    import onnx

    if (opset_of(model) or 0) < MIN_OPSET:
        model = convert(model, MIN_OPSET)
    copy = type(model)()
    copy.CopyFrom(model)
    names = Names(copy)
    lift_constants(copy.graph)
    prune(copy.graph)
    for node in copy.graph.node:
        node.name = node.name or names(f"{node.op_type}_{node.output[0]}")
    _make_names_unique(copy, names)
    copy = onnx.shape_inference.infer_shapes(copy)
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    layers = [node for node in copy.graph.node if node.op_type in LAYERS and node.input[1] in weights]
    if not layers:
        raise NotAClassifierError(
            "No layer of the file has weights: there is nothing to quantize.",
            hint="Are the weights in the file? See: edgeworthy check",
        )
    for node in layers:
        _give_bias(copy, node, weights[node.input[1]], names)
    return copy


def _make_names_unique(model: ModelProto, names: Names) -> None:
    seen: set[str] = set()
    for node in model.graph.node:
        if node.name in seen:
            node.name = names(node.name)
        seen.add(node.name)


def _give_bias(model: ModelProto, node: Any, weight: Any, names: Names) -> None:
    import numpy as np
    from onnx import numpy_helper

    if node.op_type not in {"Conv", "Gemm"} or (len(node.input) > 2 and node.input[2]):
        return
    transposed = node.op_type == "Gemm" and not attribute_value(node, "transB", 0)
    outputs = weight.dims[1] if transposed else weight.dims[0]
    bias = names(f"{node.name}.bias")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(outputs, np.float32), bias))
    node.input[:] = [*node.input[:2], bias]
