"""Slice, TopK, OneHot, Scatter, ArgMax, GridSample, RoiAlign, Mod and Dropout."""

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

X = random(2, 5, 7)
TOP = {"y": TensorProto.FLOAT, "places": TensorProto.INT64}


@pytest.mark.parametrize(
    "bounds",
    [
        {"starts": [1, 0], "ends": [3, -2], "axes": [1, 2]},
        {"starts": [0, 1], "ends": [1, 2**63 - 1]},
        {"starts": [-3], "ends": [1000], "axes": [1]},
    ],
)
@pytest.mark.parametrize("opset", [7, 9])
def test_the_bounds_of_a_slice_become_inputs(bounds, opset):
    assert_same(graph(node("Slice", ["x"], **bounds), {"x": X}, opset), {"x": X})


@pytest.mark.parametrize("opset", [10, 11, 13])
def test_a_slice_with_steps_stays(opset):
    constants = {"a": np.array([4]), "b": np.array([0]), "axes": np.array([1]), "steps": np.array([-2])}
    assert_same(graph(node("Slice", ["x", *constants]), {"x": X}, opset, constants=constants), {"x": X})


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("opset", [7, 9])
def test_the_count_of_the_largest_becomes_an_input(axis, opset):
    axis = axis if opset > 9 else axis % 3
    model = graph(node("TopK", ["x"], TOP, k=3, axis=axis), {"x": X}, opset, outputs=TOP)
    assert_same(model, {"x": X}, reference=False)


@pytest.mark.parametrize("opset", [10, 11, 24])
def test_the_largest_stay(opset):
    made = node("TopK", ["x", "k"], TOP, axis=1)
    model = graph(made, {"x": X}, opset, constants={"k": np.array([2])}, outputs=TOP)
    assert_same(model, {"x": X}, runtime=opset < 24, targets=(12, 17))


ONE_HOT = {"depth": np.array(4), "values": np.float32([0, 1])}


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_no_index_is_one_from_the_back(dtype):
    indices = np.array([[0, 3], [-1, 5]], dtype=dtype)
    expected = np.zeros((2, 2, 4), dtype=np.float32)
    expected[0, 0, 0] = expected[0, 1, 3] = 1
    model = graph(node("OneHot", ["i", *ONE_HOT]), {"i": indices}, 9, constants=ONE_HOT)
    for target in (12, 17):
        run = on_runtime if dtype is np.int64 else on_reference  # ONNX Runtime has no kernel for the other
        assert_equal(run(converted(model, target), {"i": indices}), [expected], 0)


def test_constant_indices_that_are_not_negative_stay():
    made = [node("OneHot", ["i", *ONE_HOT], ["hot"]), node("Add", ["hot", "x"])]
    x = random(3, 4)
    model = graph(made, {"x": x}, 9, constants={**ONE_HOT, "i": np.array([0, 1, 2])})
    assert len(converted(model, 12).graph.node) == 2
    assert_same(model, {"x": x})


def test_indices_that_are_floats_are_refused():
    model = graph(node("OneHot", ["i", *ONE_HOT]), {"i": np.float32([1])}, 9, constants=ONE_HOT)
    with pytest.raises(UnconvertibleError, match=r"OneHot .*'the_onehot'.*10 to 11.*may be negative"):
        convert(model, 12, inferred(model))


def test_scatter_gets_its_new_name():
    constants = {"i": np.array([[1, 0, 2]]), "u": random(1, 3, seed=1)}
    x = random(3, 3)
    model = graph(node("Scatter", ["x", "i", "u"], axis=1), {"x": x}, 9, constants=constants)
    assert converted(model, 12).graph.node[0].op_type == "ScatterElements"
    assert_same(model, {"x": x}, reference=False)


@pytest.mark.parametrize("opset", [11, 13, 16, 18])
def test_scattering_without_reduction_stays(opset):
    x = random(3, 3)
    for operator, indices in (("ScatterElements", [[1, 0, 2]]), ("ScatterND", [[1]])):
        attributes = {"reduction": "none"} if opset >= 16 else {}
        constants = {"i": np.array(indices), "u": random(1, 3, seed=1)}
        model = graph(node(operator, ["x", "i", "u"], **attributes), {"x": x}, opset, constants=constants)
        assert_same(model, {"x": x})


@pytest.mark.parametrize(("reduction", "boundary"), [("max", "18 to 17"), ("add", "16 to 15")])
@pytest.mark.parametrize("operator", ["ScatterElements", "ScatterND"])
def test_scattering_with_reduction_is_refused(operator, reduction, boundary):
    indices = [[1, 0, 2]] if operator == "ScatterElements" else [[1]]
    constants = {"i": np.array(indices), "u": random(1, 3, seed=1)}
    made = node(operator, ["x", "i", "u"], reduction=reduction)
    model = graph(made, {"x": random(3, 3)}, 18, constants=constants)
    with pytest.raises(UnconvertibleError, match=rf"{operator} .*{boundary}.*{reduction}"):
        convert(model, 12)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_the_place_of_the_largest_stays(opset):
    model = graph(node("ArgMax", ["x"], axis=1), {"x": X}, opset, outputs={"y": TensorProto.INT64})
    assert_same(model, {"x": X})


