"""Cast, CastLike, QuantizeLinear and DequantizeLinear."""

import numpy as np
import pytest
from onnx import TensorProto

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import convert
from tests.opset.bench import assert_same, converted, graph, inferred, node, random

X = 20 * random(2, 3, 4)
INT64, UINT8, INT8 = TensorProto.INT64, TensorProto.UINT8, TensorProto.INT8


@pytest.mark.parametrize("opset", [7, 9, 13, 19, 23])
def test_casts_between_old_types_stay(opset):
    model = graph(node("Cast", ["x"], to=INT64), {"x": X}, opset, outputs={"y": INT64})
    assert_same(model, {"x": X})


def test_attributes_that_govern_new_types_go():
    made = node("Cast", ["x"], to=INT64, saturate=0, round_mode="down")
    model = graph(made, {"x": X}, 24, outputs={"y": INT64})
    assert_same(model, {"x": X}, targets=(12, 17), expected=[X.astype(np.int64)])


@pytest.mark.parametrize(
    ("dtype", "opset", "boundary"),
    [(TensorProto.FLOAT8E4M3FN, 19, "19 to 18"), (TensorProto.BFLOAT16, 13, "13 to 12")],
)
def test_casts_to_new_types_are_refused(dtype, opset, boundary):
    made = [node("Cast", ["x"], ["narrow"], to=dtype), node("Cast", ["narrow"], to=TensorProto.FLOAT)]
    with pytest.raises(UnconvertibleError, match=rf"Cast .*'the_cast'.*{boundary}.*cannot be tensor"):
        convert(graph(made, {"x": X}, opset), 12)


@pytest.mark.parametrize("opset", [15, 19, 24])
def test_a_cast_to_another_values_type_names_the_type(opset):
    like = np.array([1, 2])
    model = graph(node("CastLike", ["x", "like"]), {"x": X, "like": like}, opset, outputs={"y": INT64})
    assert_same(model, {"x": X, "like": like}, targets=(12, 14, 15))
    assert [made.op_type for made in converted(model, 14).graph.node] == ["Cast"]


def test_a_cast_to_an_unknown_type_is_refused():
    made = [node("Relu", ["x"], ["like"]), node("CastLike", ["x", "like"])]
    with pytest.raises(UnconvertibleError, match=r"CastLike .*15 to 14.*type of 'like' is not known"):
        convert(graph(made, {"x": X}, 15), 14)


def quantize(opset, scale, zero, *, x=X, output=UINT8, dtype=None, **attributes):
    """A QuantizeLinear of X."""
    constants = {"scale": np.float32(scale)}
    if zero is not None:
        constants["zero"] = np.array(zero, dtype=dtype or np.uint8)
    made = node("QuantizeLinear", ["x", *constants], **attributes)
    return graph(made, {"x": x}, opset, constants=constants, outputs={"y": output}, ir_version=10)


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
@pytest.mark.parametrize("zero", [None, 128])
def test_quantizing_with_one_scale_stays(opset, zero):
    assert_same(quantize(opset, 0.3, zero), {"x": X})


@pytest.mark.parametrize(("dtype", "output"), [(np.uint8, UINT8), (np.int8, INT8)])
@pytest.mark.parametrize("axis", [1, -1])
def test_quantizing_along_an_axis_is_taken_apart_below_13(axis, dtype, output):
    length = X.shape[axis]
    scale, zero = np.linspace(0.1, 0.4, length), np.arange(length) + 3
    model = quantize(13, scale, zero, axis=axis, dtype=dtype, output=output)
    assert_same(model, {"x": X}, targets=(12,))


def test_quantizing_along_an_axis_without_a_zero_point():
    model = quantize(21, [0.1, 0.2, 0.3], None, axis=1)
    assert_same(model, {"x": X}, targets=(12, 17))


def test_the_type_of_the_output_becomes_a_zero_point():
    model = quantize(21, 0.3, None, output=INT8, output_dtype=INT8)
    assert_same(model, {"x": X})


def test_the_type_of_the_output_becomes_a_zero_point_along_an_axis():
    model = quantize(21, [0.1, 0.2, 0.3], None, axis=1, output=INT8, output_dtype=INT8)
    assert_same(model, {"x": X}, targets=(12, 17))


@pytest.mark.parametrize(
    ("opset", "attributes", "why"),
    [(21, {"block_size": 2, "axis": 2}, "block_size"), (23, {"precision": TensorProto.FLOAT16}, "precision")],
)
def test_what_quantizing_learned_later_is_refused(opset, attributes, why):
    scale = np.ones((2, 3, 2)) if "block_size" in attributes else 0.3
    with pytest.raises(UnconvertibleError, match=rf"QuantizeLinear .*{opset} to {opset - 1}.*{why}"):
        convert(quantize(opset, scale, None, **attributes), 17)


def test_sixteen_bits_are_refused_below_21():
    model = quantize(21, 0.3, 7, dtype=np.uint16, output=TensorProto.UINT16)
    with pytest.raises(UnconvertibleError, match=r"21 to 20.*tensor\(uint16\)"):
        convert(model, 17)


Q = np.random.default_rng(0).integers(0, 255, (2, 3, 4)).astype(np.uint8)


def dequantize(opset, scale, zero, **attributes):
    """A DequantizeLinear of Q."""
    constants = {"scale": np.float32(scale)}
    if zero is not None:
        constants["zero"] = np.array(zero, dtype=np.uint8)
    made = node("DequantizeLinear", ["q", *constants], **attributes)
    return graph(made, {"q": Q}, opset, constants=constants, ir_version=10)


def assert_dequantized(model, expected):
    """The reference knows the operator from opset 19 on, where no target is."""
    assert_same(model, {"q": Q}, targets=(12, 13, 17), expected=[expected], reference_from=18)


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
@pytest.mark.parametrize("zero", [None, 128])
def test_dequantizing_with_one_scale_stays(opset, zero):
    expected = (Q.astype(np.float32) - (zero or 0)) * np.float32(0.3)
    assert_dequantized(dequantize(opset, 0.3, zero), expected)


@pytest.mark.parametrize("zero", [None, [1, 2, 3]])
def test_dequantizing_along_an_axis_is_taken_apart_below_13(zero):
    shift, scale = np.float32(zero or 0).reshape(-1, 1), np.float32([0.1, 0.2, 0.3]).reshape(-1, 1)
    expected = (Q.astype(np.float32) - shift) * scale
    for model in (
        dequantize(13, [0.1, 0.2, 0.3], zero, axis=1),
        dequantize(19, [0.1, 0.2, 0.3], zero, axis=-2),
    ):
        assert_same(model, {"q": Q}, targets=(12,), expected=[expected])
        assert_dequantized(model, expected)


def test_the_scales_own_type_may_be_stated():
    model = dequantize(23, 0.3, 7, output_dtype=TensorProto.FLOAT)
    assert_dequantized(model, (Q.astype(np.float32) - 7) * np.float32(0.3))


def test_another_type_than_the_scales_is_refused():
    model = dequantize(23, 0.3, 7, output_dtype=TensorProto.FLOAT16)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(UnconvertibleError, match=r"DequantizeLinear .*23 to 22.*output_dtype"):
        convert(model, 17, inferred(model))


def test_blocks_are_refused():
    model = dequantize(21, np.ones((2, 3, 2)), None, block_size=2, axis=2)
    with pytest.raises(UnconvertibleError, match=r"DequantizeLinear .*21 to 20.*block_size"):
        convert(model, 17, inferred(model))
