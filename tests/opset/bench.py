"""A bench for conversions: tiny graphs made in code, run before and after on two runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeworthy.opset import convert, facts_of

TARGETS = (12, 13, 14, 15, 16, 17)

Feeds = dict[str, Any]


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> Any:
    """A node with a name."""
    return helper.make_node(operator, inputs, outputs, name=f"the_{operator.lower()}", **attributes)


def graph(
    nodes: Any,
    feeds: Mapping[str, Any],
    opset: int,
    *,
    constants: Mapping[str, Any] | None = None,
    outputs: Mapping[str, int] | None = None,
    ir_version: int = 8,
    dynamic: bool = False,
    shape: Sequence[int] | None = None,
) -> onnx.ModelProto:
    """A model of these nodes whose inputs are like `feeds`; its output is a float called y by default.

    Where shape inference cannot tell, an output has the shape of the first input.
    """
    nodes = nodes if isinstance(nodes, list) else [nodes]
    made = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(value.dtype),
                [None] * value.ndim if dynamic else value.shape,
            )
            for name, value in feeds.items()
        ],
        [
            helper.make_tensor_value_info(name, dtype, shape)
            for name, dtype in (outputs or {"y": TensorProto.FLOAT}).items()
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    for mine, found in zip(model.graph.output, known, strict=True):  # the checker wants a shape
        if shape is not None:
            continue
        known_shape = found.type.tensor_type.HasField("shape")
        source = found if known_shape else model.graph.input[0]
        mine.type.tensor_type.shape.CopyFrom(source.type.tensor_type.shape)
    return model


def inferred(model: onnx.ModelProto) -> Any:
    """What shape inference knows."""
    return facts_of(onnx.shape_inference.infer_shapes(model, data_prop=True))


def converted(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """The model at another opset, found valid, with the input untouched."""
    before = model.SerializeToString(deterministic=True)
    result = convert(model, target, inferred(model))
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(result, full_check=True)
    assert [(entry.domain, entry.version) for entry in result.opset_import] == [("", target)]
    return result


def on_runtime(model: onnx.ModelProto, feeds: Feeds) -> list[Any]:
    """What ONNX Runtime computes, without rewriting the graph first."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def on_reference(model: onnx.ModelProto, feeds: Feeds) -> list[Any]:
    """What the reference implementation computes."""
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, feeds)


def assert_equal(actual: Sequence[Any], expected: Sequence[Any], tolerance: float) -> None:
    """The same shapes and types, and the same values within a share of the largest one."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if not tolerance:
            np.testing.assert_array_equal(one, other)
            continue
        size = np.abs(other[np.isfinite(other)]).max(initial=0)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * size)


def assert_same(
    model: onnx.ModelProto,
    feeds: Feeds,
    *,
    tolerance: float = 0,
    targets: Sequence[int] = TARGETS,
    runtime: bool = True,
    reference: bool = True,
    expected: Sequence[Any] | None = None,
    reference_from: int = 12,
) -> None:
    """Convert a model to each target, and compare what it computes from `feeds` there with what it did.

    The tolerance is relative to the largest value, and 0 where a conversion only moves attributes.
    `runtime` and `reference` tell which of the two can run the model as it comes in; `expected` is what
    both have to compute where neither can. From the target `reference_from` on, the reference implements
    the operator as it is specified.
    """
    first = expected or (on_runtime if runtime else on_reference)(model, feeds)
    second = expected or (on_reference if reference else on_runtime)(model, feeds)
    for target in targets:
        result = converted(model, target)
        assert_equal(on_runtime(result, feeds), first, tolerance)
        if target >= reference_from:
            assert_equal(on_reference(result, feeds), second, tolerance)


def random(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """Numbers around 0."""
    return np.random.default_rng(seed).normal(0, 1.5, shape).astype(dtype)
