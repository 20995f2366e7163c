"""8-bit graphs in QDQ form: ONNX Runtime's quantizer, and the layers of what it writes.

The only room for `onnxruntime.quantization`. Which operators become 8-bit, and why:

- `Conv`, and `Gemm` and `MatMul` with constant weights: nearly all of the work. The outputs of the latter two
  stay in float32, which costs nothing (ONNX Runtime computes 8-bit times 8-bit to float32 in one kernel) and
  spares the logits.
- what stands between convolutions (`Add`, `Mul`, `Concat`, pooling, resizing, shapes), where all that it
  reads comes from a convolution, so that the stream between them stays in 8 bits.
- not `Softmax`, normalisation, `Sigmoid` and the like, nor products of two activations: they lose most and
  win least.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgeworthy.graph import array_of, attribute_value, producer, prune
from edgeworthy.quantizing.calibration import Bounds
from edgeworthy.quantizing.preparing import LAYERS

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]
ActivationType = Literal["uint8", "int8"]

_STREAM = frozenset(
    {"Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"}
    | {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Resize", "Pad", "Slice", "Split"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How values become 8-bit.

    Attributes:
        activations: unsigned, with a zero point; or signed, symmetric about zero.
        reduced: whether weights use 7 bits, so that no processor saturates.
    """

    activations: ActivationType = "uint8"
    reduced: bool = False

    @property
    def processors(self) -> str:
        """Which ones a file is for: ONNX Runtime's guidance, in its documentation of `quantize_static`."""
        if self.activations == "int8":
            return "Symmetric int8: for GPUs, ARM and accelerators; works on x86, and is slow there."
        if self.reduced:
            return "Weights of 7 bits: for every x86-64 and ARM processor."
        return (
            "For x86 with VNNI (Intel since Cascade Lake, AMD since Zen 4) and ARM; older x86 saturates, "
            "and needs --reduce-range."
        )


@dataclass(slots=True, kw_only=True)
class Layer:
    """A layer of a QDQ graph, its weights as a matrix of integers that may be written back.

    Attributes:
        name, operator: of the node.
        node: itself.
        weight: name of the integers.
        axis: of the weights, along which each channel has its scale; the outputs.
        scales: float32 [outputs]; one for each, also where the file has one for all.
        most: the largest integer that a weight may take, and the least with its sign turned.
        bias, bias_scales: name of the integers, int32, and their scales; None where there are none.
    """

    name: str
    operator: str
    node: Any
    weight: str
    axis: int
    scales: Array
    most: int
    bias: str | None
    bias_scales: Array | None


def quantized(model: ModelProto, bounds: Mapping[str, Bounds], scheme: Scheme) -> ModelProto:
    """The graph in QDQ form; names, documentation and metadata stay.

    Args:
        model: prepared by `preparing.prepared`; it stays as it is.
        bounds: the least and largest value of each tensor.
        scheme: how values become 8-bit.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = type(model)()
    copy.CopyFrom(model)
    ranges = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in bounds.items()
    }
    nodes = _worth_it(model)
    signed = scheme.activations == "int8"
    logger, before = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)  # it warns of what is meant to be: float outputs, missing pre-processing
    try:
        quantizer = QDQQuantizer(
            copy,
            True,
            scheme.reduced,
            QuantType.QInt8,
            QuantType.QInt8 if signed else QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, ranges),
            [node.name for node in nodes],
            [],
            sorted({node.op_type for node in nodes}),
            {
                "ActivationSymmetric": signed,
                "WeightSymmetric": True,
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
            },
        )
        quantizer.quantize_model()
    finally:
        logger.setLevel(before)
    result: ModelProto = quantizer.model.model
    _restore(result, model)
    sort_nodes(result)
    return result


def sort_nodes(model: ModelProto) -> None:
    """Bring nodes into an order in which each comes after those that it reads from."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    ONNXModel(model).topological_sort()


def _worth_it(model: ModelProto) -> list[Any]:
    """The nodes to quantize, in order: see the top of this module."""
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer}
    stream = {value.name for value in graph.input}
    chosen = []
    for node in graph.node:
        moving = [name for name in node.input if name and name not in fixed]
        if node.op_type in LAYERS and node.input[1] in fixed:
            chosen.append(node)
            if node.op_type not in {"Gemm", "MatMul"}:
                stream.update(node.output)
        elif node.op_type in _STREAM and moving and stream.issuperset(moving):
            chosen.append(node)
            stream.update(node.output)
    return chosen


def _restore(result: ModelProto, model: ModelProto) -> None:
    """What the quantizer writes over."""
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.ir_version, result.doc_string = model.ir_version, model.doc_string
    result.graph.name, result.graph.doc_string = model.graph.name, model.graph.doc_string
    for entries, before in (
        (result.metadata_props, model.metadata_props),
        (result.opset_import, model.opset_import),
        (result.graph.value_info, ()),
    ):
        del entries[:]
        entries.extend(before)


