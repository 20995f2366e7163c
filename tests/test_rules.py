"""Every rule finds the defect that is planted for it, and says nothing of good files."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeworthy import linter
from edgeworthy.contract import INPUT_NAME, MASK_INPUT, MAX_FILE_BYTES, NMS_INPUT, Normalization, output_name
from edgeworthy.errors import OptionError
from edgeworthy.evidence import PREFIX
from edgeworthy.examination import Examination
from edgeworthy.frames import Frame
from edgeworthy.labels import ClassNames
from edgeworthy.rules import RULES, TARGETS
from edgeworthy.rules import base as rules_base
from edgeworthy.rules.base import FAMILIES, MENDINGS, Rule
from edgeworthy.rules.rows import ROWS, SOURCES, explained, sources_of
from edgeworthy.sandbox import Outcome
from tests.factory import IMAGENET, classifier_file


def report(path, sandbox, **options):
    return linter.check(path, examination=Examination(path, sandbox), **options)


def rename(model, old, new):
    """Rename a value wherever it stands."""
    for values in (model.graph.input, model.graph.output):
        for value in values:
            value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def input_named(name):
    return lambda model: rename(model, model.graph.input[0].name, name)


def output_named(name):
    return lambda model: rename(model, model.graph.output[0].name, name)


def classes_named(*names):
    return output_named("scores-" + ";".join(f"{i}:{name}" for i, name in enumerate(names)))


def documented(text):
    def edit(model):
        model.graph.doc_string = text

    return edit


def normalised(means, stds):
    return documented(json.dumps({"means": means, "vars": stds}))


def opset(version):
    def edit(model):
        model.opset_import[0].version = version

    return edit


def ir(version):
    def edit(model):
        model.ir_version = version

    return edit


def shaped(*dims):
    def edit(model):
        shape = model.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for dim in dims:
            entry = shape.dim.add()
            if isinstance(dim, str):
                entry.dim_param = dim
            else:
                entry.dim_value = dim

    return edit


def recorded(**entries):
    def edit(model):
        for key, value in entries.items():
            model.metadata_props.add(key=PREFIX + key, value=value)

    return edit


def both(*edits):
    def edit(model):
        for one in edits:
            one(model)

    return edit


def no_opset(model):
    del model.opset_import[:]


def custom_operator(model):
    model.graph.node[-1].domain = "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)


def erf(model):
    model.graph.node.insert(0, helper.make_node("Erf", [model.graph.input[0].name], ["erf"]))
    model.graph.node[1].input[0] = "erf"


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def bad_attribute(model):
    model.graph.node[0].attribute.append(helper.make_attribute("colour", 1))


def second_input(name, dtype=TensorProto.FLOAT, shape=(1,)):
    def edit(model):
        model.graph.input.append(helper.make_tensor_value_info(name, dtype, shape))

    return edit


def float16_border(model):
    name = model.graph.input[0].name
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.node.insert(0, helper.make_node("Cast", [name], ["wide"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "wide"


def float16_scores(model):
    out = model.graph.output[0]
    model.graph.node[-1].output[0] = "wide"
    model.graph.node.append(helper.make_node("Cast", ["wide"], [out.name], to=TensorProto.FLOAT16))
    out.type.tensor_type.elem_type = TensorProto.FLOAT16


def symbolic_scores(model):
    dim = model.graph.output[0].type.tensor_type.shape.dim[0]
    dim.Clear()
    dim.dim_param = "batch"


def unread_output(model):
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, None))


def alarm_of_floats(model):
    model.graph.output.append(helper.make_tensor_value_info("alarm-0:cat", TensorProto.FLOAT, [1, 3]))
    model.graph.node.append(helper.make_node("Identity", [model.graph.output[0].name], ["alarm-0:cat"]))


def alarm_first(model):
    """A further output that the platform parses, before the scores."""
    scores = model.graph.output[0]
    model.graph.initializer.append(numpy_helper.from_array(np.float32([0.5]), "threshold"))
    model.graph.node.append(helper.make_node("Greater", [scores.name, "threshold"], ["alarm-0:cat"]))
    model.graph.output.insert(0, helper.make_tensor_value_info("alarm-0:cat", TensorProto.BOOL, [1, 3]))


def optional_first(model):
    picture = model.graph.input[0]
    model.graph.input.insert(0, helper.make_tensor_value_info(NMS_INPUT, TensorProto.FLOAT, (1,)))
    assert model.graph.input[1].name == picture.name


def scaled(factor):
    """Scores times a factor, or not a number with it."""

    def edit(model):
        name = model.graph.output[0].name
        model.graph.node[-1].output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.float32([factor]), "factor"))
        model.graph.node.append(helper.make_node("Mul", ["before", "factor"], [name]))

    return edit


def second_softmax(model):
    name = model.graph.output[0].name
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Softmax", ["before"], [name], axis=1))


def model_doc_string(model):
    model.doc_string, model.graph.doc_string = model.graph.doc_string, ""


def transposed_evidence(height, width):
    return recorded(frame=Frame.stretch(height, width).to_json())


def weights_listed(model):
    """As exporters did before IR version 4."""
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(value)


def counted_pixels(model):
    """A node whose output is as long as its input has values."""
    model.graph.node.insert(0, helper.make_node("NonZero", [model.graph.input[0].name], ["places"]))


SIX = ("cat", "dog", "horse", "cow", "bird", "fish")
OTHER = Normalization(mean=(1, 2, 3), std=(4, 5, 6))

# code, what plants it, and what else such a file cannot but break
PLANTED = [
    ("EW101", {"edit": opset(18)}, set()),
    ("EW102", {"edit": opset(17)}, set()),
    ("EW103", {"edit": ir(11)}, {"EW110", "EW111", "EW112"}),  # older libraries refuse it
    ("EW104", {"edit": ir(9)}, set()),
    ("EW105", {"edit": ir(6)}, set()),
    ("EW106", {"edit": custom_operator}, {"EW110", "EW111", "EW112"}),
    ("EW107", {"edit": erf}, set()),
    ("EW108", {"edit": external}, {"EW110", "EW111", "EW112"}),
    ("EW110", {"edit": bad_attribute}, {"EW111", "EW112"}),
    ("EW112", {"edit": bad_attribute}, {"EW110", "EW111"}),
    ("EW113", {"edit": opset(11)}, {"EW110", "EW111", "EW112"}),
    ("EW114", {"edit": no_opset}, {"EW110", "EW111", "EW112"}),
    ("EW201", {"edit": second_input("other")}, set()),
    ("EW202", {"edit": input_named("pixels")}, set()),
    ("EW203", {"edit": input_named("image")}, set()),
    ("EW204", {"edit": float16_border}, set()),
    ("EW205", {"edit": shaped(3, 12, 16)}, {"EW110", "EW111", "EW112"}),
    ("EW206", {"edit": shaped(1, 4, 12, 16)}, {"EW110", "EW111", "EW112"}),
    ("EW207", {"edit": shaped(1, 3, "height", 16)}, set()),
    ("EW208", {"edit": shaped("batch", 3, 12, 16)}, set()),
    ("EW209", {"width": 3}, set()),
    ("EW210", {"edit": transposed_evidence(16, 12)}, set()),
    ("EW211", {"edit": second_input(NMS_INPUT, TensorProto.FLOAT, (2, 2))}, set()),
    ("EW212", {"edit": weights_listed}, set()),
    ("EW301", {"edit": output_named("output")}, set()),
    ("EW302", {"edit": classes_named("cat;dog", "horse", "cow")}, set()),
    ("EW303", {"edit": output_named("scores-1:cat;2:dog;3:horse")}, set()),
    ("EW304", {"edit": classes_named("cat", "dog")}, set()),
    ("EW305", {"edit": classes_named("cat: tabby", "dog", "horse")}, set()),
    ("EW306", {"edit": classes_named("crane", "crane", "horse")}, set()),
    ("EW307", {"edit": classes_named("cat", "", "horse")}, set()),
    ("EW308", {"names": ("carpenter's kit", "dog", "horse")}, set()),
    ("EW309", {"names": ("Cardigan", "cardigan", "horse")}, set()),
    ("EW310", {"edit": classes_named("c" * 1025, "dog", "horse")}, set()),
    ("EW311", {"edit": float16_scores}, set()),
    ("EW312", {"edit": symbolic_scores}, set()),
    ("EW313", {"edit": alarm_of_floats}, {"EW110", "EW111", "EW112"}),
    ("EW314", {"edit": unread_output}, {"EW110", "EW111"}),
    ("EW315", {"edit": classes_named("cat\n", "dog", "horse")}, set()),
    ("EW401", {"normalization": None}, set()),
    ("EW402", {"edit": documented("a picture of a cat")}, set()),
    ("EW403", {"edit": normalised([1, 2], [1, 2])}, set()),
    ("EW404", {"edit": normalised([1, 2, 3], [1, 0, 3])}, set()),
    ("EW405", {"edit": normalised([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}, set()),
    ("EW406", {"edit": model_doc_string}, {"EW401"}),
    (
        "EW407",
        {"edit": recorded(normalization=OTHER.to_doc_string(), normalization_in="file")},
        set(),
    ),
    ("EW501", {"activation": ""}, set()),
    ("EW502", {"activation": "Sigmoid"}, set()),
    ("EW503", {"edit": scaled(np.nan)}, set()),
    ("EW504", {"edit": second_softmax, "names": SIX}, set()),
    ("EW505", {"edit": scaled(0)}, {"EW502"}),
    ("EW601", {"edit": ir(9)}, {"EW104"}),
    ("EW602", {"edit": second_input(NMS_INPUT)}, set()),
    ("EW603", {"edit": classes_named('24" screen', "dog", "horse")}, set()),
    ("EW604", {"edit": counted_pixels}, set()),
    ("EW605", {"edit": erf}, {"EW107"}),
    ("EW606", {"edit": recorded(parity='{"tolerance": 1e-05}')}, set()),
]

BY_CODE = {rule.code: rule for rule in RULES}


@pytest.mark.parametrize(("code", "details", "also"), PLANTED, ids=[case[0] for case in PLANTED])
def test_a_planted_defect_is_found_and_nothing_else(tmp_path, sandbox, code, details, also):
    targets = BY_CODE[code].targets
    found = report(classifier_file(tmp_path / "m.onnx", **details), sandbox, targets=targets)
    codes = {finding.code for finding in found.findings}
    assert code in codes
    assert codes - also == {code}
    finding = next(finding for finding in found.findings if finding.code == code)
    assert finding.message.endswith((".", "?", '"')) or code in {"EW110", "EW112"}
    assert finding.why


class Answering:
    """A sandbox that says what a broken simplifier or crashing runtime would."""

    def __init__(self, sandbox, **outcomes):
        self._sandbox, self._outcomes = sandbox, outcomes

    def submit(self, name, *args, **limits):
        from concurrent.futures import Future

        function = name.partition(":")[2]
        if function not in self._outcomes:
            return self._sandbox.submit(name, *args, **limits)
        future = Future()
        future.set_result(self._outcomes[function])
        return future


CRASH = Outcome(status="crashed", message="the process was ended by signal 11")


@pytest.mark.parametrize(
    ("code", "function", "outcome", "message"),
    [
        ("EW110", "check_model", CRASH, "signal 11"),
        ("EW111", "survives_simplifying", CRASH, "signal 11"),
        (
            "EW111",
            "survives_simplifying",
            Outcome(status="done", value={"change": "its results differ", "uncompared": ""}),
            "differ",
        ),
        ("EW112", "probe_scores", CRASH, "signal 11"),
        ("EW112", "probe_scores", Outcome(status="timeout", message="no answer within 9 s"), "no answer"),
    ],
)
def test_a_native_crash_is_a_finding(tmp_path, sandbox, code, function, outcome, message):
    answering = Answering(sandbox, **{function: outcome})
    found = report(classifier_file(tmp_path / "m.onnx"), answering)
    assert [finding.code for finding in found.findings] == [code]
    assert message in found.findings[0].message


def test_a_file_beyond_2_gib_is_found_without_reading_it(tmp_path, sandbox):
    path = tmp_path / "m.onnx"
    with path.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)  # takes no room
    found = report(path, sandbox)
    assert [finding.code for finding in found.findings] == ["EW109"]
    assert len(found.skipped) == sum(not rule.targets for rule in RULES) - 1
    assert not found.passed


def test_every_rule_has_a_planted_defect():
    elsewhere = {"EW109", "EW111"}  # in the two tests above
    assert {rule.code for rule in RULES} == {code for code, _, _ in PLANTED} | elsewhere


def constant_nodes(model):
    """Weights as Constant nodes, as some converters write them."""
    nodes = [
        helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer
    ]
    del model.graph.initializer[:]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def typed_fields(model):
    """Weights in float_data instead of raw bytes."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(
            helper.make_tensor(tensor.name, TensorProto.FLOAT, values.shape, values.flatten().tolist())
        )


