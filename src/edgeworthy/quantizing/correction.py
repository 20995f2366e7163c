"""Biases that make up for what rounding has shifted.

Rounding moves the mean of a layer's output, and means of layers after it add up. Each bias is moved by the
difference of the means, as the float graph and the 8-bit one give them for the same pictures; one layer after
another, so that later ones see earlier ones corrected: all at once, each would make up for what those before
it have made up for already. M. Nagel et al., Data-free quantization
through weight equalization and bias correction (ICCV 2019), 4.2, the empirical form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.graph import prune
from edgeworthy.quantizing.bench import Bench
from edgeworthy.quantizing.qdq import Layer, layers_of, replace_values, values_of
from edgeworthy.runtime import Session

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]

_RUNS = 2048  # of the graph up to a layer, over all layers
_PICTURES = (8, 64)  # for a layer, at least and at most
_MOST = 2**31 - 2**25  # of a bias: sums of products are added to it in int32, and shall not wrap


def correct_biases(model: ModelProto, original: ModelProto, bench: Bench) -> ModelProto:
    """A copy of a QDQ graph with other biases.

    Args:
        model: in QDQ form.
        original: the float graph that it was made from.
        bench: with calibration pictures.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    layers = [layer for layer in layers_of(copy) if layer.bias is not None]
    least, most = _PICTURES
    count = min(len(bench.pictures), max(least, min(most, _RUNS // max(1, len(layers)))))
    bench.on_start("correcting biases", count * (len(layers) + 1))
    outputs = {node.name: node.output[0] for node in original.graph.node}
    axes = {layer.name: _axes(copy, layer) for layer in layers}
    wanted = _means(original, {layer.name: outputs[layer.name] for layer in layers}, axes, bench, count)
    for layer in layers:
        found = _means(copy, {layer.name: layer.node.output[0]}, axes, bench, count)
        _move(copy, layer, _shift(wanted[layer.name] - found[layer.name]))
    return copy


def _shift(differences: Array) -> Array:
    """The mean of differences, float64 [pictures, channels], shrunk by how far chance may have moved it.

    In late layers a channel's error depends on the picture, and the mean of a few dozen is mostly noise. The
    factor is the positive-part estimator of W. James and C. Stein (1961), for each channel by itself.
    """
    mean = differences.mean(axis=0)
    variance = differences.var(axis=0, ddof=1) / len(differences) if len(differences) > 1 else mean**2
    kept = np.where(mean == 0, 0.0, 1 - variance / np.where(mean == 0, 1.0, mean) ** 2)
    return np.asarray(mean * np.maximum(0.0, kept))


def _move(model: ModelProto, layer: Layer, by: Array) -> None:
    assert layer.bias is not None and layer.bias_scales is not None  # noqa: S101 - chosen so
    steps = np.rint(by / np.where(layer.bias_scales > 0, layer.bias_scales, 1.0))
    integers = values_of(model, layer.bias).astype(np.float64) + steps
    replace_values(model, layer.bias, np.clip(integers, -_MOST, _MOST).astype(np.int32))


def _axes(model: ModelProto, layer: Layer) -> list[int]:
    """Of the output, all but its channels."""
    return [0, *range(2, values_of(model, layer.weight).ndim)] if layer.operator == "Conv" else [0]


def _means(
    model: ModelProto, tensors: dict[str, str], axes: dict[str, list[int]], bench: Bench, count: int
) -> dict[str, Array]:
    """Of each layer's output, over places, float64 [pictures, channels]; the graph is run as it stands."""
    from onnx import TensorProto, helper

    watched = type(model)()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    means = {name: f"edgeworthy_mean_{at}" for at, name in enumerate(tensors)}
    for layer, tensor in tensors.items():
        mean = helper.make_node("ReduceMean", [tensor], [means[layer]], axes=axes[layer], keepdims=0)
        watched.graph.node.append(mean)
        watched.graph.output.append(helper.make_tensor_value_info(means[layer], TensorProto.FLOAT, None))
    prune(watched.graph)
    session = Session(bench.save(watched, "means.onnx"), optimize=False)
    found: dict[str, list[Array]] = {name: [] for name in tensors}
    for feed in bench.feeds(count):
        values = session.run(session.feeds(feed), list(means.values()))
        for name, value in zip(tensors, values, strict=True):
            found[name].append(value)
        bench.on_picture()
    return {name: np.asarray(rows, np.float64) for name, rows in found.items()}
