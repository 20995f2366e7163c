"""Every repair makes its defect conform, keeps what the file predicts, and leaves everything else alone."""

import functools
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeworthy import errors, linter, repairer
from edgeworthy.contract import INPUT_NAME, Normalization, output_name
from edgeworthy.evidence import PREFIX
from edgeworthy.frames import Frame
from edgeworthy.labels import ClassNames
from edgeworthy.repairs import REPAIRS
from edgeworthy.repairs.base import repair as make_repair
from edgeworthy.rules import RULES
from edgeworthy.runtime import Session
from tests.factory import classifier, classifier_file
from tests.test_rules import (
    alarm_first,
    both,
    classes_named,
    documented,
    input_named,
    ir,
    model_doc_string,
    output_named,
    recorded,
    rename,
    second_softmax,
    shaped,
    symbolic_scores,
)


@pytest.fixture
def mend(sandbox):
    """`repair` in the tests' common child process."""
    return functools.partial(repairer.repair, sandbox=sandbox)


NAMES = ["cat", "dog", "horse"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def weights_listed(model):
    """As exporters of IR version 3 did."""
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def whole_pixels(dtype):
    """A model that takes whole numbers and brings them to -1..1 by itself."""

    def edit(model):
        name = model.graph.input[0].name
        model.graph.input[0].type.tensor_type.elem_type = dtype
        for constant, value in (("half", 127.5), ("scale", 127.5)):
            model.graph.initializer.append(numpy_helper.from_array(np.float32(value), constant))
        first = [
            helper.make_node("Cast", [name], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["wide", "half"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["unit"]),
        ]
        model.graph.node[0].input[0] = "unit"
        for node in reversed(first):
            model.graph.node.insert(0, node)
        model.graph.doc_string = ""

    return edit


def half_precision(model):
    """Every weight, the input and the output in float16."""
    for tensor in model.graph.initializer:
        halved = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


def output_shaped(*dims):
    """The scores reshaped, as a convolution at the end leaves them."""

    def edit(model):
        name = model.graph.output[0].name
        model.graph.node[-1].output[0] = "row"
        model.graph.initializer.append(numpy_helper.from_array(np.array(dims, np.int64), "dims"))
        model.graph.node.append(helper.make_node("Reshape", ["row", "dims"], [name]))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    return edit


def features_first(model):
    """A second output, before the scores."""
    model.graph.output.insert(0, helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 3]))


