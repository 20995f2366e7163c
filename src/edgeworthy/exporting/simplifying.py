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
    """Simplify what an exporter has written into `target`; returns the numbers of nodes before and after.

    Where the simplifier has resolved a branch, shapes behind it can be known that were not before: then it
    has a second turn. In timm's sam2_hiera_tiny 54 nodes asked for shapes, and hundreds computed with them.
    """
    native.whole_onnx()
    lean = Path(target).with_suffix(".lean")
    try:
        before = _prepare(Path(path), lean)
        found = native.simplify(str(lean if lean.exists() else path), target)
        lean.unlink(missing_ok=True)
        _prepare(Path(target), lean)
        if lean.exists():
            found = native.simplify(str(lean), target)
    finally:
        lean.unlink(missing_ok=True)
    return found | {"before": before}


def _prepare(source: Path, lean: Path) -> int:
    """Write the graph with less to simplify, where there is; how many nodes it has had."""
    model = read(source)
    nodes, changed = len(model.graph.node), 0
    with contextlib.suppress(ModelFileError):  # the simplifier has ways of its own
        changed = compute_constants(model, lean.parent)
    changed += write_boxes(model)
    if changed:
        lean.write_bytes(to_bytes(model))
    del model
    give_back()
    return nodes
