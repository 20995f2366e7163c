"""Squeeze, Unsqueeze, Split and DFT."""

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import assert_same, graph, inferred, node, random

X = random(1, 6, 1, 5)
THREE = dict.fromkeys("abc", TensorProto.FLOAT)


@pytest.mark.parametrize("opset", [13, 18, 23])
@pytest.mark.parametrize("axes", [[0], [-2, 0]])
@pytest.mark.parametrize("operator", ["Squeeze", "Unsqueeze"])
def test_constant_axes_become_an_attribute(operator, axes, opset):
    model = graph(node(operator, ["x", "axes"]), {"x": X}, opset, constants={"axes": np.array(axes)})
    assert_same(model, {"x": X}, targets=(12, 14))


@pytest.mark.parametrize("opset", [7, 11, 12])
@pytest.mark.parametrize("operator", ["Squeeze", "Unsqueeze"])
def test_axes_become_an_input(operator, opset):
    assert_same(graph(node(operator, ["x"], axes=[0, 2]), {"x": X}, opset), {"x": X})


@pytest.mark.parametrize("opset", [7, 13, 18])
def test_squeezing_every_axis_of_one_needs_no_axes(opset):
    assert_same(graph(node("Squeeze", ["x"]), {"x": X}, opset), {"x": X})


def test_squeezing_no_axis_hands_the_input_on():
    constants = {"axes": np.array([], dtype=np.int64)}
    model = graph(node("Squeeze", ["x", "axes"]), {"x": X}, 13, constants=constants)
    assert_same(model, {"x": X}, expected=[X], targets=(12,))


def test_axes_may_come_from_a_constant_node():
    made = [node("Constant", [], ["axes"], value_ints=[0]), node("Squeeze", ["x", "axes"])]
    assert_same(graph(made, {"x": X}, 13), {"x": X}, targets=(12,))


@pytest.mark.parametrize("operator", ["Squeeze", "Unsqueeze"])
def test_computed_axes_are_refused(operator):
    feeds = {"x": X, "axes": np.array([0])}
    model = graph(node(operator, ["x", "axes"]), feeds, 13)
    with pytest.raises(UnconvertibleError, match=rf"{operator} .*opset 13 to 12.*axes are computed"):
        convert(model, 12, inferred(model))


@pytest.mark.parametrize("axis", [1, -3])
def test_equal_parts_need_no_lengths(axis):
    model = graph(node("Split", ["x"], "abc", axis=axis, num_outputs=3), {"x": X}, 18, outputs=THREE)
    assert_same(model, {"x": X})


def test_the_last_part_is_the_short_one():
    model = graph(node("Split", ["x"], "abc", axis=3, num_outputs=3), {"x": X}, 18, outputs=THREE)
    assert_same(model, {"x": X})


def test_parts_of_an_unknown_size_are_refused():
    made = node("Split", ["x"], "abc", axis=3, num_outputs=3)
    model = graph(made, {"x": X}, 18, outputs=THREE, dynamic=True)
    with pytest.raises(UnconvertibleError, match=r"Split .*opset 18 to 17.*shape of 'x' is not known"):
        convert(model, 17, inferred(model))


@pytest.mark.parametrize("opset", [13, 18])
def test_lengths_become_an_attribute(opset):
    made = node("Split", ["x", "lengths"], "abc", axis=1)
    model = graph(made, {"x": X}, opset, outputs=THREE, constants={"lengths": np.array([1, 2, 3])})
    assert_same(model, {"x": X})


@pytest.mark.parametrize("opset", [7, 11])
@pytest.mark.parametrize("attributes", [{"axis": 1, "split": [1, 2, 3]}, {"axis": 1}])
def test_lengths_become_an_input(attributes, opset):
    model = graph(node("Split", ["x"], "abc", **attributes), {"x": X}, opset, outputs=THREE)
    assert_same(model, {"x": X})


@pytest.mark.parametrize("axis", [None, 1, -2])
def test_the_axis_of_a_fourier_transform_becomes_an_attribute(axis):
    x = random(2, 4, 3, 1)
    inputs, constants = (["x"], {}) if axis is None else (["x", "", "axis"], {"axis": np.array(axis)})
    model = graph(node("DFT", inputs), {"x": x}, 20, constants=constants)
    assert_same(model, {"x": x}, targets=(17,), tolerance=1e-6)
