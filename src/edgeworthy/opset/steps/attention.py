"""Attention, taken apart into multiplications and Softmax where opset 23 brought it in."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper

from edgeworthy.opset.registry import lowers
from edgeworthy.opset.site import Site

_MASK, _PAST_KEY = 3, 4  # places of inputs


@lowers("Attention", opset=25)
def drop_windows(site: Site) -> None:
    """Windows that bound how far a query looks are new in 25."""
    names = ("left_window_size", "right_window_size")
    if any(site.attribute(name, -1) != -1 for name in names):
        raise site.refuse("its queries look through a window")
    site.drop(*names)


@lowers("Attention", opset=24)
def refuse_caches(site: Site) -> None:
    """Lengths of a cache are new in 24, which also says anew how the causal mask lies on one."""
    if len(site.node.input) > _PAST_KEY and any(site.node.input[_PAST_KEY:]):
        raise site.refuse("it works on a cache of keys and values")


@lowers("Attention", opset=23)
def take_attention_apart(site: Site) -> None:
    """Softmax(q * k^T * scale + mask) * v for each head (new in 23)."""
    _refuse_rarities(site)
    query, key, value = (_heads(site, place) for place in range(3))
    root = site.add_like(math.sqrt(_scale(site)))
    turned = site.add("Transpose", key, perm=[0, 1, 3, 2])
    scores = site.add("MatMul", site.add("Mul", query, root), site.add("Mul", turned, root))
    shares = _weigh(site, scores)
    if site.rank() == 4:
        site.become("MatMul", shares, value)
        return
    result = site.add("Transpose", site.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    site.become("Reshape", result, site.add_constant([0, 0, -1]))


def _refuse_rarities(site: Site) -> None:
    refuse_caches(site)
    if any(site.node.output[1:]):
        raise site.refuse("it hands out more than its result")
    if site.attribute("softcap", 0.0):
        raise site.refuse("its scores are capped (softcap)")
    if site.attribute("softmax_precision", site.dtype()) != site.dtype():
        raise site.refuse("its Softmax has another type than its inputs (softmax_precision)")
    if _count(site, 0) != _count(site, 1):
        raise site.refuse("its queries share keys and values (q_num_heads, kv_num_heads)")
    del site.node.output[1:]


def _count(site: Site, place: int) -> int:
    """The number of heads of an input."""
    if site.rank(place) == 4:
        return site.size(1, place)
    heads = site.attribute("q_num_heads" if place == 0 else "kv_num_heads")
    if not heads:
        raise site.refuse("the number of its heads is not stated")
    return int(heads)


def _heads(site: Site, place: int) -> str:
    """An input as batch, head, place in the sequence, and features."""
    name = site.input(place)
    if site.rank(place) == 4:
        return name
    split = site.add("Reshape", name, site.add_constant([0, 0, _count(site, place), -1]))
    return site.add("Transpose", split, perm=[0, 2, 1, 3])


def _scale(site: Site) -> float:
    features = site.size(-1) if site.rank() == 4 else site.size(-1) // _count(site, 0)
    return float(site.attribute("scale", 1 / math.sqrt(features)))


def _weigh(site: Site, scores: str) -> str:
    """The share of each key for each query.

    A query that may look at no key at all gets nothing, where Softmax alone would make it NaN.
    """
    allowed = _allowed(site)
    if allowed:
        masked = site.add("Where", allowed, scores, site.add_like(-_largest(site)))
        shares = site.add("Softmax", masked, axis=-1)
        return site.add("Where", allowed, shares, site.add_like(0))
    if not site.input(_MASK):
        return site.add("Softmax", scores, axis=-1)
    _check_mask(site)
    shares = site.add("Softmax", site.add("Add", scores, site.input(_MASK)), axis=-1)
    most = site.add("ReduceMax", site.input(_MASK), site.add_constant([-1]), keepdims=1)
    nothing = site.add("Equal", most, site.add_like(-math.inf))
    return site.add("Where", nothing, site.add_like(0), shares)


def _allowed(site: Site) -> str:
    """A boolean mask of what each query may look at; "" where there is none, or one of numbers."""
    boolean = bool(site.input(_MASK)) and site.dtype(_MASK) == TensorProto.BOOL
    if boolean:
        _check_mask(site)
    if not site.attribute("is_causal", 0):
        return site.input(_MASK) if boolean else ""
    if site.input(_MASK) and not boolean:
        raise site.refuse("it has a mask of numbers, and a causal one (is_causal)")
    site.check_room(site.size(-2, 0), site.size(-2, 1))
    lower = np.tril(np.ones((site.size(-2, 0), site.size(-2, 1)), dtype=np.bool_))
    causal = site.add_constant(lower, np.bool_)
    return site.add("And", site.input(_MASK), causal) if boolean else causal


def _check_mask(site: Site) -> None:
    """Refuse a mask that is shorter than the keys, or would stretch the result."""
    if site.size(-1, _MASK) not in {1, site.size(-2, 1)}:
        raise site.refuse("its mask is shorter than its keys")


def _largest(site: Site) -> float:
    if site.dtype() not in {TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE}:
        raise site.refuse("its mask is boolean, and its type is not a float that numpy knows")
    return float(np.finfo(helper.tensor_dtype_to_np_dtype(site.dtype())).max)
