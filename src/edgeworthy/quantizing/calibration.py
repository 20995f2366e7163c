"""What values a graph's activations take on calibration pictures, and the bounds that follow.

The bounds are exact; of the values between them a sample is kept, drawn within the graph at random places,
so that neither pictures nor the size of activations make it grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.errors import NotConformantError
from edgeworthy.model import to_bytes
from edgeworthy.results import RangeMethod
from edgeworthy.runtime import Session

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]
Bounds = tuple[float, float]

_SAMPLES = 2**17  # values kept of a tensor, over all pictures
_ALL_SAMPLES = 2**25  # of all tensors together: 128 MB
_SEED = 0
_PERCENTILE = 99.99
_SHRINKS = np.linspace(0.2, 1.0, 33)  # of both bounds; the best one is taken
_BINS, _LEVELS = 511, 128  # for entropy
_PLACES, _FLAT = "edgeworthy_places", "edgeworthy_flat"


@dataclass(frozen=True, slots=True)
class Observed:
    """A tensor's least and largest value, and a sample of its values, float32."""

    lowest: float
    highest: float
    sample: Array


def observe(model: ModelProto, feeds: Iterable[Array], count: int, scratch: Path) -> dict[str, Observed]:
    """Run pictures through a graph and look at all its float32 tensors.

    Args:
        model: with known shapes; it stays as it is.
        feeds: the pictures, as the graph's input takes them.
        count: how many there are.
        scratch: a folder for a file.

    Raises:
        NotConformantError: where a value is no finite number.
    """
    tensors = _tensors(model)
    each = max(1, min(_SAMPLES, _ALL_SAMPLES // max(1, len(tensors))) // max(1, count))
    file = scratch / "observed.onnx"
    file.write_bytes(to_bytes(_watched(model, tensors, each)))
    session = Session(file)
    fetched = [f"edgeworthy_{what}_{at}" for at in range(len(tensors)) for what in ("low", "high", "some")]
    lowest: Array = np.full(len(tensors), np.inf)
    highest: Array = np.full(len(tensors), -np.inf)
    samples = np.empty((len(tensors), count, each), np.float32)
    random = np.random.default_rng(_SEED)
    for number, feed in enumerate(feeds):
        places = random.random(each, dtype=np.float32) * np.float32(1 - 1e-6)
        values = session.run(session.feeds(feed) | {_PLACES: places}, fetched)
        lowest = np.minimum(lowest, values[0::3])
        highest = np.maximum(highest, values[1::3])
        samples[:, number] = values[2::3]
    for tensor, low, high in zip(tensors, lowest, highest, strict=True):
        if not (np.isfinite(low) and np.isfinite(high)):
            raise NotConformantError(
                f"The tensor {tensor[:80]!r} is not finite on a calibration picture: nothing bounds it.",
                hint="Does the model overflow? See: edgeworthy check",
            )
    return {
        tensor: Observed(float(lowest[at]), float(highest[at]), samples[at].reshape(-1))
        for at, tensor in enumerate(tensors)
    }


def bounds(
    observed: Mapping[str, Observed], method: RangeMethod, *, symmetric: bool = False
) -> dict[str, Bounds]:
    """Which values 8 bits shall reach, for each tensor.

    `minmax` takes all of them. `percentile` leaves out 0.01 % at the ends. `mse` takes the bounds, both
    shrunk alike, with the smallest mean squared error over the sample. `entropy` takes those whose 128 levels
    keep most of the distribution of magnitudes: S. Migacz, 8-bit inference with TensorRT (GTC 2017), as
    ONNX Runtime implements it.
    """
    return {tensor: _bounds(one, method, symmetric=symmetric) for tensor, one in observed.items()}


def _bounds(one: Observed, method: RangeMethod, *, symmetric: bool) -> Bounds:
    low, high = min(one.lowest, 0.0), max(one.highest, 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    if low == high or method == "minmax":
        return low, high
    if method == "percentile":
        tail = (100 - _PERCENTILE) / 2 if low < 0 < high else 100 - _PERCENTILE
        below, above = np.percentile(one.sample, (tail, 100 - tail))
        return max(low, min(0.0, float(below))), min(high, max(0.0, float(above)))
    if method == "entropy":
        reach = _entropy(one.sample) or max(-low, high)
        return max(low, -reach), min(high, reach)
    shrink = _least_error(one, low, high)
    return low * shrink, high * shrink


def _least_error(one: Observed, low: float, high: float) -> float:
    values = np.append(one.sample, np.array([one.lowest, one.highest], np.float32))
    errors = []
    for shrink in _SHRINKS:
        step = (high - low) * shrink / 255
        zero = np.round(-low * shrink / step)
        levels = np.clip(np.round(values / step) + zero, 0, 255)
        errors.append(float(np.mean((values - (levels - zero) * step) ** 2)))
    return float(_SHRINKS[int(np.argmin(errors))])


def _entropy(sample: Array) -> float:
    """The magnitude to reach."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    moved = sample[sample != 0]  # zero is kept exactly, however far it reaches
    if not moved.size:
        return 0.0
    top = float(np.abs(moved).max())
    counts, edges = np.histogram(np.concatenate([moved, -moved]), bins=_BINS, range=(-top, top))
    collector = HistogramCollector(
        method="entropy",
        symmetric=True,
        num_bins=_BINS,
        num_quantized_bins=_LEVELS,
        percentile=0,
        scenario="same",
    )
    found = collector.get_entropy_threshold((counts, edges, -top, top, top), _LEVELS)
    return max(abs(float(found[0])), abs(float(found[1])))


def _tensors(model: ModelProto) -> list[str]:
    """Float32 inputs and outputs of the nodes, in order."""
    from onnx import TensorProto

    graph = model.graph
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    fixed = {tensor.name for tensor in graph.initializer}
    names = (name for node in graph.node for name in (*node.input, *node.output))
    return [
        name for name in dict.fromkeys(names) if kinds.get(name) == TensorProto.FLOAT and name not in fixed
    ]


def _watched(model: ModelProto, tensors: list[str], each: int) -> ModelProto:
    """The graph with three outputs a tensor: least, largest, and values at the places that an input names."""
    from onnx import TensorProto, helper, numpy_helper

    watched = type(model)()
    watched.CopyFrom(model)
    graph, floats = watched.graph, TensorProto.FLOAT
    graph.input.append(helper.make_tensor_value_info(_PLACES, floats, [each]))
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), _FLAT))
    for at, tensor in enumerate(tensors):
        names = {what: f"edgeworthy_{what}_{at}" for what in _WATCHERS}
        graph.node.extend(
            helper.make_node(operator, [names.get(one, one) for one in inputs], [names[what]], **options)
            for what, (operator, inputs, options) in _watchers(tensor).items()
        )
        graph.output.extend(
            helper.make_tensor_value_info(names[what], floats, None) for what in ("low", "high", "some")
        )
    return watched


_WATCHERS = ("low", "high", "flat", "count", "size", "at", "index", "some")


def _watchers(tensor: str) -> dict[str, tuple[str, list[str], dict[str, Any]]]:
    from onnx import TensorProto

    return {
        "low": ("ReduceMin", [tensor], {"keepdims": 0}),
        "high": ("ReduceMax", [tensor], {"keepdims": 0}),
        "flat": ("Reshape", [tensor, _FLAT], {}),
        "count": ("Size", [tensor], {}),
        "size": ("Cast", ["count"], {"to": TensorProto.FLOAT}),
        "at": ("Mul", [_PLACES, "size"], {}),
        "index": ("Cast", ["at"], {"to": TensorProto.INT64}),
        "some": ("Gather", ["flat", "index"], {}),
    }
