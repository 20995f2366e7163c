"""Weights rounded together rather than one by one, so that a layer's output moves least.

Rounded to the nearest integer, each weight errs by itself. What counts is the error of the output, and
there errors of inputs that rise and fall together can cancel. With H the second moment of a layer's inputs
over calibration pictures, the integers q that minimise (q - w)' H (q - w) are the point of a lattice next to
w; Babai's nearest plane finds a close one, weight by weight, each making up for those before it. This equals
the update of E. Frantar et al., GPTQ (ICLR 2023), without inverting H: J. Chen et al., The geometry of LLM
quantization: GPTQ as Babai's nearest plane algorithm (2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.graph import array_of, attribute_value, prune
from edgeworthy.model import tensor_shape
from edgeworthy.quantizing.bench import Bench
from edgeworthy.quantizing.qdq import Layer, layers_of, replace_values
from edgeworthy.runtime import Session

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]

PICTURES = 64  # that H is taken from
_PLACES = 64  # of an output, that a picture's share of H is taken from
_DAMPING = 0.01  # of the mean of H's diagonal, added to it: as GPTQ has it
_BLOCK = 128  # weights whose error is carried on at once
_FETCH_BYTES = 64 * 2**20  # of inputs, from one run
_MOMENT_BYTES = 128 * 2**20  # of H, in memory at the same time
_SEED = 1


@dataclass(frozen=True, slots=True)
class _Task:
    """A layer, the tensor that it reads, its float weights, and its groups of channels."""

    layer: Layer
    reads: str
    shape: tuple[int, ...]
    weights: Array
    groups: int

    @property
    def width(self) -> int:
        """Weights of one output."""
        return int(self.weights.size // self.weights.shape[self.layer.axis])

    @property
    def moment_bytes(self) -> int:
        """Of H, float32."""
        return 4 * self.groups * self.width**2


class Rounder:
    """Rounds the layers of QDQ graphs that were made from one float graph; what it has found, it keeps.

    Args:
        original: the float graph, prepared; shapes are known.
        bench: with calibration pictures.
    """

    def __init__(self, original: ModelProto, bench: Bench) -> None:
        self._original, self._bench = original, bench
        self._found: dict[str, tuple[Array, Array]] = {}

    def round(self, model: ModelProto) -> None:
        """Write better integers into a QDQ graph, in place; its scales stay."""
        layers = {layer.weight: layer for layer in layers_of(model)}
        new = [layer for layer in layers.values() if not self._knows(layer)]
        groups = list(_grouped(list(_tasks(self._original, new))))
        if groups:
            pictures = min(PICTURES, len(self._bench.pictures))
            self._bench.on_start("rounding weights", len(groups) * pictures)
        for group in groups:
            for task, moment in zip(group, self._moments(group), strict=True):
                self._found[task.layer.weight] = task.layer.scales, _rounded(task, moment)
        for name, layer in layers.items():
            if self._knows(layer):
                replace_values(model, name, self._found[name][1])

    def _knows(self, layer: Layer) -> bool:
        found = self._found.get(layer.weight)
        return found is not None and np.array_equal(found[0], layer.scales)

    def _moments(self, tasks: Sequence[_Task]) -> list[Array]:
        """H of each task, float32 [groups, width, width]."""
        tensors = list(dict.fromkeys(task.reads for task in tasks))
        session = Session(self._with_outputs(tensors))
        random = np.random.default_rng(_SEED)
        moments = [np.zeros((task.groups, task.width, task.width), np.float32) for task in tasks]
        entry = session.picture_port.name
        fetched = [tensor for tensor in tensors if tensor != entry]
        for feed in self._bench.feeds(PICTURES):
            values = (
                dict(zip(fetched, session.run(session.feeds(feed), fetched), strict=True)) if fetched else {}
            )
            values[entry] = feed
            for at, task in enumerate(tasks):
                patches = _patches(task, values[task.reads], random)
                moments[at] += np.matmul(patches.transpose(0, 2, 1), patches)
            self._bench.on_picture()
        return moments

    def _with_outputs(self, tensors: Sequence[str]) -> Path:
        """A file of the graph up to some tensors, which are its outputs."""
        from onnx import TensorProto, helper

        model = type(self._original)()
        model.CopyFrom(self._original)
        entries = {value.name for value in model.graph.input}
        wanted = [tensor for tensor in tensors if tensor not in entries]
        if wanted:
            del model.graph.output[:]
            model.graph.output.extend(
                helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in wanted
            )
            prune(model.graph)
        return self._bench.save(model, "inputs.onnx")


def _tasks(original: ModelProto, layers: Sequence[Layer]) -> Iterator[_Task]:
    """What can be rounded so; weights that several layers share, and transposed convolutions, cannot."""
    graph = original.graph
    shapes = {value.name: tensor_shape(value) for value in (*graph.value_info, *graph.input)}
    fixed = {tensor.name: tensor for tensor in graph.initializer}
    times: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            times[name] = times.get(name, 0) + 1
    nodes = {node.name: node for node in graph.node}
    for layer in layers:
        node = nodes[layer.name]
        weights = array_of(fixed[node.input[1]])
        shape = shapes.get(node.input[0])
        sizes = tuple(dim for dim in shape or () if isinstance(dim, int))
        known = shape is not None and len(sizes) == len(shape) and weights is not None
        plain = node.op_type == "MatMul" or not attribute_value(node, "transA", 0)
        if not known or times[node.input[1]] > 1 or node.op_type == "ConvTranspose" or not plain:
            continue
        if node.op_type == "Conv" and len(sizes) != 4:
            continue
        groups = attribute_value(node, "group", 1) if node.op_type == "Conv" else 1
        yield _Task(layer, node.input[0], sizes, np.asarray(weights, np.float32), groups)


def _grouped(tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
    """As many at a time as fit into memory."""
    group: list[_Task] = []
    fetched = moments = 0
    for task in tasks:
        size = 4 * int(np.prod(task.shape))
        if group and (fetched + size > _FETCH_BYTES or moments + task.moment_bytes > _MOMENT_BYTES):
            yield group
            group, fetched, moments = [], 0, 0
        group.append(task)
        fetched, moments = fetched + size, moments + task.moment_bytes
    if group:
        yield group


def _patches(task: _Task, values: Array, random: np.random.Generator) -> Array:
    """What the weights are multiplied with, at some places: float32 [groups, places, width]."""
    node = task.layer.node
    if task.layer.operator != "Conv":
        rows = values.reshape(-1, values.shape[-1])
        if len(rows) > _PLACES:
            rows = rows[random.choice(len(rows), _PLACES, replace=False)]
        return rows[None]
    kernel = task.weights.shape[2:]
    strides = attribute_value(node, "strides", [1, 1])
    dilations = attribute_value(node, "dilations", [1, 1])
    top, left, bottom, right = _pads(node, task.shape[2:], kernel, strides, dilations)
    padded = np.pad(values[0], ((0, 0), (top, bottom), (left, right)))
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    high, wide = ((padded.shape[axis + 1] - reach[axis]) // strides[axis] + 1 for axis in (0, 1))
    count = min(_PLACES, high * wide)
    places = random.choice(high * wide, count, replace=False)
    ys = (places // wide * strides[0])[:, None, None] + (np.arange(kernel[0]) * dilations[0])[None, :, None]
    xs = (places % wide * strides[1])[:, None, None] + (np.arange(kernel[1]) * dilations[1])[None, None, :]
    found = padded[:, ys, xs]  # [channels, places, kernel height, kernel width]
    by_group = found.reshape(task.groups, -1, count, *kernel).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(by_group).reshape(task.groups, count, task.width)


def _pads(
    node: Any, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """(top, left, bottom, right), in pixels: ONNX, operator Conv, attributes `pads` and `auto_pad`."""
    rule = attribute_value(node, "auto_pad", b"NOTSET")
    if rule in {b"NOTSET", "NOTSET"}:
        return list(attribute_value(node, "pads", [0, 0, 0, 0]))
    if rule in {b"VALID", "VALID"}:
        return [0, 0, 0, 0]
    totals = [
        max(0, (-(-size // stride) - 1) * stride + (side - 1) * step + 1 - size)
        for size, side, stride, step in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    less = [total // 2 for total in totals]
    more = [total - part for total, part in zip(totals, less, strict=True)]
    return [*less, *more] if rule in {b"SAME_UPPER", "SAME_UPPER"} else [*more, *less]


def _rounded(task: _Task, moment: Array) -> Array:
    """Integers of the weights' shape, int8."""
    layer = task.layer
    rows = np.moveaxis(task.weights, layer.axis, 0)
    found = nearest_plane(
        rows.reshape(task.groups, -1, task.width),
        layer.scales.reshape(task.groups, -1),
        moment,
        layer.most,
    )
    return np.ascontiguousarray(np.moveaxis(found.reshape(rows.shape), 0, layer.axis))