def half_weights(model):
    """float16 within, float32 at the borders."""
    for tensor in [*model.graph.initializer]:
        half = numpy_helper.from_array(
            numpy_helper.to_array(tensor).astype(np.float16), tensor.name + "_half"
        )
        model.graph.initializer.append(half)
        model.graph.node.insert(0, helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
        model.graph.initializer.remove(tensor)


def spelled_softmax(model):
    """Softmax by its parts, as exporters for older runtimes write it."""
    name = model.graph.output[0].name
    del model.graph.node[-1]
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["logits"], ["top"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["logits", "top"], ["below"]),
            helper.make_node("Exp", ["below"], ["raised"]),
            helper.make_node("ReduceSum", ["raised", "one"], ["whole"], keepdims=1),
            helper.make_node("Div", ["raised", "whole"], [name]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.int64([1]), "one"))


def computed_shape(model):
    """Flatten spelled as Shape, Gather, Concat and Reshape: dynamic within, as TorchScript writes `view`."""
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Flatten")
    del model.graph.node[place]
    nodes = [
        helper.make_node("Shape", ["pooled"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["pooled", "flat"], ["features"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    for name, values in {"first": [0], "rest": [-1]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.int64(values), name))


def annotated(model):
    """Shapes of values within, a producer, and an import that no node uses."""
    model.graph.value_info.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]))
    model.producer_name, model.producer_version, model.domain = "pytorch", "2.13.0", "org.example"
    model.opset_import.add(domain="ai.onnx.ml", version=3)


