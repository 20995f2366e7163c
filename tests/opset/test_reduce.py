"""Reductions."""

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from edgeworthy.opset.steps.reduce import OTHERS
from tests.opset.bench import assert_same, graph, inferred, node, random

X = np.abs(random(2, 3, 4)) + 0.25
ALL = ("ReduceSum", *OTHERS)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[1], [-1, 0], None])
@pytest.mark.parametrize("operator", ALL)
def test_constant_axes_become_an_attribute(operator, axes, keepdims):
    made = node(operator, ["x"] if axes is None else ["x", "axes"], keepdims=keepdims)
    constants = {} if axes is None else {"axes": np.array(axes)}
    assert_same(graph(made, {"x": X}, 18, constants=constants), {"x": X}, targets=(12, 17))


@pytest.mark.parametrize("operator", ALL)
def test_no_axes_mean_all_of_them_unless_told_otherwise(operator):
    constants = {"axes": np.array([], dtype=np.int64)}
    made = node(operator, ["x", "axes"], keepdims=0, noop_with_empty_axes=0)
    assert_same(graph(made, {"x": X}, 18, constants=constants), {"x": X}, targets=(12, 17))


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_a_reduction_over_no_axes_hands_its_input_on(operator):
    made = node(operator, ["x"], noop_with_empty_axes=1)
    assert_same(graph(made, {"x": X}, 18), {"x": X}, expected=[X], targets=(12, 17))


@pytest.mark.parametrize(
    ("operator", "function"),
    [("ReduceL1", np.abs), ("ReduceL2", np.abs), ("ReduceLogSum", np.log), ("ReduceSumSquare", np.square)],
)
def test_what_surrounds_a_reduction_over_no_axes_stays(operator, function):
    made = node(operator, ["x"], noop_with_empty_axes=1)
    assert_same(graph(made, {"x": X}, 18), {"x": X}, expected=[function(X)], tolerance=1e-6, targets=(12, 17))


def test_a_logarithm_of_one_exponential_is_the_input():
    made = node("ReduceLogSumExp", ["x"], noop_with_empty_axes=1)
    assert_same(graph(made, {"x": X}, 18), {"x": X}, expected=[X], targets=(12,))


@pytest.mark.parametrize("axes", [[1], [-1, 0], None])
@pytest.mark.parametrize("opset", [7, 11, 12])
def test_the_axes_of_a_sum_become_an_input(axes, opset):
    axes = [axis % 3 for axis in axes] if axes and opset < 11 else axes
    made = node("ReduceSum", ["x"], **({"axes": axes} if axes else {}))
    assert_same(graph(made, {"x": X}, opset), {"x": X})


@pytest.mark.parametrize("operator", OTHERS)
def test_other_reductions_are_raised_unchanged(operator):
    made = node(operator, ["x"], axes=[1], keepdims=0)
    assert_same(graph(made, {"x": X}, 7), {"x": X}, targets=(12, 17))


def test_computed_axes_are_refused_by_operator_name_and_opset():
    feeds = {"x": X, "axes": np.array([1])}
    model = graph(node("ReduceMean", ["x", "axes"]), feeds, 18)
    with pytest.raises(UnconvertibleError, match=r"ReduceMean.*'the_reducemean'.*opset 18 to 17.*constant"):
        convert(model, 17, inferred(model))


def test_a_maximum_of_booleans_is_refused():
    x = np.array([[True, False]])
    made = node("ReduceMax", ["x"])
    model = graph(made, {"x": x}, 20, outputs={"y": TensorProto.BOOL})
    with pytest.raises(UnconvertibleError, match=r"opset 20 to 19.*'data' cannot be tensor\(bool\)"):
        convert(model, 17)
