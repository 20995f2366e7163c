"""Pools and convolutions."""

import itertools
import math

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.graph import attribute_value
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

X = random(1, 2, 7, 9)


@pytest.mark.parametrize("opset", [7, 10, 12, 18, 22])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_pools_that_round_down_stay(operator, opset):
    made = node(operator, ["x"], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0])
    tolerance = 1e-6 if operator == "AveragePool" and opset >= 19 else 0  # ONNX Runtime adds in another order
    assert_same(graph(made, {"x": X}, opset), {"x": X}, tolerance=tolerance)


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("opset", [7, 22])
def test_pools_of_everything_stay(operator, opset):
    assert_same(graph(node(operator, ["x"]), {"x": X}, opset), {"x": X}, targets=(12, 17))


def test_the_places_of_maxima_are_handed_out():
    outputs = {"y": TensorProto.FLOAT, "places": TensorProto.INT64}
    made = node("MaxPool", ["x"], outputs, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    assert_same(graph(made, {"x": X}, 22, outputs=outputs), {"x": X}, reference=False, reference_from=99)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        (size, kernel, stride, pads)
        for size, kernel, stride in itertools.product((5, 6, 7), (2, 3), (2, 3))
        for pads in ([0, 0], [1, 1], [1, 0])
    ],
)
def test_rounding_up_becomes_padding(operator, size, kernel, stride, pads):
    x = random(1, 1, size)
    made = node(operator, ["x"], kernel_shape=[kernel], strides=[stride], pads=pads, ceil_mode=1)
    model = graph(made, {"x": x}, 22)
    expected = on_runtime(model, {"x": x})
    for target in (12, 17):
        result = converted(model, target)
        assert attribute_value(result.graph.node[0], "ceil_mode") == 0
        assert_equal(on_runtime(result, {"x": x}), expected, 1e-6 if operator == "AveragePool" else 0)


def test_an_overhang_where_padding_counts_is_refused():
    made = node("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1)
    model = graph(made, {"x": X}, 22)
    with pytest.raises(UnconvertibleError, match=r"AveragePool .*opset 22 to 21.*count_include_pad"):
        convert(model, 17, inferred(model))


@pytest.mark.parametrize("opset", [19, 22])
def test_rounding_up_an_unknown_size_is_refused(opset):
    made = node("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    model = graph(made, {"x": X}, opset, dynamic=True)
    with pytest.raises(UnconvertibleError, match=rf"opset {opset} to {opset - 1}.*shape of 'x' is not known"):
        convert(model, 17, inferred(model))


def test_an_average_with_dilations_is_refused():
    made = node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[1, 2])
    model = graph(made, {"x": X}, 19)
    with pytest.raises(
        UnconvertibleError, match=r"AveragePool .*'the_averagepool'.*opset 19 to 18.*dilations"
    ):
        convert(model, 17, inferred(model))


def test_an_average_with_dilations_of_one_stays():
    made = node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[1, 1])
    assert_same(graph(made, {"x": X}, 19), {"x": X}, tolerance=1e-6)


@pytest.mark.parametrize("attributes", [{"ceil_mode": 1}, {"dilations": [1, 2]}])
def test_what_a_norm_pool_learned_at_18_is_refused(attributes):
    model = graph(node("LpPool", ["x"], kernel_shape=[2, 2], **attributes), {"x": X}, 18)
    name = next(iter(attributes))
    with pytest.raises(UnconvertibleError, match=rf"LpPool .*opset 18 to 17: its attribute {name}="):
        convert(model, 17, inferred(model))


@pytest.mark.parametrize("opset", [7, 11, 22])
def test_convolutions_stay(opset):
    constants = {"weight": random(2, 2, 3, 3), "bias": random(2)}
    for operator in ("Conv", "ConvTranspose"):
        made = node(operator, ["x", "weight", "bias"], strides=[2, 2], pads=[1, 1, 1, 1])
        assert_same(graph(made, {"x": X}, opset, constants=constants), {"x": X}, targets=(12, 17))


def test_an_automatic_padding_whose_place_changed_is_refused():
    made = node("ConvTranspose", ["x", "weight"], auto_pad="SAME_LOWER", strides=[2, 2])
    model = graph(made, {"x": X}, 10, constants={"weight": random(2, 2, 3, 3)})
    with pytest.raises(UnconvertibleError, match=r"ConvTranspose .*opset 10 to 11.*auto_pad"):
        convert(model, 12, inferred(model))


def test_a_maximum_of_bytes_is_refused_nowhere_from_12_on():
    x = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    model = graph(node("MaxPool", ["x"], kernel_shape=[2, 2]), {"x": x}, 22, outputs={"y": TensorProto.UINT8})
    assert_same(model, {"x": x}, targets=(12, 17))


@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ([6, 7], [2, 2], {}),
        ([6, 7], [3, 2], {"strides": [2, 3], "pads": [1, 0, 1, 1]}),
        ([8, 8], [3, 3], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([9, 8], [2, 3], {"dilations": [2, 1]}),
        ([11], [3], {"strides": [2]}),
    ],
)
def test_windows_are_added_up_by_a_transposed_convolution(image, block, attributes):
    axes = range(len(image))
    pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    counts = [
        (image[axis] + pads[axis] + pads[axis + len(image)] - dilations[axis] * (block[axis] - 1) - 1)
        // strides[axis]
        + 1
        for axis in axes
    ]
    x = random(2, 3 * math.prod(block), math.prod(counts))
    constants = {"image": np.array(image), "block": np.array(block)}
    model = graph(node("Col2Im", ["x", *constants], **attributes), {"x": x}, 18, constants=constants)
    expected = on_reference(model, {"x": x})  # which does not know a transposed convolution in groups
    assert_same(model, {"x": x}, tolerance=1e-6, expected=expected, reference_from=18)


def test_windows_of_a_computed_image_size_are_refused():
    feeds = {"x": random(1, 4, 9), "image": np.array([4, 4])}
    model = graph(node("Col2Im", ["x", "image", "block"]), feeds, 18, constants={"block": np.array([2, 2])})
    with pytest.raises(UnconvertibleError, match=r"Col2Im .*18 to 17.*sizes are computed"):
        convert(model, 17, inferred(model))
