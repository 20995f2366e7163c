"""Shape, Reshape, Trilu, SpaceToDepth, and what moves or compares values without computing."""

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import assert_equal, assert_same, converted, graph, inferred, node, on_runtime, random

X = random(2, 3, 4, 6)
WHOLE = {"y": TensorProto.INT64}


@pytest.mark.parametrize("opset", [15, 19, 23])
@pytest.mark.parametrize(
    "bounds", [{}, {"start": 1}, {"end": -1}, {"start": -3, "end": 3}, {"start": 0}, {"start": 3, "end": 1}]
)
def test_a_part_of_a_shape_is_cut_out_of_the_whole(bounds, opset):
    model = graph(node("Shape", ["x"], **bounds), {"x": X}, opset, outputs=WHOLE)
    assert_same(model, {"x": X}, targets=(12, 14, 15))


def test_a_whole_shape_is_raised_unchanged():
    assert_same(graph(node("Shape", ["x"]), {"x": X}, 7, outputs=WHOLE), {"x": X})


@pytest.mark.parametrize("allowzero", [0, 1])
@pytest.mark.parametrize("opset", [14, 19, 23])
def test_a_shape_without_zeros_may_allow_them(opset, allowzero):
    made = node("Reshape", ["x", "shape"], allowzero=allowzero)
    model = graph(made, {"x": X}, opset, constants={"shape": np.array([6, -1, 2])})
    assert_same(model, {"x": X}, targets=(12, 13))


def test_a_zero_that_copies_a_size_stays():
    for opset in (7, 14):
        made = node("Reshape", ["x", "shape"])
        assert_same(graph(made, {"x": X}, opset, constants={"shape": np.array([0, 0, -1])}), {"x": X})


def test_a_computed_shape_may_allow_zeros_where_the_result_has_none():
    made = [
        node("Shape", ["x"], ["shape"]),
        node("Reshape", ["x", "shape"], allowzero=1),
    ]
    assert_same(graph(made, {"x": X}, 18), {"x": X}, targets=(12, 13))


def test_a_zero_that_means_none_is_refused():
    made = node("Reshape", ["x", "shape"], allowzero=1)
    x = np.zeros((0, 3), dtype=np.float32)
    model = graph(made, {"x": x}, 14, constants={"shape": np.array([3, 0])})
    with pytest.raises(UnconvertibleError, match=r"Reshape .*'the_reshape'.*14 to 13.*allowzero"):
        convert(model, 13, inferred(model))


def test_a_shape_that_nobody_knows_may_not_allow_zeros():
    made = [node("Reshape", ["x", "shape"], ["flat"], allowzero=1), node("Relu", ["flat"])]
    model = graph(made, {"x": X, "shape": np.array([12, 12])}, 14)
    with pytest.raises(UnconvertibleError, match=r"14 to 13.*shape of 'flat' is not known"):
        convert(model, 13, inferred(model))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("offset", [None, 0, 2, -1])
def test_a_triangle_becomes_a_choice(offset, upper):
    constants = {} if offset is None else {"k": np.array(offset)}
    model = graph(node("Trilu", ["x", *constants], upper=upper), {"x": X}, 14, constants=constants)
    assert_same(model, {"x": X}, targets=(12, 13))


def test_a_triangle_of_truth_values_is_masked():
    """ONNX Runtime has no Where for them."""
    truth = {"x": X > 0}
    model = graph(node("Trilu", ["x"]), truth, 14, outputs={"y": TensorProto.BOOL})
    assert_same(model, truth, targets=(12, 13), runtime=False)


def test_a_triangle_of_unknown_size_is_refused():
    model = graph(node("Trilu", ["x"]), {"x": X}, 14, dynamic=True)
    with pytest.raises(UnconvertibleError, match=r"Trilu .*14 to 13.*shape of 'x' is not known, axis -2"):
        convert(model, 13, inferred(model))


def test_depth_in_the_order_of_channels_is_sorted():
    model = graph(node("SpaceToDepth", ["x"], blocksize=2, mode="CRD"), {"x": X}, 28)
    blocks = X.reshape(2, 3, 2, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4)
    assert_same(model, {"x": X}, targets=(12, 17), expected=[blocks.reshape(2, 12, 2, 3)])


