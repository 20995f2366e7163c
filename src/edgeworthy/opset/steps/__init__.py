"""All steps, one family of operators a module; importing this registers them."""

from __future__ import annotations

from edgeworthy.opset.registry import Direction, Status, registered, status, step_for, why_absent
from edgeworthy.opset.steps import (
    absent,
    activations,
    additions,
    arithmetic,
    attention,
    axes,
    casting,
    indexing,
    normalization,
    pad,
    pooling,
    quantization,
    reduce,
    resize,
    sampling,
    shaping,
    softmax,
)

FAMILIES = (
    absent,
    activations,
    additions,
    arithmetic,
    attention,
    axes,
    casting,
    indexing,
    normalization,
    pad,
    pooling,
    quantization,
    reduce,
    resize,
    sampling,
    shaping,
    softmax,
)

__all__ = ["FAMILIES", "Direction", "Status", "registered", "status", "step_for", "why_absent"]
