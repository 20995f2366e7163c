"""Resize, and Upsample before it.

Upsample (7: scales an attribute, 9: an input) became Resize (10), whose coordinates 11 made an option.
18 added antialiasing, aspect ratios and a choice of axes; 19 added `half_pixel_symmetric`.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

_SCALES, _SIZES = 2, 3  # places of inputs
_MODE = "coordinate_transformation_mode"


@lowers("Resize", opset=19)
def symmetric_to_half_pixel(site: Site) -> None:
    """`half_pixel_symmetric` (new in 19) is `half_pixel` where no size has to be rounded."""
    if site.attribute(_MODE, "half_pixel") != "half_pixel_symmetric":
        return
    stretches = site.attribute("keep_aspect_ratio_policy", "stretch") == "stretch"
    if site.input(_SIZES) and not stretches:
        raise site.refuse(f"it keeps the aspect ratio, and {_MODE} is half_pixel_symmetric")
    if not site.input(_SIZES) and not _gives_whole_sizes(site):
        raise site.refuse(f"its sizes are rounded, and {_MODE} is half_pixel_symmetric")
    site.set(**{_MODE: "half_pixel"})


def _gives_whole_sizes(site: Site) -> bool:
    scales = site.need_constant(_SCALES, "scales").ravel().tolist()
    return all(
        (site.size(axis) * scale).is_integer() for axis, scale in zip(_axes(site), scales, strict=True)
    )


def _axes(site: Site) -> list[int]:
    """The axes that scales and sizes speak of."""
    rank = site.rank()
    return [axis % rank for axis in site.attribute("axes", range(rank))]


@lowers("Resize", opset=18)
def drop_options(site: Site) -> None:
    """Do without `antialias`, `keep_aspect_ratio_policy` and `axes`, all new in 18."""
    if site.attribute("antialias", 0) and site.attribute("mode", "nearest") != "nearest" and _shrinks(site):
        raise site.refuse("it smooths while shrinking (antialias)")
    if site.input(_SIZES) and site.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        _state_sizes(site)
    if site.attribute("axes") is not None:
        _speak_of_all_axes(site)
    site.drop("antialias", "keep_aspect_ratio_policy", "axes")


def _shrinks(site: Site) -> bool:
    if site.input(_SCALES):
        return bool((site.need_constant(_SCALES, "scales") < 1).any())
    sizes = site.integers(_SIZES, "sizes")
    return any(size < site.size(axis) for axis, size in zip(_axes(site), sizes, strict=True))


def _state_sizes(site: Site) -> None:
    """Work out the sizes that keep the aspect ratio, where they need no rounding."""
    old = [site.size(axis) for axis in _axes(site)]
    wanted = site.integers(_SIZES, "sizes")
    ratios = [Fraction(size, before) for size, before in zip(wanted, old, strict=True)]
    larger = site.attribute("keep_aspect_ratio_policy") == "not_smaller"
    ratio = max(ratios) if larger else min(ratios)
    sizes = [ratio * size for size in old]
    if any(size.denominator != 1 for size in sizes):
        raise site.refuse("it rounds sizes to keep the aspect ratio (keep_aspect_ratio_policy)")
    site.set_inputs(site.input(0), site.input(1), "", site.add_constant([int(size) for size in sizes]))


def _speak_of_all_axes(site: Site) -> None:
    """Give a scale or a size for each axis, those included that stay as they are."""
    if site.attribute(_MODE, "half_pixel") == "tf_crop_and_resize":
        raise site.refuse(f"it crops along a choice of axes ({_MODE})")
    if site.input(_SCALES):
        site.set_inputs(site.input(0), "", _all_scales(site))
    else:
        site.set_inputs(site.input(0), "", "", _all_sizes(site))


def _all_scales(site: Site) -> str:
    scales, known = np.ones(site.rank(), dtype=np.float32), site.constant(_SCALES)
    if known is None:
        return _mix(site, site.add_constant(scales, np.float32), _SCALES)
    scales[_axes(site)] = known
    return site.add_constant(scales, np.float32)


def _all_sizes(site: Site) -> str:
    shape, known = site.shape(), site.constant(_SIZES)
    rest = [] if shape is None else [size for axis, size in enumerate(shape) if axis not in _axes(site)]
    if known is None or None in rest:
        return _mix(site, site.add("Shape", site.input(0)), _SIZES)
    sizes = np.array([size or 0 for size in shape or ()])
    sizes[_axes(site)] = known
    return site.add_constant(sizes)


def _mix(site: Site, whole: str, place: int) -> str:
    """Put the computed values of some axes in between what the others have."""
    rank, axes = site.rank(), _axes(site)
    order = [rank + axes.index(axis) if axis in axes else axis for axis in range(rank)]
    values = site.add("Concat", whole, site.input(place), axis=0)
    return site.add("Gather", values, site.add_constant(order), axis=0)


@lowers("Resize", opset=13)
def state_empty_inputs(site: Site) -> None:
    """Give an empty region and empty scales where they are left out, which 13 was the first to allow."""
    region, scales = (site.input(place) or site.add_constant([], np.float32) for place in (1, _SCALES))
    site.set_inputs(site.input(0), region, scales, site.input(_SIZES))


@raises("Upsample", opset=9)
def scales_to_input(site: Site) -> None:
    """Make the scales an input."""
    scales = site.attribute("scales")
    site.drop("scales")
    site.set_inputs(site.input(0), site.add_constant(scales, np.float32))


@raises("Upsample", opset=10)
def upsample_to_resize(site: Site) -> None:
    """Upsample is called Resize, which can shrink as well."""
    site.node.op_type = "Resize"


@raises("Resize", opset=11)
def state_coordinates(site: Site) -> None:
    """Until 10, a pixel's place is divided by the scale, and the nearest one lies below.

    Where shrinking lets the nearest one fall between two pixels, runtimes never agreed which it is.
    """
    mode = site.attribute("mode", "nearest")
    if mode == "nearest" and not _lands_on_pixels(site):
        raise site.refuse("it shrinks by a part of a pixel to the nearest one")
    region = site.add_constant([], np.float32)
    site.set_inputs(site.input(0), region, site.input(1))
    site.set(**{_MODE: "asymmetric"}, nearest_mode="floor")


def _lands_on_pixels(site: Site) -> bool:
    scales = site.need_constant(1, "scales").ravel().tolist()
    return all(scale >= 1 or (scale > 0 and (1 / scale).is_integer()) for scale in scales)
