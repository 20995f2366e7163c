"""Mod, Range and Dropout."""

from __future__ import annotations

from onnx import TensorProto

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

FLOATS = frozenset({TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BFLOAT16})


@lowers("Mod", opset=28)
def refuse_floored_floats(site: Site) -> None:
    """Floats with the sign of the divisor (`fmod` 0) are new in 28."""
    if not site.attribute("fmod", 0) and site.dtype() in FLOATS:
        raise site.refuse("the remainder of floats has the divisor's sign (fmod=0)")


@lowers("Range", opset=27)
def drop_stash_type(site: Site) -> None:
    """`stash_type` (new in 27) governs types alone that came with it."""
    site.drop("stash_type")


@raises("Dropout", opset=10)
def refuse_float_mask(site: Site) -> None:
    """The mask is boolean from 10 on; before, inference did not fill it."""
    if site.output(1):
        raise site.refuse("its mask is in use, which nothing fills before opset 10")


@raises("Dropout", opset=12)
def drop_ratio(site: Site) -> None:
    """The ratio became an input, which inference does not look at."""
    site.drop("ratio")
