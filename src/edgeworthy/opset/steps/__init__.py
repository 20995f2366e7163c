"""All steps, one family of operators a module; importing this registers them."""

from __future__ import annotations

import importlib

from edgeworthy.opset.registry import Direction, Status, registered, status, step_for, why_absent

FAMILIES = (
    "absent",
    "activations",
    "additions",
    "arithmetic",
    "attention",
    "axes",
    "casting",
    "indexing",
    "normalization",
    "pad",
    "pooling",
    "quantization",
    "reduce",
    "resize",
    "sampling",
    "shaping",
    "softmax",
)

for _family in FAMILIES:
    importlib.import_module(f"{__name__}.{_family}")

__all__ = ["FAMILIES", "Direction", "Status", "registered", "status", "step_for", "why_absent"]
