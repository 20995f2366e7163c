"""From a traced graph to a simplified one, in the sandbox: first what takes the simplifier much memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgeworthy import native
from edgeworthy.errors import ModelFileError, SimplifyError
from edgeworthy.exporting.boxes import write_boxes
from edgeworthy.exporting.capacity import SMALLER, excess
from edgeworthy.exporting.constants import compute_constants
from edgeworthy.graph import lift_constants
from edgeworthy.memory import give_back
from edgeworthy.model import read, write_in_pieces


def simplify(path: str, target: str) -> dict[str, int]:
    """Simplify what an exporter has written into `target`; returns the numbers of nodes before and after.

    The simplifier has a first turn without computing anything, then another: what is left to compute then is
    next to nothing, and takes no memory. For the 331 MB of timm's mobilenetv5_base the process takes 859 in
    place of 1608 MB. Where it has resolved a branch, shapes behind it can be known that were not before: then
    it has one more turn. In timm's sam2_hiera_tiny 54 nodes asked for shapes, hundreds computed with them.

    Raises:
        SimplifyError: where the constants that are computed do not fit into one file: in each of 24 layers of
            timm's beit_large_patch16_512 (1.2 GB) 67 MB of biases, gathered from a table.
    """
    native.whole_onnx()
    lean = Path(target).with_suffix(".lean")
    try:
        before = _prepare(Path(path), lean)
        source = str(lean if lean.exists() else path)
        try:
            native.simplify(source, target, compute=False)
        except Exception:  # onnxsim raises anything; then it has all to do in the next turn
            after = native.simplify(source, target)
        else:
            _prepare(Path(target), lean)
            after = native.simplify(str(lean if lean.exists() else target), target)
        _prepare(Path(target), lean)
        if lean.exists():
            after = native.simplify(str(lean), target)
    finally:
        lean.unlink(missing_ok=True)
    return {"before": before, "after": after}


def _prepare(source: Path, lean: Path) -> int:
    """Write the graph with less to simplify, where there is; how many nodes it has had."""
    lean.unlink(missing_ok=True)
    model = read(source)
    nodes, changed = len(model.graph.node), 0
    with contextlib.suppress(ModelFileError):  # the simplifier has ways of its own
        changed = compute_constants(model, lean.parent)
    changed += write_boxes(model) + lift_constants(model.graph)
    if size := excess(model):
        raise SimplifyError(
            f"With what it computes of constants, the graph takes {size}; an ONNX file holds under 2 GiB.",
            hint=SMALLER,
        )
    if changed:
        write_in_pieces(model, lean)
    del model
    give_back()
    return nodes
