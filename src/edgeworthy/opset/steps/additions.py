"""Attributes, inputs and outputs that opsets added to operators without touching what was there.

Raising has nothing to do. Lowering takes such an attribute away where it says what the operator did
without it, and refuses otherwise.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site

# Opset, operators, and the values that change nothing; None where another module lowers them.
ADDED: tuple[tuple[int, tuple[str, ...], dict[str, Any] | None], ...] = (
    (8, ("MaxPool",), None),  # `storage_order`, and the output Indices
    (10, ("AveragePool", "MaxPool"), None),  # `ceil_mode`, MaxPool's `dilations`
    (11, ("Constant",), None),  # `sparse_value`
    (11, ("DepthToSpace",), None),  # `mode`
    (11, ("Gemm",), None),  # C may be left out
    (11, ("Loop",), None),  # values carried along may be left out
    (11, ("TopK",), None),  # `largest` and `sorted`
    (12, ("ArgMax", "ArgMin"), None),  # `select_last_index`
    (12, ("Constant",), None),  # `value_float` and its like
    (12, ("GatherND",), None),  # `batch_dims`
    (13, ("DequantizeLinear", "QuantizeLinear"), None),  # `axis`, of no effect on a scale for a tensor
    (13, ("Resize",), None),  # region and scales may be left out
    (14, ("GRU", "LSTM", "RNN"), {"layout": 0}),
    (14, ("Reshape",), None),  # `allowzero`
    (15, ("Shape",), None),  # `start` and `end`
    (16, ("ScatterElements", "ScatterND"), {"reduction": "none"}),
    (18, ("LpPool",), {"ceil_mode": 0, "dilations": 1}),
)

_LAST_RAISED = 17  # no target lies above


def keep(site: Site) -> None:
    """Leave the node: without what was added, the operator does what it did."""
    del site


def drop_neutral(site: Site, neutral: dict[str, Any]) -> None:
    """Take what was added away, where it has no effect."""
    for name, without in neutral.items():
        value = site.attribute(name, without)
        values = value if isinstance(value, list) else [value]
        if any(entry != without for entry in values):
            raise site.refuse(f"its attribute {name}={value!r} came with opset {site.before}")
    site.drop(*neutral)


for _opset, _operators, _neutral in ADDED:
    if _neutral is not None:
        lowers(*_operators, opset=_opset)(partial(drop_neutral, neutral=_neutral))
    if _opset <= _LAST_RAISED:
        raises(*_operators, opset=_opset)(keep)
