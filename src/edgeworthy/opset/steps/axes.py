"""Squeeze, Unsqueeze and Split, whose axes and lengths became inputs at opset 13; DFT, at 20."""

from __future__ import annotations

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site


@lowers("Squeeze", "Unsqueeze", opset=13)
def axes_to_attribute(site: Site) -> None:
    """Put the axes back into an attribute; they have to be constant."""
    if not site.input(1):
        return
    axes = site.integers(1, "axes")
    if not axes:  # an attribute without values cannot be told from one that is left out
        site.become("Identity", site.input(0))
        return
    site.set_inputs(site.input(0))
    site.set(axes=axes)


@raises("Squeeze", "Unsqueeze", opset=13)
def axes_to_input(site: Site) -> None:
    """Make the axes an input."""
    axes = site.attribute("axes")
    site.drop("axes")
    if axes:
        site.set_inputs(site.input(0), site.add_constant(axes))


@lowers("DFT", opset=20)
def transform_axis_to_attribute(site: Site) -> None:
    """Put the axis of DFT back into an attribute; the default was 1, and became -2, with the input."""
    axis = site.integers(2, "axes")[0] if site.input(2) else -2
    site.set_inputs(site.input(0), site.input(1))
    site.set(axis=axis)


@lowers("Split", opset=18)
def num_outputs_to_lengths(site: Site) -> None:
    """Spell out the lengths that `num_outputs` (new in 18) leaves to be worked out.

    Where the axis does not divide evenly, the last part is the short one; before 18 that has to be said.
    """
    if site.attribute("num_outputs") is None:
        return
    site.drop("num_outputs")
    parts = len(site.node.output)
    total = site.size(site.attribute("axis", 0))
    if total % parts == 0:
        return
    length = -(-total // parts)
    last = total - length * (parts - 1)
    if last < 0:
        raise site.refuse(f"{total} cannot be split into {parts} parts of {length}")
    site.set_inputs(site.input(0), site.add_constant([length] * (parts - 1) + [last]))


@lowers("Split", opset=13)
def lengths_to_attribute(site: Site) -> None:
    """Put the lengths back into an attribute; they have to be constant."""
    if site.input(1):
        site.set(split=site.integers(1, "lengths"))
        site.set_inputs(site.input(0))


@raises("Split", opset=13)
def lengths_to_input(site: Site) -> None:
    """Make the lengths an input."""
    lengths = site.attribute("split")
    site.drop("split")
    if lengths:
        site.set_inputs(site.input(0), site.add_constant(lengths))
