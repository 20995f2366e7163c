"""Cast and CastLike."""

from __future__ import annotations

from edgeworthy.opset.registry import lowers
from edgeworthy.opset.site import Site


@lowers("Cast", "CastLike", opset=24)
def drop_round_mode(site: Site) -> None:
    """`round_mode` (new in 24) governs casts to float8e8m0 alone, a type that came with it."""
    site.drop("round_mode")


@lowers("Cast", "CastLike", "QuantizeLinear", opset=19)
def drop_saturate(site: Site) -> None:
    """`saturate` (new in 19) governs casts to 8 bit floats alone, types that came with it."""
    site.drop("saturate")


@lowers("CastLike", opset=15)
def cast_to_known_type(site: Site) -> None:
    """Name the type of the second input, for CastLike is new in 15."""
    site.become("Cast", site.input(0), to=site.dtype(1))
