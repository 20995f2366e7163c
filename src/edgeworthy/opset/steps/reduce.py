"""Reductions: their axes became an input, ReduceSum's at opset 13 and all others' at 18."""

from __future__ import annotations

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

OTHERS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)
# What is left of a reduction over no axes; all others hand their input on.
_WITHOUT_REDUCING = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceLogSum": "Log"}


@lowers(*OTHERS, opset=18)
@lowers("ReduceSum", opset=13)
def axes_to_attribute(site: Site) -> None:
    """Put the axes back into an attribute; they have to be constant.

    `noop_with_empty_axes` came with the input, and says whether no axes means none or all.
    """
    axes = site.integers(1, "axes") if site.input(1) else []
    keeps_all = bool(site.attribute("noop_with_empty_axes", 0))
    site.drop("noop_with_empty_axes")
    if keeps_all and not axes:
        _reduce_nothing(site)
        return
    site.set_inputs(site.input(0))
    if axes:
        site.set(axes=axes)


def _reduce_nothing(site: Site) -> None:
    name = site.input(0)
    if site.node.op_type == "ReduceSumSquare":
        site.become("Mul", name, name)
    else:
        site.become(_WITHOUT_REDUCING.get(site.node.op_type, "Identity"), name)


@raises("ReduceSum", opset=13)
def axes_to_input(site: Site) -> None:
    """Make the axes of ReduceSum an input."""
    axes = site.attribute("axes")
    site.drop("axes")
    if axes:
        site.set_inputs(site.input(0), site.add_constant(axes))
