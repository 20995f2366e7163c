"""What is computed of constants alone is computed once, and to the same bits."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

import edgeworthy
from edgeworthy import native
from edgeworthy.errors import ModelFileError, SimplifyError
from edgeworthy.exporting import simplifying
from edgeworthy.exporting.building import inferred_shapes
from edgeworthy.exporting.constants import compute_constants

RANDOM = np.random.default_rng(7)
WEIGHTS = RANDOM.normal(size=(4, 60)).astype(np.float32)
OTHER = RANDOM.normal(size=60).astype(np.float32)


def model_of(*nodes, outputs=("y",)):
    """Nodes on an input x [4, 60] and two constants w and o."""
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 60))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(OTHER, "o")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def run(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones((4, 60), np.float32)})


def kinds(model):
    return [node.op_type for node in model.graph.node]


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"{kind} {output}", **attributes)


def test_a_chain_of_constants_becomes_its_last_value(tmp_path):
    model = model_of(
        node("ReduceMean", "w", "mean", axes=[1]),
        node("Sub", "w mean", "centred"),
        node("Constant", "", "two", value_float=2.0),
        node("Mul", "centred two", "doubled"),
        node("Mul", "x doubled", "product"),
        node("Add", "product o", "y"),
    )
    before = run(model)
    assert compute_constants(model, tmp_path) == 1
    assert kinds(model) == ["Mul", "Add"]
    assert {tensor.name for tensor in model.graph.initializer} == {"doubled", "o"}
    np.testing.assert_array_equal(run(model), before)
    assert not list(tmp_path.iterdir())


def test_a_value_that_others_read_on_the_way_is_kept(tmp_path):
    model = model_of(
        node("Neg", "w", "turned"), node("Abs", "turned", "size"),
        node("Mul", "x turned", "product"), node("Add", "product size", "y"),
    )  # fmt: skip
    before = run(model)
    assert compute_constants(model, tmp_path) == 2
    assert kinds(model) == ["Mul", "Add"]
    np.testing.assert_array_equal(run(model), before)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", "x w", "y")],
        [node("Constant", "", "two", value_float=2.0), node("Mul", "x two", "y")],
        [node("Neg", "w", "y")],
        [node("RandomNormalLike", "w", "noise"), node("Add", "x noise", "y")],
        [
            node("SequenceConstruct", "w w", "both"),
            node("SequenceInsert", "both x", "all"),
            node("ConcatFromSequence", "all", "y", axis=0),
        ],
    ],
    ids=["nothing", "a constant as such", "a result", "noise", "a sequence"],
)
def test_what_is_no_computation_of_constants_stays_as_it_is(nodes, tmp_path):
    model = model_of(*nodes)
    content = model.SerializeToString()
    assert compute_constants(model, tmp_path) == 0
    assert model.SerializeToString() == content


def test_what_is_left_out_is_no_value(tmp_path):
    drops = helper.make_node("Dropout", ["w"], ["kept", ""])
    model = model_of(
        drops, node("Mul", "x kept", "product"), helper.make_node("Clip", ["product", "", ""], ["y"])
    )
    before = run(model)
    assert compute_constants(model, tmp_path) == 1
    assert kinds(model) == ["Mul", "Clip"]
    np.testing.assert_array_equal(run(model), before)


def test_a_branch_reads_what_is_computed_around_it(tmp_path):
    inner = helper.make_graph(
        [helper.make_node("Identity", ["turned"], ["inner"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    model = model_of(
        node("Neg", "w", "turned"),
        node("Constant", "", "yes", value=helper.make_tensor("yes", TensorProto.BOOL, [], [True])),
        node("If", "yes", "chosen", then_branch=inner, else_branch=inner),
        node("Add", "x chosen", "y"),
    )
    before = run(model)
    assert compute_constants(model, tmp_path) == 1
    assert kinds(model) == ["Constant", "If", "Add"]
    np.testing.assert_array_equal(run(model), before)


def test_shapes_and_what_is_computed_of_them_are_constants_round_by_round(tmp_path):
    model = model_of(
        node("Shape", "x", "first"),
        node("Constant", "", "one", value_ints=[1]),
        node("Sub", "first one", "pad"),  # [3, 59]
        node("Constant", "", "none", value_ints=[0, 0]),
        node("Concat", "none pad", "pads", axis=0),
        node("Pad", "x pads", "padded"),  # [7, 119], known only once the pads are
        node("Shape", "padded", "second", start=1),
        node("Cast", "second", "width", to=TensorProto.FLOAT),
        node("Mul", "padded width", "y"),
    )
    before = run(model)
    assert compute_constants(model, tmp_path) == 4
    assert kinds(model) == ["Pad", "Mul"]
    assert before[0].shape == (7, 119)
    np.testing.assert_array_equal(run(model), before)


def test_shapes_that_a_caller_chooses_or_asks_for_are_left_alone(tmp_path):
    asked = model_of(node("Shape", "x", "y"))
    asked.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    free = model_of(node("Shape", "x", "shape"), node("Expand", "o shape", "y"))
    free.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    for model in (asked, free):
        content = model.SerializeToString()
        assert compute_constants(model, tmp_path) == 0
        assert model.SerializeToString() == content


def test_the_simplifier_has_one_more_turn_where_it_has_brought_shapes_to_light(tmp_path, monkeypatch):
    turns, turn = [], native.simplify
    behind = [
        node("Shape", "chosen", "shape"),
        node("Cast", "shape", "sides", to=TensorProto.FLOAT),
        node("ReduceSum", "sides", "sum", keepdims=0),
        node("Mul", "chosen sum", "y"),
    ]
    resolved = model_of(node("Mul", "x w", "chosen"), *behind)
    resolved.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, (4, 60)))

    def simplify(
        path, target, *, compute=True
    ):  # as with sam2_hiera_tiny, a turn resolves a branch and no more
        turns.append((kinds(onnx.load(path)), compute))
        if len(turns) == 2:
            onnx.save(resolved, target)
            return 5
        return turn(path, target, compute=compute)

    monkeypatch.setattr(native, "simplify", simplify)
    onnx.save(model_of(node("Add", "x w", "chosen"), node("Neg", "chosen", "y")), tmp_path / "t.onnx")
    told = simplifying.simplify(str(tmp_path / "t.onnx"), str(tmp_path / "simplified.onnx"))
    after = onnx.load(tmp_path / "simplified.onnx")
    assert turns == [(["Add", "Neg"], False), (["Add", "Neg"], True), (["Mul", "Mul"], True)]
    assert told == {"before": 2, "after": len(after.graph.node)}
    np.testing.assert_allclose(run(after), run(resolved), rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["simplified.onnx", "t.onnx"]


def test_constant_nodes_become_initialisers_but_for_texts():
    from edgeworthy.graph import lift_constants

    model = model_of(
        node("Constant", "", "text", value_string="w"),
        node("Constant", "", "two", value_float=2.0),
        node("Constant", "", "half", value=helper.make_tensor("t", TensorProto.FLOAT, [1], [0.5])),
        node("Mul", "x two", "twice"),
        node("Mul", "twice half", "y"),
    )
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, (4, 60)))
    before = run(model)
    assert lift_constants(model.graph) == 2
    assert kinds(model) == ["Constant", "Mul", "Mul"]
    np.testing.assert_array_equal(run(model), before)
    assert lift_constants(model.graph) == 0


def test_where_the_simplifier_fails_without_computing_it_does_all_in_one_turn(tmp_path, monkeypatch):
    turns, turn = [], native.simplify

    def simplify(path, target, *, compute=True):
        turns.append(compute)
        if not compute:
            raise RuntimeError("Nodes in a graph must be topologically sorted")
        return turn(path, target)

    monkeypatch.setattr(native, "simplify", simplify)
    model = model_of(node("Neg", "x", "turned"), node("Add", "turned w", "y"))
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, (4, 60)))
    onnx.save(model, tmp_path / "traced.onnx")
    told = simplifying.simplify(str(tmp_path / "traced.onnx"), str(tmp_path / "simplified.onnx"))
    assert (turns, told) == ([False, True], {"before": 2, "after": 2})
    np.testing.assert_array_equal(run(onnx.load(tmp_path / "simplified.onnx")), run(model))


def test_what_is_computed_has_to_fit_into_one_file(tmp_path, monkeypatch):
    table = model_of(
        node("Constant", "", "where", value_ints=[place % 4 for place in range(60)]),
        node("Gather", "w where", "unfolded", axis=0),
        node("MatMul", "x unfolded", "y"),
    )
    table.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (4, 60)))
    path, target = tmp_path / "m.onnx", tmp_path / "s.onnx"
    onnx.save(table, path)
    simplifying.simplify(str(path), str(target))
    assert target.stat().st_size > 4 * 60 * 60
    target.unlink()
    monkeypatch.setattr("edgeworthy.exporting.capacity.MAX_FILE_BYTES", 4 * 60 * 60)
    with pytest.raises(SimplifyError, match=r"takes 0\.00 GiB.*--exporter dynamo --no-simplify"):
        simplifying.simplify(str(path), str(target))
    assert [left.name for left in tmp_path.iterdir()] == ["m.onnx"]


def test_what_onnx_runtime_cannot_compute_is_left_to_the_simplifier(tmp_path, monkeypatch):
    def refuse(*_):
        raise ModelFileError("no")

    monkeypatch.setattr(simplifying, "compute_constants", refuse)
    model = model_of(node("Neg", "w", "turned"), node("Add", "x turned", "y"))
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, (4, 60)))
    before = run(model)
    onnx.save(model, tmp_path / "traced.onnx")
    told = simplifying.simplify(str(tmp_path / "traced.onnx"), str(tmp_path / "simplified.onnx"))
    after = onnx.load(tmp_path / "simplified.onnx")
    assert told == {"before": 2, "after": 1}
    np.testing.assert_array_equal(run(after), before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["simplified.onnx", "traced.onnx"]


def test_shapes_are_inferred_from_what_shapes_are_computed_of():
    model = model_of(
        node("Shape", "w", "shape"),
        node("Reshape", "x shape", "same"),
        node("MatMul", "same o", "product"),
        node("Neg", "product", "y"),
    )
    shapes = inferred_shapes(model)
    assert (shapes["same"], shapes["product"]) == ((4, 60), (4,))
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "o"]


class Standardised(nn.Module):
    """A convolution that standardises its weights whenever it runs, as timm's nf_resnet does."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 3, 5, 5))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.std((1, 2, 3), keepdim=True)
        return self.head(functional.conv2d(x, weight, stride=4).relu().mean((2, 3)))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_weights_that_are_standardised_are_so_in_the_file(tmp_path, exporter):
    torch.manual_seed(1)
    target = tmp_path / "m.onnx"
    artefact = edgeworthy.export(
        Standardised(), target, classes=list("abcd"), input_size=(3, 32, 32), mean=(0, 0, 0), std=(255,) * 3,
        exporter=exporter,
    )  # fmt: skip
    assert artefact.parity.verdict == "same"
    made = {name for one in onnx.load(target).graph.node for name in one.output}
    convolution = next(one for one in onnx.load(target).graph.node if one.op_type == "Conv")
    assert convolution.input[1] not in made