def test_depth_in_the_order_of_blocks_stays():
    model = graph(node("SpaceToDepth", ["x"], blocksize=2, mode="DCR"), {"x": X}, 28)
    expected = on_runtime(graph(node("SpaceToDepth", ["x"], blocksize=2), {"x": X}, 13), {"x": X})
    assert_same(model, {"x": X}, targets=(12, 17), expected=expected)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_out_of_depth_stays(mode):
    x = random(1, 8, 2, 3)
    model = graph(node("DepthToSpace", ["x"], blocksize=2, mode=mode), {"x": x}, 11)
    assert_same(model, {"x": x}, targets=(12, 17))
    old = graph(node("DepthToSpace", ["x"], blocksize=2), {"x": x}, 7)
    assert_same(old, {"x": x}, targets=(12, 17))


MOVES = [
    node("Transpose", ["x"], perm=[0, 2, 3, 1]),
    node("Flatten", ["x"], axis=2),
    node("Concat", ["x", "x"], axis=1),
    node("Identity", ["x"]),
    node("Gather", ["x", "i"], axis=1),
    node("Tile", ["x", "n"]),
    node("Add", ["x", "v"]),
    node("Mul", ["x", "v"]),
    node("Pow", ["x", "two"]),
    node("Sum", ["x", "v", "x"]),
    node("Max", ["x", "v"]),
    node("Mean", ["x", "v"]),
    node("Gemm", ["m", "m", "m"], transB=1),
    node("MatMul", ["x", "m"]),
    node("Sqrt", ["x"]),
    node("Tanh", ["x"]),
    node("Sin", ["x"]),
]
CONSTANTS = {
    "i": np.array([2, 0]),
    "n": np.array([1, 2, 1, 1]),
    "v": random(6, seed=1),
    "two": np.float32(2),
    "m": random(6, 6, seed=2),
}


@pytest.mark.parametrize("made", MOVES, ids=lambda made: made.op_type)
@pytest.mark.parametrize("opset", [8, 12, 22])
def test_operators_that_only_took_more_types_stay(made, opset):
    used = {name: CONSTANTS[name] for name in made.input if name in CONSTANTS}
    feeds = {"x": np.abs(X)} if "x" in made.input else {}
    model = graph(made, feeds or {"unused": X}, opset, constants=used)
    feeds = feeds or {"unused": X}
    assert_same(model, feeds, targets=(12, 14, 17))
    assert [kept.op_type for kept in converted(model, 12).graph.node] == [made.op_type]


@pytest.mark.parametrize("opset", [12, 18])
def test_newer_operators_that_only_took_more_types_stay(opset):
    for made in (
        node("Einsum", ["x", "m"], equation="bcij,jk->bcik"),
        node("CumSum", ["x", "axis"]),
        node("Where", ["which", "x", "v"]),
        node("Clip", ["x", "low"]),
        node("Expand", ["v", "n"]),
    ):
        constants = {**CONSTANTS, "axis": np.array(1), "which": X > 0, "low": np.float32(0)}
        used = {name: constants[name] for name in made.input if name in constants}
        model = graph(made, {"x": X}, opset, constants=used)
        assert_same(model, {"x": X}, targets=(12, 17))


@pytest.mark.parametrize("operator", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
def test_comparisons_stay(operator):
    made = node(operator, ["x", "v"])
    for opset in (12, 19):
        model = graph(made, {"x": X}, opset, constants={"v": X[0, 0, 0]}, outputs={"y": TensorProto.BOOL})
        assert_same(model, {"x": X}, targets=(12, 17))


def test_a_range_stays():
    constants = {"start": np.float32(0.5), "limit": np.float32(4), "delta": np.float32(0.5)}
    made = [node("Range", list(constants), ["r"], stash_type=1), node("Add", ["x", "r"])]
    x = random(7)
    model = graph(made, {"x": x}, 27, constants=constants)
    old = graph(
        [node("Range", list(constants), ["r"]), node("Add", ["x", "r"])], {"x": x}, 17, constants=constants
    )
    assert_equal(on_runtime(converted(model, 12), {"x": x}), on_runtime(old, {"x": x}), 0)


@pytest.mark.parametrize("opset", [13, 19, 23])
def test_constants_stay_what_they_are(opset):
    made = [
        node("Constant", [], ["shape"], value_ints=[2, 2]),
        node("ConstantOfShape", ["shape"], ["ones"]),
        node("Add", ["x", "ones"]),
    ]
    x = random(2, 2)
    assert_same(graph(made, {"x": x}, opset), {"x": x}, targets=(12, 17))