def boxes_too(model):
    """An output of rank 3, which cannot be scores."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 3], np.int64), "box"))
    model.graph.node.append(helper.make_node("Concat", ["features"] * 3, ["wide"], axis=0))
    model.graph.node.append(helper.make_node("Unsqueeze", ["wide", "front"], ["boxes"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "front"))
    model.graph.output.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 3, 3]))


def flattened(model):
    """A head that takes all pixels: the graph runs on one size only."""
    picture = model.graph.input[0].type.tensor_type.shape.dim
    size = int(np.prod([dim.dim_value for dim in picture]))
    weight = np.random.default_rng(3).normal(0, 0.05, (size, 3)).astype(np.float32)
    del model.graph.node[0]
    model.graph.node[0].input[0] = model.graph.input[0].name
    for tensor in model.graph.initializer:
        if tensor.name == "weight":
            tensor.CopyFrom(numpy_helper.from_array(weight, "weight"))


def batch_of(size):
    """Made for a fixed batch, with a Reshape that says so."""

    def edit(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = size
        model.graph.initializer.append(numpy_helper.from_array(np.array([size, 3], np.int64), "rows"))
        flat = next(node for node in model.graph.node if node.op_type == "Flatten")
        flat.CopyFrom(helper.make_node("Reshape", ["pooled", "rows"], ["features"]))

    return edit


def convolution_first(model):
    weight = np.random.default_rng(5).normal(0, 1, (3, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "kernel"))
    name = model.graph.input[0].name
    model.graph.node.insert(0, helper.make_node("Conv", [name, "kernel"], ["convolved"]))
    model.graph.node[1].input[0] = "convolved"


def external_weights(folder):
    def edit(model):
        tensor = model.graph.initializer[0]
        (folder / "weights.bin").write_bytes(b"\0" * 16 + tensor.raw_data)
        entries = {"location": "weights.bin", "offset": "16", "length": str(len(tensor.raw_data))}
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)

    return edit


def own_function(model):
    """The activation as a function that the model defines itself."""
    last = model.graph.node[-1]
    body = [helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    function = helper.make_function("own", "Activate", ["x"], ["y"], body, [helper.make_opsetid("", 16)])
    model.functions.append(function)
    model.opset_import.add(domain="own", version=1)
    last.CopyFrom(helper.make_node("Activate", list(last.input), list(last.output), domain="own"))


def classic_head(*, strings=True):
    """The head of a scikit-learn pipeline, as its converter writes it."""
    names, numbers = ["horse", "cat", "dog"], [7, 8, 9]
    mapped = {"classlabels_strings": names} if strings else {"classlabels_int64s": numbers}
    chosen = {"classlabels_strings": names} if strings else {"classlabels_ints": numbers}
    dtype = TensorProto.STRING if strings else TensorProto.INT64

    def edit(model):
        graph, domain = model.graph, {"domain": "ai.onnx.ml"}
        weight, bias = (numpy_helper.to_array(tensor) for tensor in graph.initializer)
        del graph.initializer[:], graph.output[:], graph.node[-2:]
        rows = {"coefficients": weight.T.ravel().tolist(), "intercepts": bias.tolist()}
        linear = {"post_transform": "SOFTMAX", "multi_class": 1, **rows, **chosen, **domain}
        graph.node.append(helper.make_node("LinearClassifier", ["features"], ["label", "raw"], **linear))
        graph.node.append(helper.make_node("Normalizer", ["raw"], ["shares"], norm="L1", **domain))
        graph.node.append(helper.make_node("ZipMap", ["shares"], ["map"], **mapped, **domain))
        scores = helper.make_map_type_proto(dtype, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        graph.output.append(helper.make_tensor_value_info("label", dtype, [1]))
        graph.output.append(helper.make_value_info("map", helper.make_sequence_type_proto(scores)))
        model.opset_import.add(domain="ai.onnx.ml", version=1)

    return edit


def label_and_shares(model):
    """The same without a ZipMap: the label as a text, the scores as they are."""
    classic_head()(model)
    del model.graph.node[-1], model.graph.output[1]
    model.graph.output.append(helper.make_tensor_value_info("shares", TensorProto.FLOAT, [None, 3]))


def said(key, text):
    """What an exporter leaves in the metadata."""
    return lambda model: model.metadata_props.add(key=key, value=text)


def undescribed(*edits):
    """Names as a plain exporter gives them, no normalisation, and more."""
    return both(documented(""), *edits, input_named("input"), output_named("output"))


OTHER = {"normalization": Normalization(mean=(1, 2, 3), std=(4, 5, 6)).to_doc_string()}
TEXT = {"classes": NAMES}
FRAME = Frame.stretch(12, 16).to_json()

# what is wrong, how the file is made, what the user tells, and the repairs that are expected
CASES = {
    "input name": ({"edit": input_named("pixels")}, {}, {"input-name"}),
    "input without dash": ({"edit": input_named("image")}, {"strict": True}, {"input-name"}),
    "no class names": ({"edit": output_named("output")}, TEXT, {"class-names"}),
    "class names in the metadata": (
        {"edit": both(output_named("o"), said("names", str(dict(enumerate(NAMES)))))},
        {},
        {"class-names"},
    ),
    "class names in lines": (
        {"edit": both(output_named("o"), said("labels", "cat\ndog\nhorse"))},
        {},
        {"class-names"},
    ),
    "repeated names": ({"edit": classes_named("crane", "crane", "horse")}, {}, {"class-names"}),
    "semicolon in a name": ({"edit": classes_named("cat; tabby", "dog", "horse")}, {}, {"class-names"}),
    "empty name": ({"edit": classes_named("cat", "", "horse")}, {}, {"class-names"}),
    "ids out of order": ({"edit": output_named("scores-2:c;0:a;1:b")}, {}, {"class-names"}),
    "ids from 1": ({"edit": output_named("scores-1:a;2:b;3:c")}, {}, {"class-names"}),
    "numbered classes": (
        {"edit": output_named("output")},
        {"allow": ["numbered-classes"]},
        {"class-names"},
    ),
    "logits": ({"activation": ""}, {}, {"not-probabilities"}),
    "logarithms of probabilities": ({"activation": "LogSoftmax"}, {}, {"not-probabilities"}),
    "one sigmoid": (
        {"names": ["real"], "activation": "Sigmoid"},
        {"classes": ["fake", "real"]},
        {"single-score", "class-names"},
    ),
    "one logit": (
        {"names": ["real"], "activation": ""},
        {"classes": ["fake", "real"]},
        {"not-probabilities", "single-score", "class-names"},
    ),
    "softmax twice": (
        {"edit": second_softmax, "names": list("abcdef")},
        {"allow": ["softmax-twice"]},
        {"softmax-twice"},
    ),
    "scores of rank 4": ({"edit": output_shaped(1, 3, 1, 1)}, {}, {"output-shape"}),
    "scores of rank 1": ({"edit": output_shaped(3)}, {}, {"output-shape"}),
    "symbolic scores": ({"edit": symbolic_scores}, {}, {"output-shape"}),
    "dynamic batch": (
        {"edit": both(shaped("batch", 3, 12, 16), symbolic_scores)},
        {},
        {"dynamic-size", "output-shape"},
    ),
    "a fixed batch of 8": ({"edit": batch_of(8)}, {}, {"dynamic-size", "output-shape"}),
    "dynamic size, told": ({"edit": shaped("n", 3, "h", "w")}, {"input_size": (3, 20, 30)}, {"dynamic-size"}),
    "dynamic size, in the evidence": (
        {"edit": both(shaped("n", 3, "h", "w"), recorded(frame=FRAME))},
        {},
        {"dynamic-size"},
    ),
    "dynamic size, in the graph": (
        {"height": 28, "width": 28, "edit": both(flattened, shaped("n", 3, "h", "w"))},
        {},
        {"dynamic-size"},
    ),
    "dynamic channels": ({"edit": shaped("n", "c", 12, 16)}, {"input_size": (3, 12, 16)}, {"dynamic-size"}),
    "float16 throughout": ({"edit": half_precision}, {}, {"input-type", "output-type"}),
    "bytes": ({"edit": whole_pixels(TensorProto.UINT8)}, {}, {"input-type", "normalization"}),
    "whole numbers": ({"edit": whole_pixels(TensorProto.INT32)}, {}, {"input-type", "normalization"}),
    "channels last, moved": ({"layout": "nhwc"}, {"layout": "nchw"}, {"layout"}),
    "channels first, moved": ({}, {"layout": "nhwc"}, {"layout"}),
    "BGR before a convolution": ({"edit": convolution_first}, {"allow": ["bgr"]}, {"bgr"}),
    "BGR before something else": ({}, {"allow": ["bgr"]}, {"bgr"}),
    "a further output": (
        {"edit": both(output_named("o"), features_first)},
        {**TEXT, "output": "o"},
        {"unread-outputs", "class-names"},
    ),
    "an output of boxes": (
        {"edit": both(output_named("o"), boxes_too)},
        TEXT,
        {"unread-outputs", "class-names"},
    ),
    "an unread output": (
        {"edit": both(features_first, input_named("x"))},
        {},
        {"unread-outputs", "input-name"},
    ),
    "weights as inputs": ({"edit": weights_listed}, {"strict": True}, {"weights-as-inputs", "ir-version"}),
    "a new IR version": ({"edit": ir(13)}, {}, {"ir-version"}),
    "a function of its own": ({"edit": own_function}, {}, {"custom-operators"}),
    "ZipMap with names": (
        {"edit": classic_head()},
        {},
        {"zip-map", "unread-outputs", "classical-operators", "output-shape", "class-names"},
    ),
    "a label as text": (
        {"edit": label_and_shares},
        {},
        {"unread-outputs", "classical-operators", "output-shape", "class-names"},
    ),
    "ZipMap with numbers": (
        {"edit": classic_head(strings=False)},
        TEXT,
        {"zip-map", "unread-outputs", "classical-operators", "output-shape", "class-names"},
    ),
    "opset 18": ({"opset": 18}, {}, {"opset"}),
    "opset 11": ({"opset": 11}, {"strict": True}, {"opset"}),
    "another opset": ({}, {"opset": 12}, {"opset"}),
    "normalisation, told": ({"normalization": None}, {"mean": MEAN, "std": STD}, {"normalization"}),
    "a doc_string of words": ({"edit": documented("a picture of a cat")}, {}, {"normalization"}),
    "normalisation misplaced": ({"edit": model_doc_string}, {"strict": True}, {"normalization"}),
    "normalisation in the evidence": (
        {"edit": recorded(**OTHER, normalization_in="file")},
        {},
        {"normalization"},
    ),
    "normalisation in the graph": (
        {"edit": recorded(**OTHER, normalization_in="graph")},
        {},
        {"normalization"},
    ),
    "unit scale": (
        {"edit": documented(json.dumps({"means": MEAN, "vars": STD}))},
        {"allow": ["unit-scale"]},
        {"unit-scale"},
    ),
    "everything at once": (
        {
            "layout": "nhwc",
            "activation": "",
            "opset": 18,
            "edit": undescribed(weights_listed, shaped("n", 12, 16, 3)),
        },
        {**TEXT, "mean": MEAN, "std": STD, "layout": "nchw"},
        {
            "weights-as-inputs",
            "dynamic-size",
            "opset",
            "layout",
            "not-probabilities",
            "input-name",
            "class-names",
            "normalization",
            "ir-version",
        },
    ),
}

EXACT = {"input-name", "class-names", "dynamic-size", "normalization", "ir-version",
         "unread-outputs", "output-shape", "custom-operators", "unit-scale"}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_defect_is_mended_and_the_predictions_stay(tmp_path, mend, case):
    details, wishes, expected = CASES[case]
    source = classifier_file(tmp_path / "theirs.onnx", **details)
    content = source.read_bytes()
    result = mend(source, tmp_path / "ours.onnx", **wishes)
    assert {change.repair for change in result.changes} == expected
    assert linter.check(tmp_path / "ours.onnx").conforms
    assert result.parity.verdict == "same"
    assert result.exact == (expected <= EXACT)
    if result.exact:
        assert result.parity.max_abs_diff == 0
    assert source.read_bytes() == content


@pytest.mark.parametrize("case", ["logits", "everything at once", "class names in the metadata"])
def test_two_runs_give_the_same_bytes_and_a_third_changes_nothing(tmp_path, mend, case):
    details, wishes, _ = CASES[case]
    source = classifier_file(tmp_path / "theirs.onnx", **details)
    for name in ("first", "second"):
        mend(source, tmp_path / f"{name}.onnx", **wishes)
    first = (tmp_path / "first.onnx").read_bytes()
    assert (tmp_path / "second.onnx").read_bytes() == first
    again = mend(tmp_path / "first.onnx", tmp_path / "third.onnx", **wishes)
    assert again.changes == ()
    assert (tmp_path / "third.onnx").read_bytes() == first


def test_a_conformant_file_is_left_as_it_is_even_with_warnings(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", opset=17, ir_version=9, names=["cat's", "dog", "horse"])
    result = mend(source, tmp_path / "out.onnx")
    assert result.changes == ()
    assert len(result.after.of("warning")) == 3
    assert (tmp_path / "out.onnx").read_bytes() == source.read_bytes()


def test_scores_of_the_repaired_file_are_the_softmax_of_the_original_s(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", activation="")
    mend(source, tmp_path / "out.onnx")
    picture = np.random.default_rng(1).normal(0, 1, (1, 3, 12, 16)).astype(np.float32)
    logits = Session(source).scores(picture).astype(np.float64)
    powers = np.exp(logits - logits.max())
    found = Session(tmp_path / "out.onnx").scores(picture)
    assert np.abs(powers / powers.sum() - found).max() < 1e-6


def test_the_two_columns_of_a_single_score_are_in_the_order_of_the_names(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", names=["real"], activation="Sigmoid")
    mend(source, tmp_path / "out.onnx", classes=["fake", "real"])
    picture = np.random.default_rng(1).normal(0, 1, (1, 3, 12, 16)).astype(np.float32)
    real = Session(source).scores(picture)
    found = Session(tmp_path / "out.onnx")
    assert found.scores_port.name == "scores-0:fake;1:real"
    np.testing.assert_array_equal(found.scores(picture), np.concatenate([1 - real, real], axis=1))


def test_labels_of_a_zip_map_stand_beside_their_own_scores(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=classic_head())
    mend(source, tmp_path / "out.onnx")
    picture = np.random.default_rng(1).normal(0, 1, (1, 3, 12, 16)).astype(np.float32)
    by_name = Session(source).run({INPUT_NAME: picture}, ["map"])[0][0]
    repaired = Session(tmp_path / "out.onnx")
    assert repaired.scores_port.name == "scores-0:horse;1:cat;2:dog"
    expected = [by_name[name] for name in ("horse", "cat", "dog")]
    assert np.abs(repaired.scores(picture)[0] - expected).max() < 1e-6


def test_a_bgr_model_gives_for_rgb_what_it_gave_for_bgr(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=convolution_first)
    mend(source, tmp_path / "out.onnx", allow=["bgr"])
    picture = np.random.default_rng(1).normal(0, 1, (1, 3, 12, 16)).astype(np.float32)
    expected = Session(source).scores(np.ascontiguousarray(picture[:, ::-1]))
    assert np.abs(Session(tmp_path / "out.onnx").scores(picture) - expected).max() < 1e-6
    assert np.abs(Session(source).scores(picture) - expected).max() > 1e-2


def test_metadata_stays_and_the_file_remembers_its_repair(tmp_path, mend):
    source = classifier_file(
        tmp_path / "m.onnx",
        edit=both(input_named("x"), lambda model: model.metadata_props.add(key="author", value="Ann")),
    )
    mend(source, tmp_path / "out.onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "out.onnx").metadata_props}
    assert metadata["author"] == "Ann"
    assert json.loads(metadata[PREFIX + "repair"])["repairs"] == ["input-name"]


def test_weights_in_another_file_are_taken_in(tmp_path, mend):
    expected = classifier()
    source = classifier_file(tmp_path / "m.onnx", edit=external_weights(tmp_path))
    result = mend(source, tmp_path / "out.onnx")
    assert [change.repair for change in result.changes] == ["external-data"]
    assert result.exact
    found = onnx.load(tmp_path / "out.onnx").graph.initializer[0]
    np.testing.assert_array_equal(
        numpy_helper.to_array(found), numpy_helper.to_array(expected.graph.initializer[0])
    )


def test_a_dry_run_writes_nothing_and_knows_the_bytes(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", activation="")
    trial = mend(source, dry_run=True, diff=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert any(line.startswith("+") and "Softmax" in line for line in trial.difference)
    result = mend(source, tmp_path / "out.onnx")
    assert (trial.sha256, trial.size_bytes) == (result.sha256, result.size_bytes)
    assert trial.path is None


def test_a_repair_that_changes_predictions_is_caught(tmp_path, mend, monkeypatch):
    @make_repair("evil")
    def evil(patient):
        """A weight is changed."""
        weights = numpy_helper.to_array(patient.graph.initializer[0]) * np.float32(1.001)
        patient.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(weights, patient.graph.initializer[0].name)
        )
        yield "A weight is changed."

    monkeypatch.setattr(repairer, "REPAIRS", (*REPAIRS, evil))
    source = classifier_file(tmp_path / "m.onnx", edit=input_named("x"))
    with pytest.raises(errors.ParityError, match="predict something else"):
        mend(source, tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def custom(model):
    model.graph.node[-1].domain = "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")


def absent(model):
    outside(model)
    model.graph.initializer[0].external_data[0].value = "weights.bin"


def flat_input(model):
    """A model of ten numbers, not of a picture."""
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [1, 3]))
    del model.graph.node[:2]
    model.graph.node[0].input[0] = "numbers"


def patches(model):
    """Scores for each of 9 places in the picture."""
    boxes_too(model)
    del model.graph.output[0]


def not_a_number(model):
    model.graph.initializer.append(numpy_helper.from_array(np.float32(np.nan), "nan"))
    last = model.graph.node[-1]
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("Add", ["before", "nan"], [model.graph.output[0].name]))


def two_pictures(model):
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3, 12, 16]))
    model.graph.node.insert(0, helper.make_node("Add", [INPUT_NAME, "other"], ["sum"]))
    model.graph.node[1].input[0] = "sum"


def small_logits(model):
    """Values in 0..1 that are neither a softmax nor a sigmoid."""
    last = model.graph.node[-1]
    last.op_type = "HardSigmoid"
    del last.attribute[:]


def wrong_opset(model):
    """Relabelled without being converted: what the guide's script leaves behind."""
    model.graph.node.insert(1, helper.make_node("Gelu", ["pooled"], ["bent"]))
    model.graph.node[2].input[0] = "bent"