PICTURE, GRID = random(1, 2, 5, 6), random(1, 3, 4, 2, seed=1) / 2


@pytest.mark.parametrize("mode", [None, "linear", "nearest", "cubic"])
def test_modes_of_sampling_get_their_old_names(mode):
    attributes = {} if mode is None else {"mode": mode}
    made = node("GridSample", ["x", "grid"], padding_mode="border", **attributes)
    model = graph(made, {"x": PICTURE, "grid": GRID}, 20)
    assert_same(model, {"x": PICTURE, "grid": GRID}, targets=(16, 17), reference=False, reference_from=99)


def test_sampling_anything_but_pictures_is_refused():
    feeds = {"x": random(1, 1, 2, 3, 4), "grid": random(1, 2, 2, 2, 3)}
    model = graph(node("GridSample", ["x", "grid"]), feeds, 20)
    with pytest.raises(UnconvertibleError, match=r"GridSample .*20 to 19.*5 dimensions") as caught:
        convert(model, 17, inferred(model))
    assert caught.value.hint == "Replace the operator in the model."


def test_sampling_has_no_counterpart_below_16():
    model = graph(node("GridSample", ["x", "grid"]), {"x": PICTURE, "grid": GRID}, 16)
    with pytest.raises(UnconvertibleError, match=r"GridSample .*'the_gridsample'.*16 to 15.*brought"):
        convert(model, 12)


REGIONS = {"rois": np.float32([[0.5, 0.5, 3, 3]]), "batch": np.array([0])}


def regions(opset, **attributes):
    """A RoiAlign of PICTURE."""
    made = node("RoiAlign", ["x", *REGIONS], output_height=2, output_width=2, sampling_ratio=2, **attributes)
    return graph(made, {"x": PICTURE}, opset, constants=REGIONS)


def test_regions_without_a_shift_stay_without():
    assert_same(regions(10), {"x": PICTURE}, reference=False, reference_from=16)
    model = regions(16, coordinate_transformation_mode="output_half_pixel")
    assert_same(model, {"x": PICTURE}, targets=(12, 17), reference_from=16)


def test_regions_with_a_shift_are_refused():
    with pytest.raises(UnconvertibleError, match=r"RoiAlign .*16 to 15.*half a pixel"):
        convert(regions(16), 12)


def test_remainders_of_integers_and_of_truncated_floats_stay():
    integers, floats = np.array([-7, 7, 5]), np.float32([-7.5, 7.5, 5])
    for x, fmod, dtype in ((integers, 0, TensorProto.INT64), (floats, 1, TensorProto.FLOAT)):
        made = node("Mod", ["x", "by"], fmod=fmod)
        model = graph(made, {"x": x}, 28, constants={"by": x.dtype.type(3)}, outputs={"y": dtype})
        expected = np.fmod(x, x.dtype.type(3)) if fmod else np.mod(x, x.dtype.type(3))
        assert_same(model, {"x": x}, expected=[expected], targets=(12, 17))


def test_floored_remainders_of_floats_are_refused():
    x = np.float32([-7.5])
    model = graph(node("Mod", ["x", "by"]), {"x": x}, 28, constants={"by": np.float32(3)})
    with pytest.raises(UnconvertibleError, match=r"Mod .*28 to 27.*fmod=0"):
        convert(model, 17)


@pytest.mark.parametrize("opset", [7, 10, 11])
def test_dropout_keeps_everything(opset):
    model = graph(node("Dropout", ["x"], ratio=0.3), {"x": X}, opset)
    assert_same(model, {"x": X}, reference=False, targets=(12, 17))
    assert_equal(on_reference(converted(model, 13), {"x": X}), [X], 0)


@pytest.mark.parametrize("opset", [12, 13, 22])
def test_dropout_with_inputs_keeps_everything(opset):
    constants = {"ratio": np.float32(0.3), "training": np.array(False)}
    model = graph(node("Dropout", ["x", *constants]), {"x": X}, opset, constants=constants)
    assert_same(model, {"x": X}, targets=(12, 17))


def test_a_mask_that_nothing_fills_is_refused():
    outputs = {"y": TensorProto.FLOAT, "mask": TensorProto.FLOAT}
    model = graph(node("Dropout", ["x"], outputs), {"x": X}, 7, outputs=outputs)
    with pytest.raises(UnconvertibleError, match=r"Dropout .*'the_dropout'.*9 to 10.*mask"):
        convert(model, 12)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_stay_with_the_sequence_first(operator):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    constants = {"w": random(1, gates * 3, 7), "r": random(1, gates * 3, 3)}
    model = graph(node(operator, ["x", "w", "r"], hidden_size=3), {"x": X}, 14, constants=constants)
    assert_same(model, {"x": X}, targets=(12, 17))
    turned = graph(
        node(operator, ["x", "w", "r"], hidden_size=3, layout=1), {"x": X}, 14, constants=constants
    )
    with pytest.raises(UnconvertibleError, match=rf"{operator} .*14 to 13.*layout=1"):
        convert(turned, 12)
