"""Pad."""

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import assert_same, graph, inferred, node, random

X = random(1, 2, 4, 5)
FULL = [0, 0, 1, 2, 0, 0, 3, 1]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("axes", [[2, 3], [-1, 2], [1]])
def test_widths_of_some_axes_become_widths_of_all(axes, mode):
    pads = [1] * len(axes) + [0] * len(axes)
    constants = {"pads": np.array(pads), "axes": np.array(axes)}
    model = graph(node("Pad", ["x", "pads", "", "axes"], mode=mode), {"x": X}, 18, constants=constants)
    assert_same(model, {"x": X})


def test_the_value_stays_when_axes_go():
    constants = {"pads": np.array([1, 2]), "value": np.float32(2.5), "axes": np.array([2])}
    model = graph(node("Pad", ["x", "pads", "value", "axes"]), {"x": X}, 18, constants=constants)
    assert_same(model, {"x": X})


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_widths_of_all_axes_need_nothing(opset):
    model = graph(node("Pad", ["x", "pads"]), {"x": X}, opset, constants={"pads": np.array(FULL)})
    assert_same(model, {"x": X})


@pytest.mark.parametrize("pads", [FULL, [0, 0, 9, 0, 0, 0, 0, 11]])
def test_wrapping_becomes_gathering(pads):
    model = graph(node("Pad", ["x", "pads"], mode="wrap"), {"x": X}, 19, constants={"pads": np.array(pads)})
    expected = np.pad(X, list(zip(pads[:4], pads[4:], strict=True)), mode="wrap")
    assert_same(model, {"x": X}, expected=[expected])


def test_wrapping_what_is_cut_is_refused():
    constants = {"pads": np.array([0, 0, -1, 0, 0, 0, 2, 0])}
    model = graph(node("Pad", ["x", "pads"], mode="wrap"), {"x": X}, 19, constants=constants)
    with pytest.raises(UnconvertibleError, match=r"Pad .*19 to 18.*cuts"):
        convert(model, 17)


@pytest.mark.parametrize("value", [0.0, 1.5])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("opset", [7, 10])
def test_widths_become_an_input(opset, mode, value):
    model = graph(node("Pad", ["x"], pads=FULL, mode=mode, value=value), {"x": X}, opset)
    assert_same(model, {"x": X})


def test_computed_widths_of_some_axes_are_refused():
    feeds = {"x": X, "pads": np.array([1, 1])}
    model = graph(node("Pad", ["x", "pads", "", "axes"]), feeds, 18, constants={"axes": np.array([2])})
    with pytest.raises(UnconvertibleError, match=r"Pad .*'the_pad'.*opset 18 to 17.*widths are computed"):
        convert(model, 17, inferred(model))


def test_wrapping_an_unknown_size_is_refused():
    constants = {"pads": np.array(FULL)}
    model = graph(node("Pad", ["x", "pads"], mode="wrap"), {"x": X}, 19, constants=constants, dynamic=True)
    with pytest.raises(UnconvertibleError, match=r"Pad .*opset 19 to 18.*shape of 'x' is not known, axis 2"):
        convert(model, 17, inferred(model))


def test_a_value_of_an_unknown_type_is_refused():
    made = [node("Relu", ["x"], ["between"]), node("Pad", ["between"], pads=FULL, value=1.0)]
    model = graph(made, {"x": X}, 7)
    with pytest.raises(UnconvertibleError, match=r"Pad .*opset 10 to 11.*type of 'between' is not known"):
        convert(model, 12)


def test_padding_booleans_is_refused_where_it_was_not_allowed():
    x = np.array([True, False])
    model = graph(
        node("Pad", ["x", "pads"]), {"x": x}, 13,
        constants={"pads": np.array([1, 0])}, outputs={"y": TensorProto.BOOL},
    )  # fmt: skip
    with pytest.raises(UnconvertibleError, match=r"opset 13 to 12.*'data' cannot be tensor\(bool\)"):
        convert(model, 12)