def percent(model):
    """Probabilities times 100."""
    scores = model.graph.output[0].name
    model.graph.node[-1].output[0] = "share"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(100), "hundred"))
    model.graph.node.append(helper.make_node("Mul", ["share", "hundred"], [scores]))


REFUSED = {
    "percentages": ({"edit": percent}, {}, "shares of a whole"),
    "custom operator": ({"edit": custom}, {}, "com.microsoft.Softmax"),
    "weights elsewhere": ({"edit": outside}, {}, "outside the model's folder"),
    "weights missing": ({"edit": absent}, {}, "weights are missing"),
    "no picture": ({"edit": flat_input}, {}, "no image model"),
    "four channels": ({"channels": 4, "normalization": None}, {}, "no axis of 1 or 3 channels"),
    "two pictures": ({"edit": two_pictures}, {}, "No single input"),
    "scores of places": ({"edit": patches}, TEXT, "No outputs may be the scores"),
    "two rows of scores": ({"edit": both(output_named("o"), features_first)}, TEXT, "--output"),
    "NaN": ({"edit": not_a_number}, {}, "NaN"),
    "small logits": ({"edit": both(small_logits, input_named("x"))}, {}, "--activation"),
    "no class names": ({"edit": output_named("output")}, {}, "--classes"),
    "no size": ({"edit": shaped(1, 3, "h", "w")}, {}, "--input-size"),
    "another size": ({"edit": input_named("x")}, {"input_size": (3, 20, 20)}, "a fixed size stays"),
    "a relabelled opset": ({"edit": wrong_opset}, {}, "Gelu|does not run|no repair mends"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mended_is_refused_with_the_reason(tmp_path, mend, case):
    details, wishes, reason = REFUSED[case]
    source = classifier_file(tmp_path / "m.onnx", **details)
    with pytest.raises(errors.IrreparableError, match=reason):
        mend(source, tmp_path / "out.onnx", **wishes)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"classes": ["cat", "dog"]}, errors.ClassNamesError, "2 class names for 3 scores"),
        ({"allow": ["magic"]}, errors.OptionError, "No unsafe repair is called 'magic'"),
        ({"output": "logit"}, errors.OptionError, "no output 'logit'"),
        ({"opset": 18}, errors.OptionError, "none of 12..17"),
        ({"mean": 0.5}, errors.OptionError, "--mean is given without --std"),
        ({"colour": "red"}, errors.OptionError, "Unknown option 'colour'"),
        ({"opset": "16"}, errors.OptionError, "Opset '16'"),
        ({"activation": "relu"}, errors.OptionError, "'relu' is none of"),
        ({"layout": "NCHW"}, errors.OptionError, "'NCHW' is none of"),
        ({"mean": "0.5", "std": "0.5"}, errors.OptionError, "not a number"),
        ({"mean": [np.nan] * 3, "std": 1}, errors.OptionError, "not a number"),
        ({"scale": 255}, errors.OptionError, "--scale is given without"),
        ({"input_size": 32}, errors.OptionError, "no picture"),
        ({"activation": "sigmoid"}, errors.IrreparableError, "only flatten"),
        ({"classes": ["a;b", "c", "d"]}, errors.ClassNamesError, "--fix-names"),
        ({"input_size": (4, 8, 8)}, errors.OptionError, "no picture"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(tmp_path, mend, wishes, error, message):
    source = classifier_file(tmp_path / "m.onnx", edit=input_named("x"))
    with pytest.raises(error, match=message):
        mend(source, tmp_path / "out.onnx", **wishes)
    assert not (tmp_path / "out.onnx").exists()


def test_whole_pixels_leave_no_room_for_mean_and_std(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=whole_pixels(TensorProto.UINT8))
    with pytest.raises(errors.OptionError, match="whole pixels"):
        mend(source, tmp_path / "out.onnx", mean=MEAN, std=STD)


def test_a_hostile_graph_is_refused_not_a_crash(tmp_path, mend):
    def knot(model):
        model.graph.node[0].input[0] = model.graph.node[-1].output[0]

    source = classifier_file(tmp_path / "m.onnx", edit=both(knot, input_named("x")))
    with pytest.raises(errors.IrreparableError):
        mend(source, tmp_path / "out.onnx")


def test_what_rules_say_of_repairs_is_what_repairs_say_of_rules():
    mended = {code for repair in REPAIRS for code in repair.mends}
    unsafe = {code for repair in REPAIRS if repair.safety == "unsafe" for code in repair.mends}
    for rule in RULES:
        assert (rule.mending != "no") == (rule.code in mended), rule.code
        assert (rule.mending == "unsafe") == (rule.code in unsafe), rule.code


def test_every_repair_is_named_once_and_explained():
    names = [repair.name for repair in REPAIRS]
    assert len(names) == len(set(names))
    assert all(repair.title.endswith(".") for repair in REPAIRS)


def test_every_repair_is_tried():
    tried = set().union(*(expected for _, _, expected in CASES.values())) | {"external-data"}
    assert tried >= {repair.name for repair in REPAIRS} - {"unread-inputs"}


def test_an_input_that_nothing_reads_is_dropped(tmp_path, mend):
    def flag(model):
        model.graph.input.append(helper.make_tensor_value_info("training", TensorProto.BOOL, []))

    source = classifier_file(tmp_path / "m.onnx", edit=flag)
    result = mend(source, tmp_path / "out.onnx")
    assert [change.repair for change in result.changes] == ["unread-inputs"]
    assert result.exact


def named(outputs, metadata=(), texts=()):
    """Names of the classes in several places."""

    def edit(model):
        if outputs:
            rename(model, model.graph.output[0].name, outputs)
        for key, value in metadata:
            model.metadata_props.add(key=key, value=value)
        for index, names in enumerate(texts):
            values = np.array([name.encode() for name in names], dtype=object)
            model.graph.initializer.append(numpy_helper.from_array(values, f"texts_{index}"))

    return edit


WRITTEN = {
    '{"0": "cat", "1": "dog", "2": "horse"}': ["cat", "dog", "horse"],
    '{"1": "cat", "2": "dog", "3": "horse"}': ["cat", "dog", "horse"],
    '{"dog": 1, "cat": 0, "horse": 2}': ["cat", "dog", "horse"],
    "{0: 'cat', 1: 'dog', 2: 'horse'}": ["cat", "dog", "horse"],
    '["cat", "dog", "horse"]': ["cat", "dog", "horse"],
    "0 cat\n1 dog\n2 horse": ["cat", "dog", "horse"],
    "cat, dog, horse": ["cat", "dog", "horse"],
}


@pytest.mark.parametrize("text", WRITTEN)
def test_class_names_are_read_from_the_metadata_in_the_order_of_the_scores(tmp_path, mend, text):
    source = classifier_file(tmp_path / "m.onnx", edit=named("o", [("names", text)]))
    mend(source, tmp_path / "out.onnx")
    expected = output_name(ClassNames(tuple(WRITTEN[text])))
    assert Session(tmp_path / "out.onnx").scores_port.name == expected


@pytest.mark.parametrize(
    "text",
    ["[1, 2, 3]", '["a", "b", null]', '{"a": {"b": 1}, "c": 2, "d": 3}', '{"7": "a", "8": "b", "9": "c"}'],
)
def test_what_is_no_list_of_names_gives_no_names(tmp_path, mend, text):
    source = classifier_file(tmp_path / "m.onnx", edit=named("o", [("names", text)]))
    with pytest.raises(errors.IrreparableError, match="--classes"):
        mend(source, tmp_path / "out.onnx")


def test_two_lists_of_names_that_disagree_are_asked_about(tmp_path, mend):
    edit = named("o", [("names", "cat,dog,horse")], [["animal", "plant", "thing"]])
    source = classifier_file(tmp_path / "m.onnx", edit=edit)
    with pytest.raises(errors.IrreparableError, match="names its classes twice"):
        mend(source, tmp_path / "out.onnx")


def test_numbers_of_a_zip_map_are_looked_up_in_the_metadata(tmp_path, mend):
    def edit(model):
        classic_head(strings=False)(model)
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name.startswith("classlabels"):
                    attribute.ints[:] = [2, 0, 1]
        model.metadata_props.add(key="id2label", value='{"0": "cat", "1": "dog", "2": "horse"}')

    mend(classifier_file(tmp_path / "m.onnx", edit=edit), tmp_path / "out.onnx")
    assert Session(tmp_path / "out.onnx").scores_port.name == "scores-0:horse;1:cat;2:dog"


def test_the_labels_of_the_kept_map_count_and_no_others(tmp_path, mend):
    def edit(model):
        classic_head()(model)
        labels = {"classlabels_strings": ["red", "green", "blue"]}
        model.graph.node.append(helper.make_node("ZipMap", ["shares"], ["o2"], domain="ai.onnx.ml", **labels))
        second = model.graph.output.add()
        second.CopyFrom(model.graph.output[1])
        second.name = "o2"

    source = classifier_file(tmp_path / "m.onnx", edit=edit)
    for wanted, expected in (("map", "scores-0:horse;1:cat;2:dog"), ("o2", "scores-0:red;1:green;2:blue")):
        mend(source, tmp_path / f"{wanted}.onnx", output=wanted)
        assert Session(tmp_path / f"{wanted}.onnx").scores_port.name == expected


def test_int8_pixels_are_refused_for_they_do_not_fit(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=whole_pixels(TensorProto.INT8))
    with pytest.raises(errors.IrreparableError, match="do not fit"):
        mend(source, tmp_path / "out.onnx")


def quantised(scale=1 / 256):
    """Scores as bytes."""

    def edit(model):
        scores = model.graph.output[0]
        model.graph.node[-1].output[0] = "share"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(scale), "step"))
        model.graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
        model.graph.node.append(helper.make_node("QuantizeLinear", ["share", "step", "zero"], [scores.name]))
        scores.type.tensor_type.elem_type = TensorProto.UINT8

    return edit


