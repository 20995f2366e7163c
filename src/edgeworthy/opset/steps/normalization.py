"""Normalisations, taken apart where an opset brought them in.

`stash_type` names the type that the first stage of most is computed in, float32 by default.
"""

from __future__ import annotations

from onnx import TensorProto, helper

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

_NARROW = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


@lowers("RMSNormalization", opset=23)
def take_rms_apart(site: Site) -> None:
    """RMSNormalization (new in 23) is x / Sqrt(mean(x * x) + epsilon) * scale."""
    x, stash = _widen(site)
    axes = site.add_constant(_axes(site))
    squares = site.add("ReduceMean", site.add("Mul", x, x), axes, keepdims=1)
    normal = site.add("Div", x, _root(site, squares, stash))
    site.become("Mul", _narrow(site, normal, stash), site.input(1))


@lowers("LayerNormalization", opset=17)
def take_layer_apart(site: Site) -> None:
    """LayerNormalization (new in 17) is (x - mean) / Sqrt(variance + epsilon) * scale + bias.

    The mean, and 1 / Sqrt, are outputs as well where they are in use.
    """
    x, stash = _widen(site)
    axes = _axes(site)
    mean = site.add("ReduceMean", x, output=site.output(1), axes=axes, keepdims=1)
    centred = site.add("Sub", x, mean)
    squares = site.add("Mul", centred, centred)
    root = _root(site, site.add("ReduceMean", squares, axes=axes, keepdims=1), stash)
    if site.output(2):
        site.add("Reciprocal", root, output=site.output(2))
    del site.node.output[1:]
    normal = _narrow(site, site.add("Div", centred, root), stash)
    if site.input(2):
        site.become("Add", site.add("Mul", normal, site.input(1)), site.input(2))
    else:
        site.become("Mul", normal, site.input(1))


def _widen(site: Site) -> tuple[str, int]:
    """The input in the type that the first stage is computed in, and that type."""
    dtype, stash = site.dtype(), site.attribute("stash_type", TensorProto.FLOAT)
    if dtype == stash:
        return site.input(0), stash
    if dtype not in _NARROW or stash != TensorProto.FLOAT:
        raise site.refuse("it computes in a narrower type than its input has (stash_type)")
    return site.add_cast(site.input(0), stash), stash


def _narrow(site: Site, name: str, stash: int) -> str:
    """A result of the first stage in the type of the input."""
    return name if site.dtype() == stash else site.add_cast(name, site.dtype())


def _axes(site: Site) -> list[int]:
    """All axes from the one that the node names on, counted from the back."""
    axis = site.attribute("axis", -1)
    return list(range(axis if axis < 0 else axis - site.rank(), 0))


def _root(site: Site, squares: str, dtype: int) -> str:
    epsilon = site.add_constant(site.attribute("epsilon", 1e-5), helper.tensor_dtype_to_np_dtype(dtype))
    return site.add("Sqrt", site.add("Add", squares, epsilon))


@lowers("GroupNormalization", opset=21)
def take_groups_apart(site: Site) -> None:
    """Normalise each group like an instance, then scale and shift each channel.

    Until 20, scale and bias had one value a group.
    """
    x, stash = _widen(site)
    groups, channels = site.attribute("num_groups"), site.size(0, 1)
    site.check_room(groups)
    ones, zeros = (
        site.add_constant([value] * groups, helper.tensor_dtype_to_np_dtype(stash)) for value in (1, 0)
    )
    normal = _narrow(site, _normalise_groups(site, x, ones, zeros), stash)
    matrix = site.add("Reshape", normal, site.add_constant([0, channels, -1]))
    one = site.add_constant([1])
    scale, bias = (site.add("Unsqueeze", site.input(place), one) for place in (1, 2))
    moved = site.add("Add", site.add("Mul", matrix, scale), bias)
    site.become("Reshape", moved, site.add("Shape", site.input(0)))


@lowers("GroupNormalization", opset=18)
def groups_to_instances(site: Site) -> None:
    """Normalise each group like an instance (the operator is new in 18)."""
    normal = _normalise_groups(site, site.input(0), site.input(1), site.input(2))
    site.become("Reshape", normal, site.add("Shape", site.input(0)))


def _normalise_groups(site: Site, x: str, scale: str, bias: str) -> str:
    groups, epsilon = site.attribute("num_groups"), site.attribute("epsilon", 1e-5)
    matrix = site.add("Reshape", x, site.add_constant([0, groups, -1]))
    return site.add("InstanceNormalization", matrix, scale, bias, epsilon=epsilon)


@lowers("BatchNormalization", opset=14)
def drop_training_mode(site: Site) -> None:
    """`training_mode` is new in 14; before, the number of outputs said it."""
    _refuse_training(site)
    site.drop("training_mode")


@raises("BatchNormalization", opset=14)
def state_inference(site: Site) -> None:
    """Only the outputs of training changed."""
    _refuse_training(site)


def _refuse_training(site: Site) -> None:
    if site.attribute("training_mode", 0) or any(site.node.output[1:]):
        raise site.refuse("it is in training mode", "Export the model for inference.")
    del site.node.output[1:]


@raises("BatchNormalization", opset=9)
def drop_spatial(site: Site) -> None:
    """Statistics for each place of a channel (`spatial` 0) went in 9."""
    if not site.attribute("spatial", 1):
        raise site.refuse("it has statistics for each place of a channel (spatial=0)")
    site.drop("spatial")