def as_converted_from_keras(model):
    """Channels last throughout: no Transpose, a mean over the sides, a matrix product and an addition."""
    name = model.graph.output[0].name
    shape = model.graph.input[0].type.tensor_type.shape
    for dim, size in zip(shape.dim, (1, 12, 16, 3), strict=True):
        dim.dim_value = size
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", [INPUT_NAME], ["features"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["features", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [name], axis=-1),
        ]
    )


IN_GRAPH = {"normalization": IMAGENET.to_doc_string(), "normalization_in": "graph"}
IN_FILE = IN_GRAPH | {"normalization_in": "file"}

GOOD = {
    "plain": {},
    "opset 12": {"opset": 12, "ir_version": 7},
    "opset 13": {"opset": 13, "ir_version": 7},
    "opset 14": {"opset": 14, "ir_version": 7},
    "opset 15": {"opset": 15},
    "IR 7": {"ir_version": 7},
    "weights as Constant nodes": {"edit": constant_nodes},
    "weights in typed fields": {"edit": typed_fields},
    "half within": {"edit": half_weights},
    "softmax by its parts": {"edit": spelled_softmax},
    "computed shape": {"edit": computed_shape},
    "annotated": {"edit": annotated},
    "converted from Keras": {"edit": as_converted_from_keras},
    "nhwc": {"layout": "nhwc"},
    "grayscale": {"channels": 1, "normalization": Normalization(mean=(127.5,), std=(127.5,))},
    "two classes": {"names": ("no", "yes")},
    "commas and unicode": {"names": ("tench, Tinca tinca", "Bär", "猫")},
    "markup": {"names": ("</script><b>", "dog & cat", '"quoted"')},
    "long output name": {"names": tuple(f"class number {i} with a rather long name" for i in range(1000))},
    "sensitivity": {"edit": second_input(NMS_INPUT)},
    "sensitivity first": {"edit": optional_first},
    "alarm first": {"edit": alarm_first},
    "mask": {"edit": second_input(MASK_INPUT, TensorProto.BOOL, (12, 16))},
    "normalised inside": {"edit": both(normalised([0, 0, 0], [1, 1, 1]), recorded(**IN_GRAPH))},
    "its evidence": {
        "edit": both(
            transposed_evidence(12, 16),
            recorded(normalization=IMAGENET.to_doc_string(), normalization_in="file", activation="softmax"),
        )
    },
    "declared sigmoids": {"activation": "Sigmoid", "edit": recorded(activation="sigmoid")},
    "others' metadata": {"edit": lambda model: model.metadata_props.add(key="author", value="me")},
}