def test_quantised_scores_are_dequantised_and_get_no_softmax(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=quantised())
    result = mend(source, tmp_path / "out.onnx")
    assert [change.repair for change in result.changes] == ["output-type"]
    picture = np.random.default_rng(1).normal(0, 1, (1, 3, 12, 16)).astype(np.float32)
    raw = Session(source).run({INPUT_NAME: picture})[0]
    np.testing.assert_array_equal(Session(tmp_path / "out.onnx").scores(picture), raw / np.float32(256))


def test_an_index_is_no_row_of_scores(tmp_path, mend):
    def best(model):
        scores = model.graph.output[0]
        model.graph.node.append(helper.make_node("ArgMax", [scores.name], ["best"], axis=1))
        scores.CopyFrom(helper.make_tensor_value_info("best", TensorProto.INT64, [1, 1]))

    source = classifier_file(tmp_path / "m.onnx", edit=best)
    with pytest.raises(errors.IrreparableError, match="ArgMax"):
        mend(source, tmp_path / "out.onnx", classes=NAMES)


def test_bgr_turns_the_file_s_own_normalisation_around_and_is_done_once(tmp_path, mend):
    means = {"means": [103.5, 116.3, 123.7], "vars": [57.4, 57.1, 58.4]}
    source = classifier_file(tmp_path / "m.onnx", edit=both(convolution_first, documented(json.dumps(means))))
    mend(source, tmp_path / "out.onnx", allow="bgr")
    found = Session(tmp_path / "out.onnx")
    assert json.loads(found.doc_string) == {"means": [123.7, 116.3, 103.5], "vars": [58.4, 57.1, 57.4]}
    pixels = np.random.default_rng(2).integers(0, 256, (1, 3, 12, 16)).astype(np.float32)
    mean, std = (np.float32(means[key]).reshape(1, 3, 1, 1) for key in means)
    expected = Session(source).scores((np.ascontiguousarray(pixels[:, ::-1]) - mean) / std)
    fed = (pixels - mean[:, ::-1]) / std[:, ::-1]
    assert np.abs(found.scores(np.ascontiguousarray(fed)) - expected).max() < 1e-6
    with pytest.raises(errors.IrreparableError, match="already"):
        mend(tmp_path / "out.onnx", tmp_path / "again.onnx", allow="bgr")


