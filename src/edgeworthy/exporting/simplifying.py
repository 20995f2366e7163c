"""From a traced graph to a simplified one, in the sandbox: first what takes the simplifier much memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgeworthy import native
from edgeworthy.errors import ModelFileError
from edgeworthy.exporting.boxes import write_boxes
from edgeworthy.exporting.constants import compute_constants
from edgeworthy.memory import give_back
from edgeworthy.model import read, to_bytes


def simplify(path: str, target: str) -> dict[str, int]:
    """Simplify what an exporter has written into `target`; returns the numbers of nodes before and after."""
    native.whole_onnx()
    traced, lean = Path(path), Path(target).with_suffix(".lean")
    model = read(traced)
    before = len(model.graph.node)
    with contextlib.suppress(ModelFileError):  # the simplifier has ways of its own
        compute_constants(model, lean.parent)
    write_boxes(model)
    lean.write_bytes(to_bytes(model))
    del model
    give_back()
    try:
        return native.simplify(str(lean), target) | {"before": before}
    finally:
        lean.unlink()
