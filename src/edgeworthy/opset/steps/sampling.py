"""GridSample and RoiAlign, which take values from between the pixels."""

from __future__ import annotations

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

_TWO_DIMENSIONAL = {"linear": "bilinear", "cubic": "bicubic"}
_UNSHIFTED = "output_half_pixel"


@lowers("GridSample", opset=20)
def name_modes_for_pictures(site: Site) -> None:
    """Until 19 it samples pictures alone, and the names of its modes say so."""
    if site.rank() != 4:
        raise site.refuse(f"it samples a tensor of {site.rank()} dimensions")
    mode = site.attribute("mode", "linear")
    site.set(mode=_TWO_DIMENSIONAL.get(mode, mode))


@lowers("RoiAlign", opset=16)
def refuse_shift(site: Site) -> None:
    """Regions are shifted by half a pixel from 16 on, unless told otherwise."""
    if site.attribute("coordinate_transformation_mode", "half_pixel") != _UNSHIFTED:
        raise site.refuse("its regions are shifted by half a pixel (coordinate_transformation_mode)")
    site.drop("coordinate_transformation_mode")


@raises("RoiAlign", opset=16)
def state_no_shift(site: Site) -> None:
    """Say that regions are not shifted, which 16 made an option and not the default."""
    site.set(coordinate_transformation_mode=_UNSHIFTED)
