"""What runs in the sandbox: other people's native code, behind functions of JSON values."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeworthy.contract import OPTIONAL_INPUTS
from edgeworthy.errors import ModelFileError, first_line
from edgeworthy.memory import give_back
from edgeworthy.runtime import Session, facts_of

MODULE = __name__

_SEED = 20
_TINY = 1e-30  # in place of a score of 0
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
}
_RTOL, _ATOL = 1e-4, 1e-5  # onnxsim's own comparison: onnxsim/model_checking.py

Feeds = dict[str, npt.NDArray[Any]]


class _NotFeedableError(Exception):
    """No inputs can be made up for the model."""


def check_model(path: str) -> str:
    """Run onnx.checker with full shape inference; returns "" or what it says."""
    import onnx

    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return first_line(error)
    return ""


def simplify(path: str, target: str) -> dict[str, int]:
    """Simplify `path` into `target`; returns the numbers of nodes before and after.

    onnxsim leaves its own marks in the metadata of the result.
    """
    import onnx
    import onnxsim

    before = len(onnx.load(path, load_external_data=False).graph.node)
    simplified, _ = onnxsim.simplify(path, check_n=0)
    Path(target).write_bytes(simplified.SerializeToString(deterministic=True))
    after = len(simplified.graph.node)
    del simplified
    give_back()  # before the sessions that may follow
    return {"before": before, "after": after}


def survives_simplifying(path: str) -> dict[str, str]:
    """Simplify a file and run both graphs.

    This is what the platform's reference toolchain does (docs/contract.md, row 5).

    Returns:
        `change`, "" where both agree, and `uncompared`, the reason why results were not compared.
    """
    with tempfile.TemporaryDirectory(prefix="edgeworthy-") as folder:
        target = str(Path(folder) / "simplified.onnx")
        simplify(path, target)
        try:
            return {"change": _change(path, Session(Path(target))), "uncompared": ""}
        except _NotFeedableError as error:
            return {"change": "", "uncompared": str(error)}


def _change(path: str, simplified: Session) -> str:
    original = _answers(path)
    if simplified.names != original.names:
        return "the names of its inputs and outputs change"
    for feed, values in zip(original.feeds, original.outputs, strict=True):
        for before, after in zip(values, simplified.run(feed), strict=True):
            if before.shape != after.shape:
                return f"an output of shape {list(before.shape)} gets {list(after.shape)}"
            if not np.allclose(before, after, rtol=_RTOL, atol=_ATOL, equal_nan=True):
                worst = float(np.nanmax(np.abs(before.astype(np.float64) - after)))
                return f"its results differ by up to {worst:.2g}"
    return ""


def probe_scores(path: str) -> dict[str, Any]:
    """Load a file and run a few pictures through it.

    Returns:
        `refused` with ONNX Runtime's words, or `ran` with `lowest` and `highest` score, the row sum
        farthest from 1, `spread`, the largest range of one class over the pictures, `steepest`, the
        largest quotient of two scores of one picture, the number of `classes`, and whether all is
        `finite`; `reason` where the inputs are none that can be made up.
    """
    try:
        answers = [outputs[_answers(path).scores] for outputs in _answers(path).outputs]
    except _NotFeedableError as error:
        return {"ran": False, "reason": str(error)}
    except ModelFileError as error:
        return {"refused": error.message}
    rows = []
    for answer in answers:
        values = np.asarray(answer)
        if values.dtype.kind != "f" or not values.size:
            return {"ran": False, "reason": f"its scores are {values.dtype} {list(values.shape)}"}
        rows.append(values.reshape(values.shape[0] if values.ndim > 1 else 1, -1).astype(np.float64))
    scores = np.concatenate(rows)
    finite = bool(np.isfinite(scores).all())
    sums = np.nan_to_num(scores).sum(axis=1)
    return {
        "ran": True,
        "finite": finite,
        "lowest": float(scores.min()) if finite else None,
        "highest": float(scores.max()) if finite else None,
        "worst_sum": float(sums[np.argmax(np.abs(sums - 1))]),
        "spread": float(np.ptp(scores, axis=0).max()) if finite else None,
        "steepest": float((scores.max(axis=1) / np.maximum(scores.min(axis=1), _TINY)).max())
        if finite
        else None,
        "classes": int(scores.shape[1]),
    }


class _Answers(NamedTuple):
    """Names of inputs and outputs, inputs made up, all outputs for each, and which one the scores are."""

    names: list[str]
    feeds: list[Feeds]
    outputs: list[list[Any]]
    scores: int


@functools.lru_cache(maxsize=1)
def _answers(path: str) -> _Answers:
    session = Session(Path(path))
    feeds = _feeds(session)
    outputs = [session.run(feed) for feed in feeds]
    return _Answers(session.names, feeds, outputs, session.outputs.index(session.scores_port))


def _mean_and_std(session: Session) -> tuple[float, float]:
    """One value for all channels; of a file that says nothing, those of pixels at large."""
    try:
        normalization = facts_of(session).normalization
    except ModelFileError:
        normalization = None
    if normalization is None:
        return 127.5, 64.0
    if normalization.is_identity:
        return 0.0, 1.0
    return float(np.mean(normalization.mean)), float(np.mean(normalization.std))


def _feeds(session: Session) -> list[Feeds]:
    """Black, white and noise in the picture, normalised as the file says; ones in what is optional."""
    feeds: list[Feeds] = [{}, {}, {}, {}]
    random = np.random.default_rng(_SEED)
    mean, std = _mean_and_std(session)
    for port in session.inputs:
        shape = tuple(
            1 if axis == 0 and not isinstance(dim, int) else dim for axis, dim in enumerate(port.shape)
        )
        sizes = [dim for dim in shape if isinstance(dim, int)]
        dtype = _DTYPES.get(port.dtype)
        if dtype is None or len(sizes) != len(shape):
            raise _NotFeedableError(f"its input {port.name[:40]!r} is {port.dtype} {list(port.shape)}")
        if port.name in OPTIONAL_INPUTS or dtype is np.bool_:
            values: list[Any] = [np.ones(sizes)] * len(feeds)
        else:
            noise = random.integers(0, 256, sizes)
            faint = random.normal(mean, std, sizes)
            pixels = [np.zeros(sizes), np.full(sizes, 255), noise, faint]
            values = [(picture - mean) / std for picture in pixels]
        for feed, value in zip(feeds, values, strict=True):
            feed[port.name] = value.astype(dtype)
    return feeds
