"""What every conversion keeps, whatever the operators, and what is refused before it begins."""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeworthy.errors import UnconvertibleError
from edgeworthy.opset import ValueFacts, convert, convert_in_place, facts_of
from tests.opset.bench import (
    TARGETS,
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

X = random(2, 3, 4)
AXES = {"axes": np.array([1])}


def reducing(opset=18, **details):
    """A graph with a ReduceMean by an initialiser."""
    return graph(node("ReduceMean", ["x", "axes"]), {"x": X}, opset, constants=AXES, **details)


@pytest.mark.parametrize("opset", TARGETS)
def test_the_same_opset_gives_an_equal_copy(opset):
    model = graph(node("Relu", ["x"]), {"x": X}, opset)
    result = convert(model, opset)
    assert result == model
    assert result is not model


def test_the_same_file_gives_the_same_bytes():
    made = [node("Gelu", ["x"], ["g"]), node("LayerNormalization", ["g", "s"], ["n"]), node("Mish", ["n"])]
    model = graph(made, {"x": X}, 20, constants={"s": random(4)})
    known = inferred(model)
    first, second = (convert(copy.deepcopy(model), 12, known) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize("opset", [12, 17, 18])
def test_in_place_the_model_itself_becomes_what_its_copy_would(opset):
    model = reducing(18)
    expected = convert(model, opset) if opset < 18 else copy.deepcopy(model)
    convert_in_place(model, opset)
    assert model == expected


def test_all_but_the_nodes_and_the_opset_stays():
    model = reducing()
    model.doc_string, model.producer_name, model.graph.doc_string = "model", "me", "graph"
    model.metadata_props.add(key="key", value="value")
    model.graph.node[0].doc_string = "node"
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    result = convert(model, 17)
    assert result.graph.node[0].doc_string == "node"
    assert list(result.graph.node[0].input) == ["x"]
    del result.graph.node[:], model.graph.node[:]
    result.opset_import[0].version = 18
    assert result == model


def test_both_spellings_of_the_default_domain_are_converted():
    model = reducing()
    model.opset_import[0].domain = model.graph.node[0].domain = "ai.onnx"
    result = convert(model, 17)
    assert [(entry.domain, entry.version) for entry in result.opset_import] == [("ai.onnx", 17)]
    assert [entry.name for entry in result.graph.node[0].attribute] == ["axes"]


def test_nodes_of_other_domains_are_left_alone():
    model = reducing()
    model.graph.node.append(helper.make_node("ReduceMean", ["x", "axes"], ["z"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    assert convert(model, 17).graph.node[1] == model.graph.node[1]


def test_new_nodes_and_values_get_names_that_are_free():
    made = [node("Gelu", ["x"], ["y_mul"]), node("Gelu", ["y_mul"], ["y_mul_2"]), node("Gelu", ["y_mul_2"])]
    for number, each in enumerate(made):
        each.name = "gelu" if number else "gelu_mul"
    made[2].name = "gelu_mul_2"
    result = converted(graph(made, {"x": X}, 20), 17)
    names = [name for kept in result.graph.node for name in kept.output]
    assert len(set(names)) == len(names)
    assert len({kept.name for kept in result.graph.node}) == len(result.graph.node)


def test_no_native_code_of_onnx_sees_the_model(monkeypatch):
    model = reducing()

    def refuse(*_, **__):
        raise AssertionError("native code was called")

    for module, name in (
        (onnx.shape_inference, "infer_shapes"),
        (onnx.checker, "check_model"),
        (onnx.version_converter, "convert_version"),
    ):
        monkeypatch.setattr(module, name, refuse)
    assert convert(model, 12).opset_import[0].version == 12


# Constants, and who may change them


def test_an_initialiser_that_a_caller_may_replace_is_not_constant():
    model = reducing()
    model.graph.input.append(helper.make_tensor_value_info("axes", TensorProto.INT64, [1]))
    with pytest.raises(UnconvertibleError, match="axes are computed"):
        convert(model, 17)


def test_before_ir_version_4_every_initialiser_is_an_input_and_constant():
    model = reducing(ir_version=3)
    model.graph.input.append(helper.make_tensor_value_info("axes", TensorProto.INT64, [1]))
    result = convert(model, 17)
    assert result.ir_version == 3
    assert_equal(on_runtime(result, {"x": X}), [X.mean(1, keepdims=True)], 1e-6)


def test_a_file_of_ir_version_3_is_raised_without_initialisers_that_are_no_inputs():
    model = graph(node("Squeeze", ["x"], axes=[0]), {"x": X[:1]}, 7, ir_version=3)
    assert_same(model, {"x": X[:1]})


def test_a_constant_may_be_handed_on():
    made = [node("Identity", ["axes"], ["same"]), node("ReduceMean", ["x", "same"])]
    model = graph(made, {"x": X}, 18, constants=AXES, shape=(2, 1, 4))
    assert_same(model, {"x": X}, targets=(12,))


def test_a_constant_in_another_file_is_not_read():
    model = reducing()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(UnconvertibleError, match="axes are computed"):
        convert(model, 17)


def test_a_constant_whose_data_do_not_fit_its_shape_is_refused():
    model = reducing()
    model.graph.initializer[0].raw_data = b"123"
    with pytest.raises(UnconvertibleError, match="axes are computed"):
        convert(model, 17)


# Graphs inside graphs


def branches(opset, then_nodes, else_nodes):
    """A graph that reduces X in one way or another, by axes of the graph around."""
    outputs = [helper.make_tensor_value_info("r", TensorProto.FLOAT, [2, 1, 4])]
    inner = [
        helper.make_graph(nodes, name, [], outputs) for name, nodes in (("t", then_nodes), ("e", else_nodes))
    ]
    made = node("If", ["which"], then_branch=inner[0], else_branch=inner[1])
    feeds = {"x": X, "which": np.array(True)}
    return graph(made, feeds, opset, constants={"axes": np.array([1])})


@pytest.mark.parametrize("which", [True, False])
def test_branches_are_lowered_by_constants_of_the_graph_around(which):
    model = branches(
        18,
        [node("ReduceMean", ["x", "axes"], ["r"])],
        [node("Mish", ["x"], ["m"]), node("ReduceMax", ["m", "axes"], ["r"])],
    )
    assert_same(model, {"x": X, "which": np.array(which)}, tolerance=1e-6)


@pytest.mark.parametrize("which", [True, False])
def test_branches_are_raised(which):
    model = branches(
        11,
        [node("ReduceSum", ["x"], ["r"], axes=[1])],
        [node("Softmax", ["x"], ["s"], axis=1), node("ReduceSum", ["s"], ["r"], axes=[1])],
    )
    feeds = {"x": X, "which": np.array(which)}
    assert_same(model, feeds, tolerance=1e-6, reference_from=13, reference=False)


def test_the_body_of_a_loop_is_lowered():
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["goes_on"]),
            node("Gelu", ["state"], ["next"], approximate="tanh"),
            node("ReduceSum", ["next", "axes"], ["sum"], keepdims=0),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 3, 4]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 3, 4]),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [2, 4]),
        ],
    )
    constants = {**AXES, "times": np.array(3), "true": np.array(True)}
    made = node("Loop", ["times", "true", "x"], ["y", "sums"], body=body)
    outputs = {"y": TensorProto.FLOAT, "sums": TensorProto.FLOAT}
    model = graph(made, {"x": X}, 20, constants=constants, outputs=outputs)
    assert_same(model, {"x": X}, tolerance=1e-6)


