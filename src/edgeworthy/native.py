"""What runs in the sandbox: other people's native code, behind functions of JSON values.

The libraries are imported where they are called: the checker alone shall not wait for ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.machinery
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeworthy.contract import OPTIONAL_INPUTS
from edgeworthy.errors import ModelFileError, first_line
from edgeworthy.memory import give_back
from edgeworthy.model import write_in_pieces

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeworthy.runtime import Session

    Feeds = dict[str, npt.NDArray[Any]]

MODULE = __name__
PICTURES = ("black", "white", "noise", "faint noise")  # what each model is asked about, in this order

_SEED = 20
_COMPILED = "onnx.onnx_cpp2py_export"
_TINY = 1e-30  # in place of a score of 0
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
}
_RTOL, _ATOL = 1e-4, 1e-5  # onnxsim's own comparison: onnxsim/model_checking.py


class _NotFeedableError(Exception):
    """No inputs can be made up for the model, or its scores are none."""


def get_ready(*modules: str) -> None:
    """Import modules ahead of the calls that need them; one that is not there is left to these calls."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if "onnx" in modules:
        whole_onnx()


def whole_onnx() -> Any:
    """The onnx package, with its compiled part where Python would put it had the package come first."""
    import onnx

    onnx.onnx_cpp2py_export = sys.modules[_COMPILED]
    return onnx


def check_model(path: str) -> str:
    """Run onnx.checker with full shape inference; returns "" or what it says."""
    onnx = _compiled_onnx()
    refusals = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError)
    try:
        onnx.checker.check_model_path(path, True, False, False)
    except refusals as error:
        return first_line(error)
    except TypeError:  # another release's arguments
        return _check_by_the_package(path)
    return ""


def _check_by_the_package(path: str) -> str:
    onnx = whole_onnx()
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return first_line(error)
    return ""


def _compiled_onnx() -> Any:
    """The compiled part of onnx, which is the checker: without the rest, which takes five times as long.

    It is loaded under its own name, so that the rest finds it when it is imported later.
    """
    name = _COMPILED
    package = importlib.util.find_spec("onnx")
    if name not in sys.modules and package is not None and package.origin is not None:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            place = Path(package.origin).with_name(f"onnx_cpp2py_export{suffix}")
            if place.is_file():
                _load(name, place)
                break
    return importlib.import_module(name)  # where it lies elsewhere, by way of the package


def _load(name: str, place: Path) -> None:
    """Import a file as a module without the packages above it; one that refuses is as if never tried."""
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        return
    try:
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    except ImportError:
        sys.modules.pop(name, None)


def simplify(path: str, target: str, *, compute: bool = True) -> int:
    """Simplify `path` into `target`; returns the number of nodes of the result.

    onnxsim leaves its own marks in the metadata of the result.

    Args:
        path: of the file.
        target: of the result.
        compute: whether to compute what depends on constants alone; where there is anything, that takes twice
            the memory.
    """
    import onnxsim

    whole_onnx()
    simplified, _ = onnxsim.simplify(path, check_n=0, skip_constant_folding=not compute)
    write_in_pieces(simplified, Path(target))
    nodes = len(simplified.graph.node)
    del simplified
    give_back()  # before the sessions that may follow
    return nodes


def survives_simplifying(path: str) -> dict[str, str]:
    """Simplify a file and run both graphs.

    This is what the platform's reference toolchain does (docs/contract.md, row 5).

    Returns:
        `change`, "" where both agree, and `uncompared`, the reason why results were not compared.
    """
    from edgeworthy.runtime import Session

    with tempfile.TemporaryDirectory(prefix="edgeworthy-") as folder:
        target = str(Path(folder) / "simplified.onnx")
        simplify(path, target)
        try:
            return {"change": _change(path, Session(Path(target), lean=True)), "uncompared": ""}
        except _NotFeedableError as error:
            return {"change": "", "uncompared": str(error)}