def layers_of(model: ModelProto) -> Iterator[Layer]:
    """The layers of a QDQ graph whose weights are integers."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in LAYERS:
            continue
        stored = makers.get(node.input[1])
        if stored is None or stored.op_type != "DequantizeLinear" or stored.input[0] not in values:
            continue
        shape = tuple(values[stored.input[0]].dims)
        scales = np.asarray(array_of(values[stored.input[1]]), np.float32).reshape(-1)
        axis = (
            attribute_value(stored, "axis", 1) % len(shape) if len(scales) > 1 else _output_axis(node, shape)
        )
        bias = makers.get(node.input[2]) if len(node.input) > 2 else None
        yield Layer(
            name=node.name,
            operator=node.op_type,
            node=node,
            weight=stored.input[0],
            axis=axis,
            scales=np.broadcast_to(scales, (shape[axis],)),
            most=int(np.abs(np.asarray(array_of(values[stored.input[0]]), np.int32)).max(initial=0)) or 127,
            bias=bias.input[0] if bias else None,
            bias_scales=np.asarray(array_of(values[bias.input[1]]), np.float32).reshape(-1) if bias else None,
        )


def _output_axis(node: Any, shape: tuple[int, ...]) -> int:
    if node.op_type == "Gemm":
        return 0 if attribute_value(node, "transB", 0) else 1
    return len(shape) - 1 if node.op_type == "MatMul" else int(node.op_type == "ConvTranspose")


def replace_values(model: ModelProto, name: str, values: Array) -> None:
    """Write other values into an initialiser of the same shape and type."""
    from onnx import numpy_helper

    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def values_of(model: ModelProto, name: str) -> Array:
    """An initialiser's values."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    values = array_of(tensor)
    assert values is not None  # noqa: S101 - the quantizer has just written it
    return values


def float_again(
    model: ModelProto, original: ModelProto, names: set[str]
) -> tuple[ModelProto, frozenset[str]]:
    """Let layers of a QDQ graph compute in float32, with what they read unrounded where it is made in float.

    A convolution that makes what such a layer reads is one, too: with a reader in float32, ONNX Runtime
    would not compute it in 8 bits anyway.

    Returns:
        The graph, and the names of all layers that became float32.
    """
    result = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    makers = {name: node for node in graph.node for name in node.output}
    waiting, done = sorted(names), set()
    while waiting:
        name = waiting.pop()
        node = next((node for node in graph.node if node.name == name), None)
        if node is None or name in done:
            continue
        done.add(name)
        for place, read in enumerate(node.input):
            stored = makers.get(read)
            if stored is None or stored.op_type != "DequantizeLinear":
                continue
            rounded = makers.get(stored.input[0])
            if rounded is None:  # weights or bias, kept as integers
                node.input[place] = _float_initializer(result, original, name, place)
                continue
            node.input[place] = rounded.input[0]
            maker = makers.get(rounded.input[0])
            if maker is not None:
                _restore_activations(graph, original, maker, rounded.input[0])
            if maker is not None and maker.op_type in {"Conv", "ConvTranspose"}:
                waiting.append(maker.name)
    prune(graph)
    return result, frozenset(done)


def _restore_activations(graph: Any, original: ModelProto, maker: Any, tensor: str) -> None:
    """Put `Relu` and `Clip` back in front of a reader in float32: 8-bit values have ended where these do.

    Once for all that read the tensor; the maker gives another one then.
    """
    if tensor not in maker.output:
        return
    missing = []
    before = producer(original.graph, tensor)
    while before is not None and before.name != maker.name:
        missing.append(before)
        before = producer(original.graph, before.input[0])
    if not missing or before is None:
        return
    at = next(place for place, node in enumerate(graph.node) if node.name == maker.name) + 1
    place = list(maker.output).index(tensor)
    maker.output[place] = missing[-1].input[0]
    for node in missing:
        graph.node.insert(at, node)
        for name in node.input[1:]:
            if name and all(entry.name != name for entry in graph.initializer):
                graph.initializer.extend(one for one in original.graph.initializer if one.name == name)


def _float_initializer(model: ModelProto, original: ModelProto, layer: str, place: int) -> str:
    """The quantizer calls the float32 values of integers as the initialiser was called."""
    node = next(node for node in original.graph.node if node.name == layer)
    tensor = next(tensor for tensor in original.graph.initializer if tensor.name == node.input[place])
    name = f"{tensor.name}_float32"
    if all(known.name != name for known in model.graph.initializer):
        added = model.graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = name
    return name
