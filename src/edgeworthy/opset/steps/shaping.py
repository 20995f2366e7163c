"""Shape, Reshape, Trilu and SpaceToDepth."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgeworthy.opset.facts import UNKNOWN
from edgeworthy.opset.registry import lowers
from edgeworthy.opset.site import Site

_TO_THE_END = np.iinfo(np.int64).max


@lowers("SpaceToDepth", opset=28)
def sort_depth(site: Site) -> None:
    """Sort the channels of mode `CRD` (new in 28), which has the blocks of one channel side by side."""
    mode, block = site.attribute("mode", "DCR"), site.attribute("blocksize")
    site.drop("mode")
    if mode == "CRD":
        channels = site.size(1)
        site.check_room(channels, block, block)
        order = np.arange(channels * block * block).reshape(block * block, channels).T.ravel()
        depth = site.add("SpaceToDepth", site.input(0), blocksize=block)
        site.become("Gather", depth, site.add_constant(order), axis=1)


@lowers("Shape", opset=15)
def cut_shape(site: Site) -> None:
    """Cut a part (`start` and `end`, new in 15) out of the whole shape."""
    start, end = site.attribute("start", 0), site.attribute("end")
    site.drop("start", "end")
    if start != 0 or end is not None:
        shape = site.add("Shape", site.input(0))
        bounds = (site.add_constant([start]), site.add_constant([_TO_THE_END if end is None else end]))
        site.become("Slice", shape, *bounds)


@lowers("Reshape", opset=14)
def drop_allowzero(site: Site) -> None:
    """`allowzero` (new in 14) matters only where a 0 stands in the shape."""
    if site.attribute("allowzero", 0) and not _is_free_of_zeros(site):
        raise site.refuse("a 0 in the shape means none, not the old size (allowzero)")
    site.drop("allowzero")


def _is_free_of_zeros(site: Site) -> bool:
    wanted = site.constant(1)
    if wanted is not None:
        return 0 not in wanted
    made = site.facts.get(site.output(0), UNKNOWN).shape
    if made is None or None in made:
        raise site.refuse(f"the shape of {site.output(0)!r} is not known (allowzero)")
    return 0 not in made


@lowers("Trilu", opset=14)
def mask_triangle(site: Site) -> None:
    """Choose between the matrix and zeros (the operator is new in 14); its size has to be known."""
    offset = site.integers(1, "offsets")[0] if site.input(1) else 0
    site.check_room(site.size(-2), site.size(-1))
    whole = np.ones((site.size(-2), site.size(-1)), dtype=np.bool_)
    triangle = np.triu(whole, offset) if site.attribute("upper", 1) else np.tril(whole, offset)
    mask = site.add_constant(triangle, np.bool_)
    if site.dtype() == TensorProto.BOOL:
        site.become("And", site.input(0), mask)
    else:
        site.become("Where", mask, site.input(0), site.add_like(0))