def _change(path: str, simplified: Session) -> str:
    import numpy as np

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
        `refused` with ONNX Runtime's words, or `ran` with the figures of `_figures`; `reason` where the
        inputs are none that can be made up, or the scores are no numbers.
    """
    try:
        answers = _answers(path)
        rows = [_rows(outputs[answers.scores]) for outputs in answers.outputs]
    except _NotFeedableError as error:
        return {"ran": False, "reason": str(error)}
    except ModelFileError as error:
        return {"refused": error.message}
    return {"ran": True} | _figures(rows)


def _rows(answer: Any) -> npt.NDArray[np.float64]:
    """The scores of one picture, a row for each entry of its batch."""
    import numpy as np

    values = np.asarray(answer)
    if values.dtype.kind != "f" or not values.size:
        raise _NotFeedableError(f"its scores are {values.dtype} {list(values.shape)}")
    return values.reshape(values.shape[0] if values.ndim > 1 else 1, -1).astype(np.float64)


def _figures(rows: list[npt.NDArray[np.float64]]) -> dict[str, Any]:
    """What the rules need of the scores.

    Returns:
        `finite`, whether all is, and `not_finite`, the pictures for which it is not; the number of
        `classes`, and the row sum farthest from 1. Of finite scores also `lowest` and `highest`, `spread`,
        the largest range of one class over the pictures, and `steepest`, the largest quotient of two
        scores of one picture; these are None otherwise.
    """
    import numpy as np

    scores = np.concatenate(rows)
    sums = np.nan_to_num(scores).sum(axis=1)
    lost = [name for name, values in zip(PICTURES, rows, strict=True) if not np.isfinite(values).all()]
    figures: dict[str, Any] = {
        "finite": not lost,
        "not_finite": lost,
        "classes": int(scores.shape[1]),
        "worst_sum": float(sums[np.argmax(np.abs(sums - 1))]),
    }
    if lost:
        return figures | dict.fromkeys(("lowest", "highest", "spread", "steepest"))
    return figures | {
        "lowest": float(scores.min()),
        "highest": float(scores.max()),
        "spread": float(np.ptp(scores, axis=0).max()),
        "steepest": float((scores.max(axis=1) / np.maximum(scores.min(axis=1), _TINY)).max()),
    }


class _Answers(NamedTuple):
    """Names of inputs and outputs, inputs made up, all outputs for each, and which one the scores are."""

    names: list[str]
    feeds: list[Feeds]
    outputs: list[list[Any]]
    scores: int


@functools.lru_cache(maxsize=1)
def _answers(path: str) -> _Answers:
    from edgeworthy.runtime import Session

    session = Session(Path(path), lean=True)
    feeds = feeds_of(session)
    # Copies: what ONNX Runtime returns keeps all the memory that the runs have taken.
    outputs = [copy.deepcopy(session.run(feed)) for feed in feeds]
    return _Answers(session.names, feeds, outputs, session.outputs.index(session.scores_port))


def _mean_and_std(session: Session) -> tuple[float, float]:
    """One value for all channels; of a file that says nothing, those of pixels at large."""
    import numpy as np

    from edgeworthy.runtime import facts_of

    try:
        normalization = facts_of(session).normalization
    except ModelFileError:
        normalization = None
    if normalization is None:
        return 127.5, 64.0
    if normalization.is_identity:
        return 0.0, 1.0
    return float(np.mean(normalization.mean)), float(np.mean(normalization.std))


def feeds_of(session: Session) -> list[Feeds]:
    """`PICTURES`, normalised as the file says; ones in what is optional."""
    import numpy as np

    feeds: list[Feeds] = [{} for _ in PICTURES]
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
        if port.name in OPTIONAL_INPUTS or dtype == "bool":
            values: list[Any] = [np.ones(sizes)] * len(feeds)
        else:
            noise = random.integers(0, 256, sizes)
            faint = random.normal(mean, std, sizes)
            pixels = [np.zeros(sizes), np.full(sizes, 255), noise, faint]
            values = [(picture - mean) / std for picture in pixels]
        for feed, value in zip(feeds, values, strict=True):
            feed[port.name] = value.astype(dtype)
    return feeds
