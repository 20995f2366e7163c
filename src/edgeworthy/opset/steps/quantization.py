"""QuantizeLinear and DequantizeLinear: a scale for a tensor (10), for an axis (13), for blocks (21)."""

from __future__ import annotations

import math

from onnx import TensorProto, helper

from edgeworthy.opset.facts import UNKNOWN, ValueFacts
from edgeworthy.opset.registry import lowers
from edgeworthy.opset.site import Site

PAIR = ("QuantizeLinear", "DequantizeLinear")


@lowers("DequantizeLinear", opset=23)
def drop_same_output_type(site: Site) -> None:
    """`output_dtype` (new in 23) may say no more than the scale's type does."""
    wanted = site.attribute("output_dtype", 0)
    if wanted and wanted != site.dtype(1):
        raise site.refuse("the output's type is another one than the scale's (output_dtype)")
    site.drop("output_dtype")


@lowers("QuantizeLinear", opset=23)
def drop_same_precision(site: Site) -> None:
    """`precision` (new in 23) may say no more than the type of scale and input, which must be one."""
    wanted = site.attribute("precision", 0)
    if wanted and wanted != site.dtype(1):
        raise site.refuse("it divides in another type than the scale's (precision)")
    if site.dtype(0) != site.dtype(1):
        raise site.refuse("the input and the scale have different types")
    site.drop("precision")


@lowers(*PAIR, opset=21)
def drop_blocks(site: Site) -> None:
    """Blocks of an axis (`block_size`) are new in 21; so is QuantizeLinear's `output_dtype`."""
    if site.attribute("block_size", 0):
        raise site.refuse("it has one scale for each block of an axis (block_size)")
    wanted = site.attribute("output_dtype", 0)
    if wanted not in {0, TensorProto.UINT8} and not site.input(2):
        _state_zero_point(site, wanted)
    site.drop("block_size", "output_dtype")


def _state_zero_point(site: Site, dtype: int) -> None:
    """Let a zero point name the output's type."""
    sizes = [site.size(axis, 1) for axis in range(site.rank(1))]
    zeros = helper.make_tensor("zeros", dtype, sizes, [0] * math.prod(sizes))
    made = site.add("Constant", value=zeros)
    site.facts[made] = ValueFacts(dtype=dtype, shape=tuple(sizes))
    site.set_inputs(site.input(0), site.input(1), made)


@lowers("DequantizeLinear", opset=13)
def dequantize_axis(site: Site) -> None:
    """(x - zero point) * scale along an axis: before 13 there is one scale for the whole tensor."""
    if _has_one_scale(site):
        return
    x, scale = site.add_cast(site.input(0), TensorProto.FLOAT), _along_axis(site, site.input(1))
    if site.input(2):
        x = site.add("Sub", x, _along_axis(site, site.add_cast(site.input(2), TensorProto.FLOAT)))
    site.become("Mul", x, scale)


@lowers("QuantizeLinear", opset=13)
def quantize_axis(site: Site) -> None:
    """Round(x / scale) + zero point within the bounds of the type, along an axis."""
    if _has_one_scale(site):
        return
    dtype = site.dtype(2) if site.input(2) else TensorProto.UINT8
    low, high = (-128.0, 127.0) if dtype == TensorProto.INT8 else (0.0, 255.0)
    x = site.add("Round", site.add("Div", site.input(0), _along_axis(site, site.input(1))))
    if site.input(2):
        x = site.add("Add", x, _along_axis(site, site.add_cast(site.input(2), TensorProto.FLOAT)))
    bounds = (site.add_constant(low, "float32"), site.add_constant(high, "float32"))
    site.become("Cast", site.add("Clip", x, *bounds), to=dtype)


def _has_one_scale(site: Site) -> bool:
    """Take away what an axis adds, where the scale is a single number."""
    single = site.rank(1) == 0
    if single:
        site.drop("axis")
    return single


def _along_axis(site: Site, name: str) -> str:
    """Turn a vector so that it lies along the axis that is quantised."""
    rank, axis = site.rank(0), site.attribute("axis", 1)
    facts = site.facts.get(name, UNKNOWN)
    if facts.shape is None or len(facts.shape) != 1 or (rank > 1 and not -rank <= axis < rank):
        raise site.refuse(f"{name!r} is not known to be a vector along axis {axis} of {rank}")
    sizes = [-1 if place == axis % rank else 1 for place in range(rank)] if rank > 1 else [-1]
    return site.add("Reshape", name, site.add_constant(sizes))
