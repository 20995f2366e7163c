"""Activations, Softmax and its family, Clip."""

import math

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import (
    assert_equal,
    assert_same,
    converted,
    graph,
    inferred,
    node,
    on_reference,
    on_runtime,
    random,
)

X = 3 * random(2, 3, 4, 5)
FAMILY = ("Softmax", "LogSoftmax", "Hardmax")


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("shape", [(7,), (2, 3, 4)])
def test_gelu_becomes_its_formula(approximate, shape):
    x = 3 * random(*shape)
    model = graph(node("Gelu", ["x"], approximate=approximate), {"x": x}, 20)
    assert_same(model, {"x": x}, tolerance=1e-6)


def test_gelu_of_doubles_is_computed_in_doubles():
    x = random(5, dtype=np.float64)
    made = node("Gelu", ["x"], approximate="tanh")
    model = graph(made, {"x": x}, 20, outputs={"y": TensorProto.DOUBLE})
    expected = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    for target in (12, 17):
        computed = on_reference(converted(model, target), {"x": x})
        assert_equal(computed, [expected], 1e-14)


def test_gelu_of_an_unknown_type_is_refused():
    model = graph([node("Relu", ["x"], ["between"]), node("Gelu", ["between"])], {"x": X}, 20)
    with pytest.raises(
        UnconvertibleError, match=r"Gelu .*'the_gelu'.*20 to 19.*type of 'between' is not known"
    ):
        convert(model, 17)


def test_hard_swish_becomes_hard_sigmoid():
    assert_same(graph(node("HardSwish", ["x"]), {"x": X}, 14), {"x": X}, tolerance=1e-6)


def test_mish_becomes_its_formula():
    assert_same(graph(node("Mish", ["x"]), {"x": X}, 18), {"x": X}, tolerance=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_swish_becomes_its_formula(alpha):
    model = graph(node("Swish", ["x"], alpha=alpha), {"x": X}, 24)
    assert_same(model, {"x": X}, expected=[X / (1 + np.exp(-np.float32(alpha) * X))], tolerance=1e-6)


def test_a_gated_swish_becomes_its_formula():
    gate, value = X, random(*X.shape, seed=1)
    model = graph(node("SwiGLU", ["a", "b"], alpha=0.5), {"a": gate, "b": value}, 28)
    expected = gate / (1 + np.exp(-gate / 2)) * value
    assert_same(model, {"a": gate, "b": value}, expected=[expected], tolerance=1e-6)


@pytest.mark.parametrize("bounds", [{"min": -1.0, "max": 2.0}, {"min": 0.0}, {"max": 1.5}, {}])
@pytest.mark.parametrize("opset", [7, 10])
def test_the_bounds_of_clip_become_inputs(bounds, opset):
    assert_same(graph(node("Clip", ["x"], **bounds), {"x": X}, opset), {"x": X})


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("operator", FAMILY)
@pytest.mark.parametrize("opset", [7, 11])
def test_a_matrix_is_made_explicit_when_raised(operator, axis, opset):
    attributes = {} if axis is None else {"axis": axis}
    model = graph(node(operator, ["x"], **attributes), {"x": X}, opset)
    tolerance = 0 if operator == "Hardmax" else 1e-6
    assert_same(
        model, {"x": X}, targets=(12, 13, 17), reference=False, reference_from=13, tolerance=tolerance
    )


@pytest.mark.parametrize("axis", [None, 0, 1, -2, -1])
@pytest.mark.parametrize("operator", FAMILY)
@pytest.mark.parametrize("opset", [13, 18])
def test_an_axis_is_turned_to_the_end_when_lowered(operator, axis, opset):
    attributes = {} if axis is None else {"axis": axis}
    model = graph(node(operator, ["x"], **attributes), {"x": X}, opset)
    tolerance = 0 if operator == "Hardmax" else 1e-6
    assert_same(model, {"x": X}, targets=(12, 13), tolerance=tolerance)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1)])
def test_a_classifiers_softmax_stays_one_node(shape):
    x = random(*shape)
    for opset, target in ((11, 17), (13, 12)):
        model = graph(node("Softmax", ["x"], axis=1), {"x": x}, opset)
        assert [made.op_type for made in convert(model, target).graph.node] == ["Softmax"]
        assert_same(model, {"x": x}, targets=(target,))


def test_a_matrix_of_an_unknown_shape_is_made_explicit():
    made = [node("Relu", ["x"], ["between"]), node("Softmax", ["between"], axis=1)]
    model = graph(made, {"x": X}, 11)
    expected = on_runtime(model, {"x": X})
    assert_equal(on_runtime(convert(model, 13), {"x": X}), expected, 1e-6)


def test_an_axis_of_an_unknown_shape_is_refused():
    made = [node("Relu", ["x"], ["between"]), node("Softmax", ["between"], axis=1)]
    with pytest.raises(UnconvertibleError, match=r"Softmax .*13 to 12.*shape of 'between' is not known"):
        convert(graph(made, {"x": X}, 13), 12)


@pytest.mark.parametrize("operator", ["PRelu", "LeakyRelu", "Elu", "Selu", "HardSigmoid", "Softplus", "Relu"])
@pytest.mark.parametrize("opset", [7, 22])
def test_activations_that_only_took_more_types_stay(operator, opset):
    inputs, constants = (["x", "slope"], {"slope": np.float32([0.2])}) if operator == "PRelu" else (["x"], {})
    model = graph(node(operator, inputs), {"x": X}, opset, constants=constants)
    assert_same(model, {"x": X}, targets=(12, 17))


@pytest.mark.parametrize("operator", ["Celu", "ThresholdedRelu", "Round", "Erf"])
def test_activations_of_opset_12_stay(operator):
    assert_same(graph(node(operator, ["x"]), {"x": X}, 12), {"x": X}, targets=(13, 17))
    assert_same(graph(node(operator, ["x"]), {"x": X}, 22), {"x": X}, targets=(12, 17))


def test_the_rectifier_of_integers_is_refused_where_it_was_not_allowed():
    x = np.array([1, -1], dtype=np.int32)
    model = graph(node("Relu", ["x"]), {"x": x}, 14, outputs={"y": TensorProto.INT32})
    with pytest.raises(UnconvertibleError, match=r"Relu .*14 to 13.*tensor\(int32\)"):
        convert(model, 13, inferred(model))