def nearest_plane(weights: Array, scales: Array, moment: Array, most: int) -> Array:
    """Integers for a layer's weights that keep its output.

    Args:
        weights: float [groups, outputs, width].
        scales: float [groups, outputs], of the integers.
        moment: float [groups, width, width], second moment of the inputs.
        most: the largest integer.

    Returns:
        Int8 [groups, outputs, width]; rounded one by one where the moment overflows, or has no factor.
    """
    try:
        factor, order = _factor(moment)
    except np.linalg.LinAlgError:
        alone = np.rint(weights / scales[:, :, None])
        return np.clip(alone, -most, most).astype(np.int8)
    ratio = np.take_along_axis(weights, order[:, None, :], 2) / scales[:, :, None].astype(np.float32)
    integers, error = np.zeros_like(ratio), np.zeros_like(ratio)
    for end in range(ratio.shape[2], 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        behind = factor[:, start:end, end:].transpose(0, 2, 1)
        centre = ratio[..., start:end] - np.matmul(error[..., end:], behind)
        for at in range(end - 1, start - 1, -1):
            carried = np.matmul(error[..., at + 1 : end], factor[:, at, at + 1 : end, None])[..., 0]
            integers[..., at] = np.clip(np.rint(centre[..., at - start] - carried), -most, most)
            error[..., at] = integers[..., at] - ratio[..., at]
    result = np.empty_like(integers)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], result.shape), integers, 2)
    return result.astype(np.int8)


def _factor(moment: Array) -> tuple[Array, Array]:
    """The moment's upper Cholesky factor, rows divided by its diagonal, and the order of what it is about.

    Raises:
        LinAlgError: where there is none.
    """
    diagonal = np.diagonal(moment, axis1=1, axis2=2)
    order = np.argsort(diagonal, axis=1, kind="stable")  # the last one is rounded first: what weighs most
    damped = np.take_along_axis(moment, order[:, :, None], 1)
    damped = np.take_along_axis(damped, order[:, None, :], 2)
    every = np.arange(moment.shape[1])
    damping = _DAMPING * diagonal.mean(axis=1, keepdims=True)
    damped[:, every, every] += np.where(damping > 0, damping, 1.0)
    factor = np.linalg.cholesky(damped).transpose(0, 2, 1)
    if not np.isfinite(factor).all():
        raise np.linalg.LinAlgError("The moment is not finite.")
    return factor / factor[:, every, every][:, :, None], order