def test_an_alarm_before_the_scores_is_not_taken_for_them(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=both(alarm_first, plain_scores))
    mend(source, tmp_path / "out.onnx", classes=["x", "y", "z"])
    names = [port.name for port in Session(tmp_path / "out.onnx").outputs]
    assert names == ["alarm-0:cat", "scores-0:x;1:y;2:z"]


def plain_scores(model):
    rename(model, model.graph.output[1].name, "probabilities")


@pytest.mark.parametrize(
    ("details", "wishes"),
    [
        ({"names": ["real"], "activation": ""}, {"activation": "sigmoid", "classes": ["fake", "real"]}),
        ({"activation": ""}, {"activation": "softmax"}),
        ({"activation": ""}, {"activation": "sigmoid"}),
    ],
)
def test_an_activation_that_is_asked_for_twice_is_applied_once(tmp_path, mend, details, wishes):
    source = classifier_file(tmp_path / "m.onnx", **details)
    mend(source, tmp_path / "out.onnx", **wishes)
    again = mend(tmp_path / "out.onnx", tmp_path / "again.onnx", **wishes)
    assert again.changes == ()


def test_a_softmax_over_a_single_score_is_refused(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", names=["real"], activation="Sigmoid")
    with pytest.raises(errors.IrreparableError, match="always 1"):
        mend(source, tmp_path / "out.onnx", activation="softmax", classes=["fake", "real"])


def test_weights_as_inputs_before_a_batch_normalisation_are_no_obstacle(tmp_path, mend):
    """ONNX Runtime computes otherwise, in the last bits, with weights that cannot change."""

    def edit(model):
        random = np.random.default_rng(4)
        convolution_first(model)
        for name in ("scale", "shift", "mean", "var"):
            values = random.uniform(0.5, 2, 3).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        normal = helper.make_node("BatchNormalization", ["convolved", "scale", "shift", "mean", "var"], ["n"])
        model.graph.node.insert(1, normal)
        model.graph.node[2].input[0] = "n"
        weights_listed(model)
        model.ir_version = 8

    result = mend(classifier_file(tmp_path / "m.onnx", edit=edit), tmp_path / "out.onnx", strict=True)
    assert [change.repair for change in result.changes] == ["weights-as-inputs"]
    assert 0 < result.parity.max_abs_diff < 1e-5


@pytest.mark.parametrize("kind", ["initializer", "node", "value_info"])
def test_a_value_that_has_the_wanted_name_by_chance_makes_way(tmp_path, mend, kind):
    def edit(model):
        rename(model, INPUT_NAME, "pixels")
        if kind == "initializer":
            model.graph.initializer.append(numpy_helper.from_array(np.float32([1]), INPUT_NAME))
        elif kind == "node":
            rename(model, "pooled", INPUT_NAME)
        else:
            model.graph.value_info.append(helper.make_tensor_value_info("logits_2", TensorProto.FLOAT, [7]))

    source = classifier_file(tmp_path / "m.onnx", edit=edit)
    assert mend(source, tmp_path / "out.onnx").exact


def test_evidence_follows_a_normalisation_that_is_told(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", edit=recorded(**OTHER, normalization_in="file"))
    mend(source, tmp_path / "out.onnx", mean=MEAN, std=STD)
    assert linter.check(tmp_path / "out.onnx").conforms
    assert json.loads(Session(tmp_path / "out.onnx").doc_string)["means"] == [123.675, 116.28, 103.53]


def test_channels_last_are_found_where_all_dimensions_are_open(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", layout="nhwc", edit=shaped("n", "h", "w", "c"))
    mend(source, tmp_path / "out.onnx", input_size=(3, 12, 16))
    assert Session(tmp_path / "out.onnx").inputs[0].shape == (1, 12, 16, 3)


def test_the_standard_s_domain_may_be_spelled_out(tmp_path, mend):
    def edit(model):
        for entry in (*model.graph.node, *model.opset_import):
            entry.domain = "ai.onnx"

    source = classifier_file(tmp_path / "m.onnx", edit=edit)
    result = mend(source, tmp_path / "out.onnx")
    assert [change.repair for change in result.changes] == ["custom-operators"]


def test_a_reshape_of_weights_is_no_batch(tmp_path, mend):
    def edit(model):
        batch_of(2)(model)
        flat = numpy_helper.from_array(np.float32([1, 0, 0, 0, 1, 0]), "flat")
        model.graph.initializer.extend([flat, numpy_helper.from_array(np.array([2, 3], np.int64), "two")])
        model.graph.node.insert(0, helper.make_node("Reshape", ["flat", "two"], ["matrix"]))
        last = model.graph.node[-1]
        model.graph.node.insert(
            len(model.graph.node) - 1,
            helper.make_node("Gemm", [last.input[0], "matrix"], ["two_scores"], transB=1),
        )
        model.graph.node[-1].input[0] = "two_scores"
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2

    source = classifier_file(tmp_path / "m.onnx", edit=edit)
    mend(source, tmp_path / "out.onnx", classes=["a", "b"])
    assert linter.check(tmp_path / "out.onnx").conforms


def test_the_history_of_repairs_is_kept(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", activation="")
    mend(source, tmp_path / "first.onnx")
    mend(tmp_path / "first.onnx", tmp_path / "second.onnx", opset=13)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "second.onnx").metadata_props}
    record = json.loads(metadata[PREFIX + "repair"])
    assert record["repairs"] == ["opset"]
    assert [one["repairs"] for one in record["earlier"]] == [["not-probabilities"]]


def test_weights_behind_a_link_beside_the_model_are_taken_in(tmp_path, mend):
    """As the hub's cache lays them out."""
    (tmp_path / "blobs").mkdir()
    source = classifier_file(tmp_path / "m.onnx", edit=external_weights(tmp_path))
    (tmp_path / "weights.bin").rename(tmp_path / "blobs" / "abc")
    (tmp_path / "weights.bin").symlink_to(tmp_path / "blobs" / "abc")
    assert mend(source, tmp_path / "out.onnx").exact


def test_a_file_replaced_in_place_keeps_its_mode_and_one_that_conforms_is_not_touched(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", activation="")
    source.chmod(0o600)
    mend(source, in_place=True)
    assert source.stat().st_mode & 0o777 == 0o600
    before = source.stat()
    mend(source, in_place=True)
    assert (source.stat().st_ino, source.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_file_itself_is_no_target_unless_it_is_said_so(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", activation="")
    (tmp_path / "link.onnx").symlink_to(source)
    for target in (source, tmp_path / "link.onnx"):
        with pytest.raises(errors.OptionError, match="is the file itself"):
            mend(source, target, force=True)


def test_strict_lowers_opset_17_for_the_oldest_runtimes(tmp_path, mend):
    source = classifier_file(tmp_path / "m.onnx", opset=17)
    assert mend(source, tmp_path / "as_it_is.onnx").changes == ()
    result = mend(source, tmp_path / "out.onnx", strict=True)
    assert [change.repair for change in result.changes] == ["opset"]
    assert not result.after.findings
