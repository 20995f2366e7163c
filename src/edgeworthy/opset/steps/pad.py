"""Pad: its widths became an input at opset 11, it took axes at 18, and mode `wrap` at 19."""

from __future__ import annotations

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site


@lowers("Pad", opset=19)
def wrap_to_gather(site: Site) -> None:
    """Take the elements of a padding by `wrap` (new in 19) one axis after the other."""
    if site.attribute("mode", "constant") != "wrap":
        return
    name, widths = site.input(0), _widths(site)
    if min(width for pair in widths for width in pair) < 0:
        raise site.refuse("it cuts as well as wraps (mode='wrap')")
    for axis, (begin, end) in enumerate(widths):
        if begin or end:
            size = site.size(axis)
            site.check_room(begin + size + end)
            places = [place % size for place in range(-begin, size + end)]
            name = site.add("Gather", name, site.add_constant(places), axis=axis)
    site.become("Identity", name)


@lowers("Pad", opset=18)
def pad_all_axes(site: Site) -> None:
    """State the widths of all axes, for the input `axes` is new in 18."""
    if site.input(3):
        begins, ends = zip(*_widths(site), strict=True)
        site.set_inputs(site.input(0), site.add_constant(begins + ends), site.input(2))


def _widths(site: Site) -> list[tuple[int, int]]:
    """The padding of each axis, at its begin and at its end."""
    rank, pads = site.rank(), site.integers(1, "widths")
    axes = [axis % rank for axis in site.integers(3, "axes")] if site.input(3) else list(range(rank))
    if len(pads) != 2 * len(axes):
        raise site.refuse(f"{len(pads)} widths do not fit {len(axes)} axes")
    widths = dict.fromkeys(range(rank), (0, 0))
    widths.update(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    return [widths[axis] for axis in range(rank)]


@raises("Pad", opset=11)
def widths_to_input(site: Site) -> None:
    """Make the widths, and a value other than 0, inputs."""
    pads, value = site.attribute("pads", []), site.attribute("value", 0.0)
    site.drop("pads", "value")
    widths = site.add_constant(pads)
    site.set_inputs(site.input(0), widths, site.add_like(value) if value else "")
