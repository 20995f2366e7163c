"""Normalisations."""

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
    random,
)

X = random(2, 3, 4, 6)
PICTURES = random(2, 6, 4, 5)


def layer(axis, *, dtype=np.float32, bias=True, **attributes):
    """A LayerNormalization of X."""
    shape = X.shape[axis:]
    constants = {"scale": random(*shape, seed=1).astype(dtype), "bias": random(*shape, seed=2).astype(dtype)}
    inputs = ["x", "scale", "bias"] if bias else ["x", "scale"]
    made = node("LayerNormalization", inputs, axis=axis, **attributes)
    kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.FLOAT16
    used = {name: constants[name] for name in inputs[1:]}
    return graph(made, {"x": X.astype(dtype)}, 17, constants=used, outputs={"y": kind})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axis", [-1, 1, 3, -2])
def test_a_layer_is_taken_apart(axis, bias):
    assert_same(layer(axis, bias=bias), {"x": X}, tolerance=1e-6)


def test_epsilon_stays():
    assert_same(layer(-1, epsilon=0.5), {"x": X}, tolerance=1e-6, targets=(12,))


def test_a_layer_of_half_precision_is_computed_in_single_precision():
    half = X.astype(np.float16)
    wide = half.astype(np.float32)
    model = layer(-1, dtype=np.float16)
    mean = wide.mean(-1, keepdims=True)
    normal = ((wide - mean) / np.sqrt(wide.var(-1, keepdims=True) + np.float32(1e-5))).astype(np.float16)
    scale, bias = random(6, seed=1).astype(np.float16), random(6, seed=2).astype(np.float16)
    for target in (12, 16):
        assert_equal(on_reference(converted(model, target), {"x": half}), [normal * scale + bias], 1e-3)
    assert [made.op_type for made in converted(model, 16).graph.node].count("Cast") == 2


def test_mean_and_inverse_deviation_are_handed_out():
    made = node("LayerNormalization", ["x", "scale"], ["y", "mean", "inverse"], axis=-1)
    outputs = dict.fromkeys(["y", "mean", "inverse"], TensorProto.FLOAT)
    model = graph(made, {"x": X}, 17, constants={"scale": random(6, seed=1)}, outputs=outputs)
    assert_same(model, {"x": X}, tolerance=1e-6)


def test_a_layer_of_an_unknown_type_is_refused():
    made = [node("Relu", ["x"], ["between"]), node("LayerNormalization", ["between", "scale"])]
    model = graph(made, {"x": X}, 17, constants={"scale": random(6)})
    with pytest.raises(UnconvertibleError, match=r"LayerNormalization .*17 to 16.*type of 'between'"):
        convert(model, 12)


def test_a_layer_of_doubles_computed_in_single_precision_is_refused():
    x = X.astype(np.float64)
    made = node("LayerNormalization", ["x", "scale"])
    outputs = {"y": TensorProto.DOUBLE}
    model = graph(made, {"x": x}, 17, constants={"scale": np.ones(6)}, outputs=outputs)
    with pytest.raises(UnconvertibleError, match="narrower type"):
        convert(model, 12, inferred(model))


@pytest.mark.parametrize("axis", [-1, 2, -3])
def test_a_root_mean_square_is_taken_apart(axis):
    scale = random(*X.shape[axis:], seed=1)
    model = graph(
        node("RMSNormalization", ["x", "scale"], axis=axis), {"x": X}, 23, constants={"scale": scale}
    )
    axes = tuple(range(axis % 4, 4))
    expected = X / np.sqrt((X * X).mean(axes, keepdims=True) + np.float32(1e-5)) * scale
    assert_same(model, {"x": X}, tolerance=1e-6, expected=[expected])
    assert_equal(on_reference(model, {"x": X}), [expected], 1e-6)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (3, 6, 7)])
def test_groups_with_a_scale_for_each_channel_are_taken_apart(shape, groups):
    x = random(*shape)
    constants = {"scale": random(6, seed=1), "bias": random(6, seed=2)}
    made = node("GroupNormalization", ["x", "scale", "bias"], num_groups=groups, epsilon=1e-3)
    assert_same(graph(made, {"x": x}, 21, constants=constants), {"x": x}, tolerance=2e-6)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groups_with_a_scale_for_each_group_are_taken_apart(groups):
    constants = {"scale": random(groups, seed=1), "bias": random(groups, seed=2)}
    made = node("GroupNormalization", ["x", "scale", "bias"], num_groups=groups)
    wide = PICTURES.reshape(2, groups, -1).astype(np.float64)
    normal = (wide - wide.mean(2, keepdims=True)) / np.sqrt(wide.var(2, keepdims=True) + 1e-5)
    moved = normal * constants["scale"].reshape(1, -1, 1) + constants["bias"].reshape(1, -1, 1)
    expected = moved.reshape(PICTURES.shape).astype(np.float32)
    model = graph(made, {"x": PICTURES}, 18, constants=constants)
    assert_same(model, {"x": PICTURES}, tolerance=2e-6, expected=[expected])


STATISTICS = {
    "scale": random(6, seed=1),
    "bias": random(6, seed=2),
    "mean": random(6, seed=3),
    "variance": np.abs(random(6, seed=4)) + 0.5,
}


def batch(opset, outputs=("y",), **attributes):
    """A BatchNormalization of PICTURES."""
    made = node("BatchNormalization", ["x", *STATISTICS], outputs, **attributes)
    kinds = dict.fromkeys(outputs, TensorProto.FLOAT)
    return graph(made, {"x": PICTURES}, opset, constants=STATISTICS, outputs=kinds)


@pytest.mark.parametrize(
    ("opset", "attributes"),
    [
        (7, {"spatial": 1, "epsilon": 1e-3}),
        (8, {}),
        (9, {"momentum": 0.8}),
        (14, {"training_mode": 0}),
        (15, {}),
    ],
)
def test_statistics_of_batches_stay_what_they_are(opset, attributes):
    knows = opset > 13  # below, the reference takes the momentum for a sign of training
    assert_same(
        batch(opset, **attributes),
        {"x": PICTURES},
        reference=knows,
        reference_from=14,
        tolerance=0 if knows else 1e-6,
    )


def test_statistics_for_each_place_are_refused():
    with pytest.raises(UnconvertibleError, match=r"BatchNormalization .*opset 8 to 9.*spatial"):
        convert(batch(7, spatial=0), 12)


def test_a_batch_normalization_in_training_is_refused():
    model = batch(15, ("y", "running_mean", "running_var"), training_mode=1)
    with pytest.raises(UnconvertibleError, match=r"opset 14 to 13.*training mode"):
        convert(model, 12)


@pytest.mark.parametrize("operator", ["InstanceNormalization", "LpNormalization", "LRN"])
@pytest.mark.parametrize("opset", [7, 22])
def test_other_normalizations_only_took_more_types(operator, opset):
    inputs = ["x", "scale", "bias"] if operator == "InstanceNormalization" else ["x"]
    attributes = {"size": 3} if operator == "LRN" else {}
    constants = {name: STATISTICS[name] for name in inputs[1:]}
    model = graph(node(operator, inputs, **attributes), {"x": PICTURES}, opset, constants=constants)
    assert_same(model, {"x": PICTURES}, targets=(12, 17))
