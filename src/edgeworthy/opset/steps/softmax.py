"""Softmax, LogSoftmax and Hardmax, which saw every tensor as a matrix before opset 13.

Until 12 the dimensions from `axis` on (by default 1) are taken together; from 13 on, the operator works
along one axis (by default the last). Both are the same where nothing but ones follows the axis.
"""

from __future__ import annotations

import math

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

FAMILY = ("Softmax", "LogSoftmax", "Hardmax")


@raises(*FAMILY, opset=13)
def matrix_to_axis(site: Site) -> None:
    """Make the matrix explicit where there is one: Flatten, the operator, and the old shape again."""
    axis = site.attribute("axis", 1)
    if _is_one_axis(site, axis):
        site.set(axis=axis)
        return
    shape = site.add("Shape", site.input(0))
    matrix = site.add("Flatten", site.input(0), axis=axis)
    site.become("Reshape", site.add(site.node.op_type, matrix, axis=-1), shape)


@lowers(*FAMILY, opset=13)
def axis_to_matrix(site: Site) -> None:
    """Make the axis the last one, where it is not: Transpose, the operator, and Transpose again."""
    axis = site.attribute("axis", -1)
    if _is_one_axis(site, axis):
        site.set(axis=axis)
        return
    rank = site.rank()
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    turned = site.add("Transpose", site.input(0), perm=order)
    site.become("Transpose", site.add(site.node.op_type, turned, axis=-1), perm=order)


def _is_one_axis(site: Site, axis: int) -> bool:
    """Whether the dimensions from an axis on are that axis and ones."""
    if axis == -1:
        return True
    shape = site.shape()
    if shape is None:
        return False
    if not -len(shape) <= axis < len(shape):
        raise site.refuse(f"{site.input(0)!r} has no axis {axis}")
    behind = shape[axis % len(shape) + 1 :]
    return None not in behind and math.prod(size or 0 for size in behind) == 1
