"""Long sums in two steps: the same value, with fewer digits lost."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeworthy
from edgeworthy import native
from edgeworthy.exporting.classifier import Original
from edgeworthy.exporting.summing import split_sums


def model_of(node, shape, constants=None):
    """One node on an input of a shape."""
    graph = helper.make_graph(
        [node],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def run(model, values):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0]


def values_of(shape):
    return np.random.default_rng(3).normal(0.7, 0.2, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 3, 51_200), (1, 2, 8, 40, 80), (2, 2, 60, 60)])
@pytest.mark.parametrize("affine", [True, False])
def test_a_normalised_group_keeps_its_digits(shape, affine):
    channels = shape[1]
    scale = np.linspace(0.5, 2, channels, dtype=np.float32) if affine else np.ones(channels, np.float32)
    bias = np.linspace(-1, 1, channels, dtype=np.float32) if affine else np.zeros(channels, np.float32)
    node = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"], epsilon=1e-3)
    model, values = model_of(node, shape, {"scale": scale, "bias": bias}), values_of(shape)
    before = run(model, values)
    assert split_sums(model) == 1
    after = run(model, values)

    axes = tuple(range(2, len(shape)))
    wide = values.astype(np.float64)
    column = (1, channels) + (1,) * len(axes)
    expected = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-3)
    expected = expected * scale.reshape(column) + bias.reshape(column)
    assert after.shape == shape
    assert np.abs(after - expected).max() < 4e-6
    assert np.abs(after - expected).max() <= np.abs(before - expected).max()
    assert all(node.op_type != "InstanceNormalization" for node in model.graph.node)


EXACT = {
    "ReduceMean": lambda values, axes, keep: values.mean(axes, keepdims=keep),
    "ReduceSum": lambda values, axes, keep: values.sum(axes, keepdims=keep),
    "ReduceL2": lambda values, axes, keep: np.sqrt((values**2).sum(axes, keepdims=keep)),
}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 3, 8, 80, 80), [2, 3, 4]),
        ((1, 50_000), [1]),
        ((1, 3136, 1), [1]),
        ((1, 3136, 48), [1]),
        ((2, 60, 60, 4), [-3, -2]),
        ((2, 2000), [1]),
    ],
)
def test_a_reduction_is_the_same_with_fewer_digits_lost(kind, shape, axes, keepdims):
    told, constants = {"axes": axes}, {}
    if kind == "ReduceSum":  # its axes are an input
        told, constants = {}, {"axes": np.array(axes, np.int64)}
    node = helper.make_node(kind, ["x", *constants], ["y"], keepdims=keepdims, **told)
    model, values = model_of(node, shape, constants), values_of(shape)
    before = run(model, values)
    assert split_sums(model) == 1
    after = run(model, values)
    expected = EXACT[kind](values.astype(np.float64), tuple(axes), bool(keepdims))
    assert after.shape == before.shape == expected.shape
    size = np.abs(expected).max()
    assert np.abs(after - expected).max() < 4e-7 * size
    assert np.abs(after - expected).max() <= max(np.abs(before - expected).max(), 1e-7 * size)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_long_sums_of_other_numbers_stay_as_they_are(dtype):
    model = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]), (1, 6000))
    model.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    content = model.SerializeToString()
    assert split_sums(model) == 0
    assert model.SerializeToString() == content


def test_sums_in_rows_are_long_earlier_than_those_side_by_side():
    rows = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2]), (1, 28, 28, 768))
    side_by_side = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3]), (1, 768, 28, 28))
    values = values_of((1, 28, 28, 768))
    exact = values.astype(np.float64).mean((1, 2))
    before = np.abs(run(rows, values)[:, 0, 0] - exact).max()
    assert split_sums(rows) == 1
    assert split_sums(side_by_side) == 0
    assert np.abs(run(rows, values)[:, 0, 0] - exact).max() < before / 3


def test_short_sums_and_those_of_unknown_length_stay_as_they_are():
    short = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3]), (1, 4, 32, 32))
    dynamic = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3]), (1, 4, "h", 640))
    apart = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 3]), (1, 60, 4, 60))
    nothing = model_of(helper.make_node("ReduceSum", ["x"], ["y"], noop_with_empty_axes=1), (1, 6000))
    prime = model_of(helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]), (1, 2003))
    few = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    norm = model_of(
        helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"]), (1, 4, 8, 8), few
    )
    for model in (short, dynamic, apart, nothing, prime, norm):
        content = model.SerializeToString()
        assert split_sums(model) == 0
        assert model.SerializeToString() == content


def test_the_simplifier_leaves_the_two_steps_apart(tmp_path):
    few = {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)}
    node = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"])
    model = model_of(node, (1, 3, 51_200), few)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 51_200)))
    split_sums(model)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)
    native.simplify(str(before), str(after))
    kinds = [node.op_type for node in onnx.load(after).graph.node]
    assert (kinds.count("ReduceMean"), kinds.count("GlobalAveragePool")) == (2, 2)


def test_a_network_of_group_normalisation_is_proven_by_sums_in_two_steps(tmp_path, monkeypatch):
    asked, answers = [], Original.otherwise

    def otherwise(original, picture, activation):
        asked.append(picture)
        return answers(original, picture, activation)

    monkeypatch.setattr(Original, "otherwise", otherwise)
    stages = []
    artefact = edgeworthy.export(
        "timm:test_efficientnet_gn",
        tmp_path / "m.onnx",
        untrained=True,
        classes="imagenet-1k",
        on_stage=stages.append,
    )
    stamps = [stage.detail for stage in stages if stage.name == "stamp"]
    assert len(stamps) == 2
    assert stamps[1].endswith("long sums in two steps")
    assert artefact.parity.verdict == "same"
    assert artefact.parity.max_abs_diff < 1e-5
    assert len(asked) == 1  # how far rounding moves the worst probe; not all of them, which takes long