@pytest.mark.parametrize("details", GOOD.values(), ids=GOOD.keys())
def test_good_files_have_no_findings(tmp_path, sandbox, details):
    found = report(classifier_file(tmp_path / "m.onnx", **details), sandbox)
    assert found.findings == ()
    assert {skipped.code for skipped in found.skipped} <= {"EW210", "EW407", "EW502", "EW504"}


def test_advice_has_nothing_to_say_of_a_plain_file(tmp_path, sandbox):
    found = report(classifier_file(tmp_path / "m.onnx"), sandbox, targets=TARGETS)
    assert found.findings == ()
    assert {"EW601", "EW602", "EW603", "EW604", "EW605"} <= set(found.passed)


@pytest.mark.parametrize(("edit", "code"), [
    (shaped(1, 3, -1, 16), "EW207"),
    (shaped(1, 3, 0, 16), "EW207"),
    (shaped(0, 3, 12, 16), "EW208"),
    (second_input(NMS_INPUT, TensorProto.FLOAT, (5,)), "EW211"),
    (second_input(MASK_INPUT, TensorProto.BOOL, (3, 3)), "EW211"),
    (normalised([0.5, 0.5, 0.5], [1, 1, 1]), "EW405"),
    (normalised([10**400, 0, 0], [1, 1, 1]), "EW402"),
    (both(documented(""), recorded(**IN_FILE)), "EW407"),
    (both(documented(""), recorded(**IN_GRAPH)), "EW407"),
])  # fmt: skip
def test_further_forms_of_a_defect(tmp_path, sandbox, edit, code):
    found = report(classifier_file(tmp_path / "m.onnx", edit=edit), sandbox)
    assert code in {finding.code for finding in found.findings}


