"""Channels brought to one range across two layers, so that eight bits serve all of them.

Between two convolutions with nothing but a rectifier in between, a channel may be divided by any s > 0, and
its weights in the second layer multiplied by s: the function stays. M. Nagel et al., Data-free quantization
through weight equalization and bias correction (ICCV 2019), 4.1. Their weights share a scale; here each
output channel has its own, and what share one are the activations between the layers, so that these are set
against the second layer's weights: s = sqrt(largest activation / largest weight), channel by channel, as in
G. Xiao et al., SmoothQuant (ICML 2023), with an alpha of 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeworthy.graph import attribute_value, producer, readers
from edgeworthy.quantizing.bench import Bench
from edgeworthy.quantizing.qdq import replace_values, values_of
from edgeworthy.runtime import Session

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

Array = npt.NDArray[Any]

_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})
_PICTURES = 64
_MOST = 16.0  # that a channel may be scaled by: beyond, float32 itself would suffer


class _Pair(NamedTuple):
    """Two convolutions, and the tensor that the second reads."""

    first: Any
    second: Any
    between: str


def equalised(original: ModelProto, bench: Bench) -> tuple[ModelProto, int]:
    """A float graph that computes the same, and how many pairs of layers were brought to one range.

    Args:
        original: prepared; it stays as it is.
        bench: with calibration pictures.
    """
    copy = type(original)()
    copy.CopyFrom(original)
    pairs = list(_pairs(copy.graph))
    if not pairs:
        return copy, 0
    bench.on_start("equalising layers", min(_PICTURES, len(bench.pictures)))
    for pair, reach in zip(pairs, _reaches(copy, pairs, bench), strict=True):
        second = values_of(copy, pair.second.input[1])
        depthwise = attribute_value(pair.second, "group", 1) > 1
        largest = np.abs(second).max(axis=(1, 2, 3) if depthwise else (0, 2, 3))
        usable = (reach > 0) & (largest > 0)
        scales = np.sqrt(np.where(usable, reach, 1) / np.where(usable, largest, 1))
        scales /= np.exp(np.log(scales[usable]).mean()) if usable.any() else 1.0
        scales = np.where(usable, np.clip(scales, 1 / _MOST, _MOST), 1.0).astype(np.float32)
        first, bias = (values_of(copy, name) for name in pair.first.input[1:3])
        replace_values(copy, pair.first.input[1], first / scales[:, None, None, None])
        replace_values(copy, pair.first.input[2], bias / scales)
        by = scales[:, None, None, None] if depthwise else scales[None, :, None, None]
        replace_values(copy, pair.second.input[1], second * by)
    return copy, len(pairs)


def _pairs(graph: GraphProto) -> Iterator[_Pair]:
    """Where nothing else reads what is between, and no weights are shared."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}

    def is_plain(node: Any) -> bool:
        names = node.input[1:3]
        own = len(node.input) > 2 and all(len(readers(graph, name)) == 1 for name in names)
        return node.op_type == "Conv" and own and ranks.get(node.input[1]) == 4 and node.input[2] in ranks

    for second in graph.node:
        if not is_plain(second):
            continue
        between, tensor = second.input[0], second.input[0]
        alone = len(readers(graph, tensor)) == 1 and tensor not in outputs
        first = producer(graph, tensor)
        if alone and first is not None and first.op_type in _HOMOGENEOUS:
            tensor = first.input[0]
            alone = len(readers(graph, tensor)) == 1 and tensor not in outputs
            first = producer(graph, tensor)
        if not alone or first is None or not is_plain(first):
            continue
        groups, channels = attribute_value(second, "group", 1), shapes[first.input[1]][0]
        if groups == 1 or (groups == channels and shapes[second.input[1]][:2] == (channels, 1)):
            yield _Pair(first, second, between)


def _reaches(model: ModelProto, pairs: list[_Pair], bench: Bench) -> list[Array]:
    """The largest magnitude in each channel of what is between, float32 [channels]."""
    from onnx import TensorProto, helper

    watched = type(model)()
    watched.CopyFrom(model)
    names = []
    for at, pair in enumerate(pairs):
        magnitude, reach = f"edgeworthy_magnitude_{at}", f"edgeworthy_reach_{at}"
        watched.graph.node.extend(
            [
                helper.make_node("Abs", [pair.between], [magnitude]),
                helper.make_node("ReduceMax", [magnitude], [reach], axes=[0, 2, 3], keepdims=0),
            ]
        )
        watched.graph.output.append(helper.make_tensor_value_info(reach, TensorProto.FLOAT, None))
        names.append(reach)
    session = Session(bench.save(watched, "reaches.onnx"))
    reaches: list[Any] = [0.0] * len(pairs)
    for feed in bench.feeds(_PICTURES):
        found = session.run(session.feeds(feed), names)
        reaches = [np.maximum(reach, value) for reach, value in zip(reaches, found, strict=True)]
        bench.on_picture()
    return reaches
