"""What runs in the sandbox: other people's native code, behind functions of JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeworthy.errors import first_line
from edgeworthy.runtime import Session

MODULE = __name__

_SHAPES_SEED = 20
SIMPLIFY_CHECKS = 3  # as the platform's reference toolchain: docs/contract.md, row 5


def check_model(path: str) -> str:
    """Run onnx.checker with full shape inference; returns "" or what it says."""
    import onnx

    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return first_line(error)
    return ""


def simplify(path: str, target: str, checks: int = 0) -> dict[str, Any]:
    """Simplify `path` into `target` ("" writes nothing); returns node counts and the check's outcome.

    `checks` is onnxsim's own number of comparisons on random inputs. Metadata stays as it was.
    """
    import onnx
    import onnxsim

    model = onnx.load(path, load_external_data=False)
    before = len(model.graph.node)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    doc_string = model.graph.doc_string
    simplified, agrees = onnxsim.simplify(model, check_n=checks)
    del simplified.metadata_props[:]
    for key, value in kept.items():
        simplified.metadata_props.add(key=key, value=value)
    simplified.graph.doc_string = doc_string
    if target:
        Path(target).write_bytes(simplified.SerializeToString(deterministic=True))
    return {"before": before, "after": len(simplified.graph.node), "agrees": bool(agrees)}


def probe_scores(path: str) -> dict[str, Any]:
    """Load a file and run a few pictures through it.

    Returns:
        `refused` with ONNX Runtime's words, or `ran` with `lowest` and `highest` score, the row sums
        nearest to and farthest from 1, the number of `classes`, and whether all is `finite`;
        `reason` where the inputs are none that can be made up.
    """
    try:
        session = Session(Path(path))
    except Exception as error:
        return {"refused": str(error)}
    feeds = _feeds(session)
    if feeds is None:
        return {"ran": False, "reason": "its inputs are not float tensors of fixed shape"}
    rows = []
    for feed in feeds:
        values = np.asarray(session.run(feed, [session.outputs[0].name])[0])
        if values.dtype.kind != "f":
            return {"ran": False, "reason": f"its first output is {values.dtype}"}
        rows.append(values.reshape(values.shape[0] if values.ndim > 1 else 1, -1).astype(np.float64))
    scores = np.concatenate(rows)
    finite = bool(np.isfinite(scores).all())
    sums = np.nan_to_num(scores).sum(axis=1)
    return {
        "ran": True,
        "finite": finite,
        "lowest": float(np.nanmin(scores)) if finite else None,
        "highest": float(np.nanmax(scores)) if finite else None,
        "worst_sum": float(sums[np.argmax(np.abs(sums - 1))]),
        "classes": int(scores.shape[1]),
    }


def _feeds(session: Session) -> list[dict[str, Any]] | None:
    """Black, white and noise in the picture; zeros in whatever else there is."""
    from edgeworthy.contract import OPTIONAL_INPUTS

    feeds: list[dict[str, Any]] = [{}, {}, {}, {}]
    random = np.random.default_rng(_SHAPES_SEED)
    for port in session.inputs:
        shape = tuple(
            1 if axis == 0 and not isinstance(dim, int) else dim for axis, dim in enumerate(port.shape)
        )
        sizes = [dim for dim in shape if isinstance(dim, int)]
        if len(sizes) != len(shape):
            return None
        if port.name in OPTIONAL_INPUTS:
            dtype = np.bool_ if "bool" in port.dtype else np.float32
            values: list[Any] = [np.ones(sizes, dtype=dtype)] * len(feeds)
        elif port.dtype == "tensor(float)":
            noise = random.normal(0, 1, sizes).astype(np.float32)
            values = [np.full(sizes, -2, np.float32), np.full(sizes, 2, np.float32), noise, 40 * noise]
        else:
            return None
        for feed, value in zip(feeds, values, strict=True):
            feed[port.name] = value
    return feeds