def test_a_file_that_was_not_run_does_not_pass_as_run(tmp_path, sandbox):
    found = report(classifier_file(tmp_path / "m.onnx", edit=shaped(1, 3, "height", 16)), sandbox)
    assert not {"EW111", "EW112", "EW501"} & set(found.passed)


def test_a_confident_model_does_not_ignore_its_picture(tmp_path, sandbox):
    """Its four answers differ, though each is nearly certain."""

    def confident(model):
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
        values = np.float32([[9, -9, 0], [9, -9, 0], [9, -9, 0]])
        weight.CopyFrom(numpy_helper.from_array(values, "weight"))

    assert report(classifier_file(tmp_path / "m.onnx", edit=confident), sandbox).findings == ()


def test_weights_among_the_inputs_are_told_once_and_not_taken_for_pictures(tmp_path, sandbox):
    found = report(classifier_file(tmp_path / "m.onnx", edit=weights_listed), sandbox)
    assert [finding.code for finding in found.findings] == ["EW212"]
    assert "2 of the inputs" in found.findings[0].message


def test_weights_that_have_to_be_inputs_are_no_defect(tmp_path, sandbox):
    """Below IR version 4 the checker refuses a file that does not list them."""
    found = report(classifier_file(tmp_path / "m.onnx", edit=both(ir(3), weights_listed)), sandbox)
    assert "EW212" in {skipped.code for skipped in found.skipped}


