"""Slice, TopK, OneHot and Scatter, which old opsets knew in other forms; reductions while scattering."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site


@raises("Slice", opset=10)
def bounds_to_inputs(site: Site) -> None:
    """Make starts, ends and axes inputs."""
    starts, ends, axes = (site.attribute(name) for name in ("starts", "ends", "axes"))
    site.drop("starts", "ends", "axes")
    bounds = (site.add_constant(starts), site.add_constant(ends))
    site.set_inputs(site.input(0), *bounds, site.add_constant(axes) if axes else "")


@raises("TopK", opset=10)
def count_to_input(site: Site) -> None:
    """Make k an input."""
    count = site.attribute("k")
    site.drop("k")
    site.set_inputs(site.input(0), site.add_constant([count]))


@raises("OneHot", opset=11)
def hide_negatives(site: Site) -> None:
    """Negative indices count from the back from 11 on; before, they stand for no class at all."""
    known = site.constant(0)
    if known is not None and (known >= 0).all():
        return
    dtype = site.dtype()
    if dtype not in {TensorProto.INT32, TensorProto.INT64}:
        raise site.refuse("its indices may be negative, and are not of type int32 or int64")
    outside = site.add_like(np.iinfo(np.int32 if dtype == TensorProto.INT32 else np.int64).max)
    negative = site.add("Less", site.input(0), site.add_like(0))
    indices = site.add("Where", negative, outside, site.input(0))
    site.set_inputs(indices, *site.node.input[1:])


@raises("Scatter", opset=11)
def rename_scatter(site: Site) -> None:
    """Scatter is called ScatterElements."""
    site.node.op_type = "ScatterElements"


@lowers("ScatterElements", "ScatterND", opset=18)
def refuse_extremes(site: Site) -> None:
    """The reductions `max` and `min` are new in 18."""
    reduction = site.attribute("reduction", "none")
    if reduction in {"max", "min"}:
        raise site.refuse(f"it scatters with reduction={reduction!r}")