def test_a_refusal_inside_a_branch_names_its_node():
    model = branches(
        18,
        [node("ReduceMean", ["x", "axes"], ["r"])],
        [node("BitwiseNot", ["x"], ["m"]), node("ReduceMax", ["m", "axes"], ["r"])],
    )
    with pytest.raises(
        UnconvertibleError, match=r"BitwiseNot \(node 'the_bitwisenot'\) cannot go from opset 18 to 17"
    ):
        convert(model, 12)


# What is refused


def test_a_nameless_node_is_named_by_what_it_makes():
    made = helper.make_node("DeformConv", ["x", "x", "x"], ["y"])
    model = graph([made], {"x": random(1, 1, 3, 3)}, 19)
    with pytest.raises(
        UnconvertibleError, match=r"DeformConv .the unnamed node that makes 'y'.*opset 19 to 18"
    ):
        convert(model, 12)


@pytest.mark.parametrize("target", [11, 18, -1])
def test_other_targets_are_refused(target):
    with pytest.raises(UnconvertibleError, match=rf"Opset {target} is no target. Ask for 12 to 17"):
        convert(reducing(19), target)


@pytest.mark.parametrize("opset", [1, 6, 999])
def test_other_sources_are_refused(opset):
    model = reducing()
    model.opset_import[0].version = opset
    with pytest.raises(UnconvertibleError, match=rf"Opset {opset} is not one of 7 to"):
        convert(model, 16)


def test_a_file_that_names_no_opset_or_two_is_refused():
    none, two = reducing(), reducing()
    del none.opset_import[:]
    two.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    for model in (none, two):
        with pytest.raises(UnconvertibleError, match="does not name one opset"):
            convert(model, 16)


def test_local_functions_are_refused():
    model = reducing()
    model.functions.add(name="f", domain="local")
    with pytest.raises(UnconvertibleError, match=r"local functions.*18 to 17.*Inline"):
        convert(model, 17)


def test_graphs_for_training_are_refused():
    model = reducing()
    model.training_info.add()
    with pytest.raises(UnconvertibleError, match="graphs for training"):
        convert(model, 17)


def test_an_operator_that_its_own_opset_does_not_know_is_refused():
    for operator, opset in (("Gelu", 16), ("Upsample", 11), ("Nonsense", 13)):
        model = graph(helper.make_node("Relu", ["x"], ["y"]), {"x": X}, opset)
        model.graph.node[0].op_type = operator
        with pytest.raises(UnconvertibleError, match=rf"{operator} .*: opset {opset} has no such operator"):
            convert(model, 12)