def test_the_pictures_without_finite_scores_are_named(tmp_path, sandbox):
    """A logarithm has no value for the two darkest of the pictures."""

    def logarithm(model):
        model.graph.initializer.append(numpy_helper.from_array(np.float32([10]), "ten"))
        place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "Flatten")
        model.graph.node[place].input[0] = "logged"
        model.graph.node.insert(place, helper.make_node("Log", ["less"], ["logged"]))
        model.graph.node.insert(place, helper.make_node("Sub", ["pooled", "ten"], ["less"]))

    plain = Normalization(mean=(1, 1, 1), std=(1, 1, 1))
    path = classifier_file(tmp_path / "m.onnx", edit=logarithm, normalization=plain)
    found = report(path, sandbox, select=["EW5"])
    assert [finding.message for finding in found.findings] == [
        "Scores are NaN or infinite for black, faint noise."
    ]
    assert {skipped.code for skipped in found.skipped} == {"EW501", "EW502", "EW504", "EW505"}


def test_advice_is_given_for_the_target_that_is_asked_for_and_no_other(tmp_path, sandbox):
    path = classifier_file(tmp_path / "m.onnx", edit=ir(9))
    told = {
        target: [finding.message for finding in report(path, sandbox, targets=[target]).of("info")]
        for target in TARGETS
    }
    assert [target for target, messages in told.items() if messages] == ["hailo", "nvidia"]
    assert "1.11" in told["hailo"][0]
    without = report(path, sandbox)
    listed = {*without.passed, *(entry.code for entry in (*without.findings, *without.skipped))}
    assert listed == {rule.code for rule in RULES if not rule.targets}


def test_a_runtime_that_ends_later_takes_what_an_older_one_refuses(tmp_path, sandbox):
    path = classifier_file(tmp_path / "m.onnx", edit=ir(10))
    found = report(path, sandbox, targets=["cpu", "Qualcomm", "hailo"], select=["EW601"])
    assert len(found.findings) == 3
    fine = report(classifier_file(tmp_path / "m.onnx"), sandbox, targets=["cpu"], select=["EW601"])
    assert fine.passed == ("EW601",)


@pytest.mark.parametrize("select", [["EW6"], ["EW3", "ew603"]])
def test_advice_without_a_target_is_explained(tmp_path, select):
    with pytest.raises(OptionError, match=select[-1].upper()) as caught:
        linter.check(tmp_path / "absent.onnx", select=select)
    assert "--target" in caught.value.hint
    assert "memryx" in caught.value.hint


def test_a_target_of_which_nothing_is_known_is_refused(tmp_path):
    with pytest.raises(OptionError, match="deepx") as caught:
        linter.check(tmp_path / "absent.onnx", targets=["deepx"])
    assert "hailo" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"tolerance": "much"}', '{"tolerance": null}', "[]"])
def test_a_proof_that_cannot_be_read_is_no_proof(tmp_path, sandbox, text):
    path = classifier_file(tmp_path / "m.onnx", edit=recorded(parity=text))
    found = report(path, sandbox, targets=["intel"], select=["EW606"])
    assert [skipped.reason for skipped in found.skipped] == ["the file carries no proof"]


class Listening:
    """A sandbox that writes down what it is asked."""

    def __init__(self, sandbox):
        self._sandbox, self.asked = sandbox, []

    def submit(self, name, *args, **limits):
        self.asked.append(name.partition(":")[2])
        return self._sandbox.submit(name, *args, **limits)


def test_a_static_check_neither_runs_nor_simplifies(tmp_path, sandbox):
    listening = Listening(sandbox)
    found = report(classifier_file(tmp_path / "m.onnx", activation=""), listening, static=True)
    assert set(listening.asked) == {"get_ready", "check_model"}
    left_out = {skipped.code for skipped in found.skipped if skipped.reason == "--static"}
    assert left_out == {"EW111", "EW112", "EW501", "EW502", "EW503", "EW504", "EW505"}
    assert "EW110" in found.passed
    assert found.findings == ()


