"""What repairs and comparisons let run in the sandbox: shape inference, ONNX Runtime; files, JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeworthy.native import whole_onnx
from edgeworthy.runtime import Session
from edgeworthy.sketches import sketch

MODULE = __name__


def infer(path: str) -> dict[str, Any]:
    """Types and shapes of the values of the main graph, as far as shape inference gets.

    Returns:
        For each value its element type as a TensorProto code, and its shape with None for what is
        dynamic, or None without one.
    """
    onnx = whole_onnx()
    model = onnx.load(path, load_external_data=False)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    facts: dict[str, Any] = {}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        if not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        shape = [dim.dim_value or None for dim in tensor.shape.dim] if tensor.HasField("shape") else None
        facts[value.name] = [tensor.elem_type, shape]
    return facts


def inline(path: str, target: str) -> None:
    """Replace the calls of a model's own functions by what they are made of."""
    onnx = whole_onnx()
    from onnx import inliner

    inlined = inliner.inline_local_functions(onnx.load(path, load_external_data=False))
    Path(target).write_bytes(inlined.SerializeToString(deterministic=True))


def answer(path: str, feeds: str, target: str, output: str, optimize: bool) -> list[str]:
    """Run a file on made-up pictures.

    Args:
        path: of the model.
        feeds: an .npz file that holds, for each input, the arrays of all runs along a first axis.
        target: an .npy file to write, with the answers of all runs along a first axis.
        output: which of the outputs is wanted.
        optimize: whether ONNX Runtime may rewrite the graph.

    Returns:
        The keys of an answer that is a map from classes to scores, in the order of the scores.
    """
    session = Session(Path(path), optimize=optimize)
    arrays = np.load(feeds, allow_pickle=False)
    columns = {port.name: arrays[str(place)] for place, port in enumerate(session.inputs)}
    runs = len(next(iter(columns.values())))
    keys: list[str] = []
    answers = []
    for run in range(runs):
        fed = {name: np.asarray(values[run]) for name, values in columns.items()}
        value = session.run(fed, [output])[0]
        if isinstance(value, list):  # of a sequence of maps, which ZipMap makes
            keys = [str(key) for key in value[0]]
            value = np.array([list(row.values()) for row in value], dtype=np.float32)
        answers.append(value)
    np.save(target, np.stack(answers), allow_pickle=False)
    return keys


def ports(path: str) -> dict[str, Any]:
    """Names, ONNX Runtime's types and shapes of a file's inputs and outputs, as a session sees them."""
    session = Session(Path(path))
    return {
        kind: [[port.name, port.dtype, list(port.shape)] for port in group]
        for kind, group in (("inputs", session.inputs), ("outputs", session.outputs))
    }


def tap(path: str, feeds: str, target: str, names: list[str], orders: dict[str, list[int]]) -> dict[str, Any]:
    """Look at values inside a graph, as sketches; ONNX Runtime leaves the graph as it is.

    Args:
        path: of the model, which gives these values out.
        feeds: an .npz file with the pictures, one array each.
        target: an .npz file to write: for each value and picture, `value.picture`, both counted from 0. Of
            values with four axes also `value.picture.turned`, from [N, H, W, C] to [N, C, H, W].
        names: of the values.
        orders: in which to take the columns of some values, which have one for each class.

    Returns:
        `shapes`, and `dtypes` as numpy names them; None for both where a value is no array of numbers.
    """
    session = Session(Path(path), optimize=False)
    shapes: list[list[int] | None] = [None] * len(names)
    dtypes: list[str | None] = [None] * len(names)
    found: dict[str, Any] = {}
    with np.load(feeds, allow_pickle=False) as pictures:
        batches = [pictures[name] for name in sorted(pictures.files)]
    for run, batch in enumerate(batches):
        for place, values in enumerate(session.run(session.feeds(batch), names)):
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
                continue
            shapes[place], dtypes[place] = list(values.shape), str(values.dtype)
            order = orders.get(names[place], [])
            if order and values.ndim == 2 and values.shape[1] == len(order):
                values = values[:, order]  # noqa: PLW2901
            found[f"{place}.{run}"] = sketch(values)
            if values.ndim == 4:
                found[f"{place}.{run}.turned"] = sketch(values.transpose(0, 3, 1, 2))
    np.savez(target, **found)
    return {"shapes": shapes, "dtypes": dtypes}