def test_what_the_older_operator_does_not_have_is_refused():
    cases = [
        (helper.make_node("Relu", ["x"], ["y"], extra=1), "there is no attribute 'extra'"),
        (helper.make_node("Relu", ["x", "x"], ["y"]), "2 inputs are not allowed"),
        (helper.make_node("Relu", ["x"], ["y", "z"]), "2 outputs are not allowed"),
        (helper.make_node("Add", ["x", ""], ["y"]), "'B' is required"),
        (helper.make_node("Concat", ["x"], ["y"]), "the attribute 'axis' is missing"),
    ]
    for made, why in cases:
        model = helper.make_model(
            helper.make_graph([made], "g", [], []), opset_imports=[helper.make_opsetid("", 13)]
        )
        with pytest.raises(UnconvertibleError, match=why):
            convert(model, 12)


def test_what_is_not_valid_to_begin_with_is_refused():
    cases = [
        (helper.make_node("ReduceMean", ["x"], ["y"], keepdims=1.5), "'keepdims' has another type"),
        (helper.make_node("Split", ["x", "x", "x"], ["y"]), "3 inputs are not allowed"),
        (helper.make_node("GroupNormalization", ["x", "", "x"], ["y"], num_groups=1), "'scale' is required"),
    ]
    for made, why in cases:
        model = helper.make_model(
            helper.make_graph([made], "g", [], []), opset_imports=[helper.make_opsetid("", 18)]
        )
        with pytest.raises(UnconvertibleError, match=rf"18 to 17: it is not valid as it is: .*{why}"):
            convert(model, 12)


def test_what_does_not_fit_together_is_refused():
    constants = {"pads": np.array([1, 1]), "axes": np.array([0])}
    empty = graph(node("Pad", ["x", "pads", "", "axes"], mode="wrap"), {"x": X[:0]}, 19, constants=constants)
    scales = {"scales": np.float32([2, 2, 2])}
    long = graph(node("Resize", ["x", "", "scales"]), {"x": X}, 18, constants=scales)
    long.graph.node[0].attribute.add(name="axes", type=onnx.AttributeProto.INTS, ints=[1, 2])
    for model in (empty, long):
        with pytest.raises(UnconvertibleError, match="do not fit each other"):
            convert(model, 17)


def test_a_constant_out_of_all_proportion_is_refused():
    model = graph(node("Trilu", ["x"]), {"x": X}, 14)
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 2**40
    with pytest.raises(UnconvertibleError, match=f"a constant of {2**40} x {2**40} elements"):
        convert(model, 13)


def test_types_that_would_have_to_be_one_are_refused():
    statistic = np.float32([1])
    made = node("BatchNormalization", ["x", "s", "s", "s", "s"])
    model = helper.make_model(
        helper.make_graph(
            [made], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 1])],
            [numpy_helper.from_array(statistic, "s")],
        ),
        opset_imports=[helper.make_opsetid("", 15)],
    )  # fmt: skip
    with pytest.raises(UnconvertibleError, match=r"15 to 14.*would have to be one type"):
        convert(model, 12)


# What is known of values


def test_what_a_model_states_of_its_values():
    made = [
        node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([1, 2], dtype=np.int32))),
        node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        node("ConstantOfShape", ["c"], ["zeros"]),
        node("ReduceMean", ["x", "axes"]),
    ]
    model = graph(made, {"x": X}, 18, constants=AXES)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    known = facts_of(model)
    assert known["x"] == ValueFacts(dtype=TensorProto.FLOAT, shape=(None, 3, 4))
    assert known["axes"] == ValueFacts(dtype=TensorProto.INT64, shape=(1,))
    assert known["c"] == ValueFacts(dtype=TensorProto.INT32, shape=(2,))
    assert known["wide"] == ValueFacts(dtype=TensorProto.DOUBLE, shape=None)
    assert known["zeros"] == ValueFacts(dtype=TensorProto.FLOAT, shape=None)


def test_a_name_of_two_meanings_is_left_out():
    model = branches(18, [node("Relu", ["x"], ["r"])], [node("Relu", ["x"], ["r"])])
    attribute = next(entry for entry in model.graph.node[0].attribute if entry.name == "else_branch")
    attribute.g.output[0].type.tensor_type.shape.dim[0].dim_value = 5
    assert "r" not in facts_of(model)
    assert "x" in facts_of(model)


def test_facts_from_outside_make_a_conversion_possible():
    made = [node("Relu", ["x"], ["between"]), node("Gelu", ["between"], approximate="tanh")]
    model = graph(made, {"x": X}, 20)
    with pytest.raises(UnconvertibleError, match="type of 'between' is not known"):
        convert(model, 17)
    result = convert(model, 17, {"between": ValueFacts(dtype=TensorProto.FLOAT, shape=None)})
    assert_equal(on_reference(result, {"x": X}), on_reference(model, {"x": X}), 1e-6)