def test_rules_that_need_no_native_code_start_none(tmp_path, sandbox):
    listening = Listening(sandbox)
    report(classifier_file(tmp_path / "m.onnx"), listening, select=["EW3"])
    report(classifier_file(tmp_path / "m.onnx"), listening, ignore=["EW1", "EW5"])
    assert listening.asked == []


def test_operators_in_branches_are_seen(tmp_path, sandbox):
    def branch(model):
        name = model.graph.output[0].name
        shape = (1, 3)

        def body(operator):
            out = helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, shape)
            node = helper.make_node(operator, ["before"], [out.name])
            return helper.make_graph([node], operator, [], [out])

        model.graph.node[-1].output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
        model.graph.node.append(
            helper.make_node(
                "If", ["condition"], [name], then_branch=body("Identity"), else_branch=body("Erf")
            )
        )

    found = report(classifier_file(tmp_path / "m.onnx", edit=branch), sandbox)
    assert [finding.code for finding in found.findings] == ["EW107"]


def test_rules_are_ordered_unique_and_explained():
    codes = [rule.code for rule in RULES]
    names = [rule.name for rule in RULES]
    assert codes == sorted(codes)
    assert len(set(codes)) == len(codes)
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert isinstance(rule, Rule)
        assert rule.family in FAMILIES.values()
        for sentence in (rule.title, rule.why, rule.example):
            assert sentence.endswith("."), rule.code
            assert "Example:" not in sentence
        assert rule.rows
        assert rule.sources
        assert rule.mending in MENDINGS


def test_advice_names_a_source_of_its_own_and_the_other_rules_their_rows():
    for rule in RULES:
        of_the_rows = sources_of(rule.rows)
        assert rule.sources[: len(of_the_rows)] == of_the_rows
        assert bool(rule.targets) == (len(rule.sources) > len(of_the_rows)) == (rule.code[:3] == "EW6")
        assert rule.severity == "info" or not rule.targets


def test_the_docs_say_the_same_of_each_rows_source():
    text = (Path(__file__).parents[1] / "docs" / "contract.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    assert {int(number): tuple(source.split(", ")) for number, source in rows} == ROWS
    for tag in SOURCES:
        assert f"**{tag}**" in text or tag.islower(), tag


def test_a_sources_tag_is_explained_and_an_address_left_alone():
    assert explained("DOC normalization").startswith("DOC normalization (other pages of")
    assert explained("https://example.org/") == "https://example.org/"
    assert all(explained(tag) != tag for tags in ROWS.values() for tag in tags)


def test_a_rule_without_an_example_has_none():
    @rules_base.rule("EW999", "nothing", "info", 1, mending="no")
    def nothing(subject):
        """A title.

        The first paragraph
        of two.

        The second.
        """
        yield "", ""

    assert (nothing.title, nothing.why, nothing.example) == (
        "A title.",
        "The first paragraph of two. The second.",
        "",
    )


def test_class_names_of_the_factory_are_what_the_contract_writes():
    assert output_name(ClassNames(("Cat", "Dog", "Horse"))) == "scores-0:Cat;1:Dog;2:Horse"


def test_a_file_with_external_data_is_not_followed_outside_its_folder(tmp_path, sandbox):
    """The checker's own guard: a path that leads away is a finding, and nothing is read."""

    def away(model):
        external(model)
        model.graph.initializer[0].external_data[0].value = "../../etc/passwd"

    codes = {f.code for f in report(classifier_file(tmp_path / "m.onnx", edit=away), sandbox).findings}
    assert {"EW108", "EW110"} <= codes


def test_the_file_is_left_as_it_was(tmp_path, sandbox):
    path = classifier_file(tmp_path / "m.onnx")
    before = path.read_bytes()
    report(path, sandbox)
    assert path.read_bytes() == before
    assert onnx.load(path).graph.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]
