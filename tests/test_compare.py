"""Two classifiers side by side: what is the same, what is not, and the node where a planted fault sits."""

import json
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgeworthy import cli, compare, export
from edgeworthy.errors import ModelFileError, OptionError
from edgeworthy.locating import locate
from edgeworthy.parity import TOLERANCE
from edgeworthy.report.page import comparison_page
from edgeworthy.sketches import SUMS, distance, sketch
from edgeworthy.sources.base import SourceRequest
from edgeworthy.wiring import Wiring, align, described, module_of
from tests.factory import classifier, classifier_file
from tests.models import OPTIONS, Tiny
from tests.planting import FAULTS, Sound, found_in_files, found_in_model, planted, weights_of

NAMES = ("cat", "dog", "horse")


@pytest.fixture
def file(tmp_path):
    return classifier_file(tmp_path / "first.onnx")


@pytest.fixture
def photos(tmp_path):
    """Four pictures, one of them cut off."""
    place = tmp_path / "photos"
    place.mkdir()
    for name, colour in (("red", "#f01010"), ("green", "#10f010"), ("blue", "#1010f0")):
        Image.new("RGB", (40, 30), colour).save(place / f"{name}.png")
    return place


def run(*words):
    """Exit code of the program."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, words)))
    return ended.value.code


def biased(model, by=1.0):
    """The first class is more likely."""
    bias = numpy_helper.to_array(model.graph.initializer[1]).copy()
    bias[0] += by
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias, "bias"))


def reordered(model):
    """The classes stand in the order horse, cat, dog; so do the scores."""
    order = [2, 0, 1]
    for tensor, axis in zip(model.graph.initializer, (1, 0), strict=True):
        values = numpy_helper.to_array(tensor).take(order, axis=axis)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


# What they say.


def test_a_file_is_the_same_as_itself(file, sandbox):
    compared = compare(file, file, sandbox=sandbox, locating=True)
    assert (compared.verdict, compared.kind, compared.parity.max_abs_diff) == ("same", "file", 0)
    assert compared.structure == compared.only_first == compared.only_second == ()
    assert compared.parting.outcome == "never"


def test_another_bias_is_told_and_located(tmp_path, file, photos, sandbox):
    other = classifier_file(tmp_path / "second.onnx", edit=biased)
    compared = compare(file, other, data=photos, sandbox=sandbox, locating=True)
    assert compared.verdict == "different"
    assert compared.structure == ()  # nothing but numbers
    assert compared.parting.first.op == "Gemm"
    assert compared.parting.agreeing == ("features",)
    assert compared.parting.reasons == ("Gemm logits: input 2 (bias) differs by up to 1",)
    assert compared.agreement.pictures == 3
    assert compared.agreement.share.low <= compared.agreement.share.value <= compared.agreement.share.high


def test_disagreements_say_what_each_says(tmp_path, file, photos, sandbox):
    other = classifier_file(tmp_path / "second.onnx", edit=lambda model: biased(model, 50))
    agreement = compare(file, other, data=photos, sandbox=sandbox).agreement
    assert agreement.disagreements
    for case in agreement.disagreements:
        assert case.second_says == "cat" != case.first_says
        assert case.second_probability > 0.99
    assert agreement.max_abs_diff == pytest.approx(1, abs=0.05)
    assert agreement.worst_picture.startswith(str(photos))


def test_classes_in_another_order_are_matched_by_name(tmp_path, file, photos, sandbox):
    other = classifier_file(tmp_path / "second.onnx", names=("horse", "cat", "dog"))
    shuffled = classifier_file(tmp_path / "third.onnx", names=("horse", "cat", "dog"), edit=reordered)
    assert compare(file, other, sandbox=sandbox).verdict == "different"
    compared = compare(file, shuffled, data=photos, sandbox=sandbox, locating=True)
    assert compared.verdict == "same"
    assert "matched by name" in compared.classes
    assert (compared.agreement.share.value, compared.parting.outcome) == (1, "never")


def test_layout_and_place_of_the_normalisation_do_not_matter(tmp_path, file, sandbox):
    last = classifier_file(tmp_path / "last.onnx", layout="nhwc")
    compared = compare(file, last, sandbox=sandbox)
    assert compared.verdict == "same"
    assert {one.what for one in compared.structure} >= {"layout", "input", "nodes", "operator Transpose"}
    carved, inside = tmp_path / "carved.onnx", tmp_path / "inside.onnx"
    export(Tiny(), carved, **OPTIONS)
    export(Tiny(), inside, normalization_in="graph", layout="nhwc", opset=13, **OPTIONS)
    compared = compare(carved, inside, sandbox=sandbox, locating=True)
    assert (compared.verdict, compared.parting.outcome) == ("same", "never")
    assert {one.what for one in compared.structure} >= {"normalisation", "opset", "layout"}


def test_findings_of_one_file_alone_are_listed(tmp_path, file, sandbox):
    raw = classifier_file(tmp_path / "raw.onnx", activation="")
    compared = compare(file, raw, sandbox=sandbox, locating=True)
    assert compared.verdict == "different"
    assert compared.only_first == ()
    assert "EW501" in {finding.code for finding in compared.only_second}
    assert compared.parting.first.op == "Softmax"
    assert "only the first file has Softmax" in compared.parting.reasons


def test_scores_that_see_no_picture_are_told(tmp_path, file, sandbox, capsys):
    def blind(model):
        model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3), np.float32), "same"))
        model.graph.node[2].input[0] = "same"

    other = classifier_file(tmp_path / "blind.onnx", edit=blind)
    parting = compare(file, other, sandbox=sandbox, locating=True).parting
    assert (parting.outcome, parting.first) == ("parted", None)
    assert run("compare", file, other, "--locate") == 1
    assert "do not depend on the picture" in capsys.readouterr().out


def test_a_tolerance_takes_the_place_of_the_yardstick(tmp_path, file, sandbox):
    other = classifier_file(tmp_path / "second.onnx", edit=lambda model: biased(model, 1e-3))
    assert compare(file, other, sandbox=sandbox).verdict == "different"
    assert compare(file, other, sandbox=sandbox, tolerance=1e-2).verdict == "same"
    with pytest.raises(OptionError, match="not a difference in probability"):
        compare(file, other, sandbox=sandbox, tolerance=2)


# What cannot be compared.


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"names": ("cat", "dog")}, "has 3 classes, .* 2"),
        ({"names": ("cat", "dog", "cow")}, "name other classes: 1 of its classes, such as 'horse'"),
        ({"height": 20}, "3x12x16, .* 3x20x16"),
        ({"channels": 1, "normalization": None}, "normalisation"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path, file, sandbox, details, message):
    other = classifier_file(tmp_path / "second.onnx", **details)
    with pytest.raises(OptionError, match=message):
        compare(file, other, sandbox=sandbox)


def test_hostile_and_missing_files_get_the_usual_errors(tmp_path, file, sandbox):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(file.read_bytes()[:200])
    empty = tmp_path / "empty.onnx"
    empty.touch()
    for bad in (broken, empty, tmp_path / "absent.onnx"):
        with pytest.raises(ModelFileError):
            compare(bad, file, sandbox=sandbox)
    for bad in (broken, empty, tmp_path / "absent.onnx"):
        with pytest.raises(ModelFileError):
            compare(file, bad, sandbox=sandbox)
    unknown = classifier_file(
        tmp_path / "unknown.onnx", edit=lambda model: setattr(model.graph.node[0], "op_type", "Nonsense")
    )
    with pytest.raises(ModelFileError, match="Nonsense"):
        compare(file, unknown, sandbox=sandbox)


def test_a_name_that_is_no_text_is_told(tmp_path, file, sandbox):
    other = tmp_path / "second.onnx"
    other.write_bytes(file.read_bytes().replace(b"pooled", b"p\xff\xfeled"))
    with pytest.raises(ModelFileError, match="UTF-8"):
        compare(file, other, sandbox=sandbox, locating=True)


def test_weights_in_other_files_are_not_looked_into(tmp_path, file, sandbox):
    other = tmp_path / "outside.onnx"
    model = classifier()
    onnx.save(model, other, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(OptionError, match="lie in other files"):
        compare(file, other, sandbox=sandbox, locating=True)


def test_a_text_that_names_nothing_is_refused(file, sandbox):
    with pytest.raises(OptionError, match="not understood"):
        compare(file, "nonsense", sandbox=sandbox)
    with pytest.raises(OptionError, match="is no ONNX file, and"):
        compare("timm:resnet18", file, sandbox=sandbox)
    with pytest.raises(OptionError, match="two files"):
        compare(file, "timm:resnet18", diff=True, sandbox=sandbox)


# A file and the model that it came from.


def test_a_file_and_its_model_are_the_same(tmp_path, photos, sandbox):
    path = tmp_path / "tiny.onnx"
    export(Tiny(), path, **OPTIONS)
    compared = compare(path, "tests.models:tiny", data=photos, sandbox=sandbox, locating=True)
    assert (compared.verdict, compared.kind, compared.parting.outcome) == ("same", "source", "never")
    assert compared.agreement.share.value == 1
    assert compared.structure == ()
    assert compared.parting.compared >= 5


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_fault_lies_between_modules_whatever_nodes_are_called(tmp_path, sandbox, exporter):
    """Dynamo's nodes carry no names of modules: there, values alone have to tell."""
    path = tmp_path / "tiny.onnx"
    export(Tiny(), path, exporter=exporter, **OPTIONS)
    model = onnx.load(path)
    places = [at for at, node in enumerate(model.graph.node) if node.op_type in {"Conv", "Gemm"}]
    assert len(places) == 3
    for at, module in zip(places, ("conv", "branch", "head"), strict=True):
        changed = planted(model, at, FAULTS["louder"])
        onnx.save(changed, path)
        parting = compare(path, "tests.models:tiny", sandbox=sandbox, locating=True).parting
        assert found_in_model("louder", model.graph.node[at], parting), parting
        assert module in parting.modules
        assert len(parting.between_first) <= 3


# Every node of a resnet18 (benchmarks/locate.py has it at full width) and of a ViT.


@pytest.fixture(scope="module")
def resnet(tmp_path_factory, sandbox):
    return Sound("tests.models:narrow_resnet18", tmp_path_factory.mktemp("resnet"), sandbox, (3, 64, 64))


@pytest.fixture(scope="module")
def vit(tmp_path_factory, sandbox):
    return Sound("timm:test_vit", tmp_path_factory.mktemp("vit"), sandbox)


def each(sound, fault, places=None):
    """Look for a fault in each node that can have it: (node, of two files, of file and model, effect)."""
    for at in places or sound.places():
        changed = planted(sound.model, at, FAULTS[fault])
        if changed is not None:
            yield sound.model.graph.node[at], *sound.look(changed)


def test_a_louder_weight_is_located_in_every_layer_of_a_resnet18(resnet):
    found = list(each(resnet, "louder"))
    assert len(found) == 21
    for node, files, modules, moves in found:
        assert moves > TOLERANCE
        assert found_in_files("louder", node, files), files
        assert found_in_model("louder", node, modules), modules
        assert len(modules.between_first) == 1
        assert module_of(node) in modules.modules


def test_a_louder_weight_is_located_in_every_layer_of_a_vit(vit):
    """Nodes with one number, such as an epsilon, are left to benchmarks/locate.py.

    What no probability shows, as a small bias before a softmax, cannot be told from rounding in PyTorch.
    """
    found = list(each(vit, "louder", [at for at in vit.places() if weights_of(vit.model, at) > 1]))
    assert sum(moves > TOLERANCE for *_, moves in found) >= 50
    for node, files, modules, moves in found:
        if moves > TOLERANCE:
            assert found_in_files("louder", node, files), files
            assert found_in_model("louder", node, modules), modules
            assert len(modules.between_first) <= 12


def test_a_dropped_activation_is_located(vit):
    found = list(each(vit, "dropped"))
    assert len(found) == 6
    for node, files, modules, _ in found:
        assert found_in_files("dropped", node, files), files
        assert found_in_model("dropped", node, modules), modules


def test_a_fault_that_the_scores_do_not_show_is_told_as_healed(vit):
    """The keys' bias adds the same to all scores of a softmax, which forgets it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(vit.model)
    weights = {tensor.name: tensor for tensor in changed.graph.initializer}
    bias = next(name for name in weights if name.endswith("blocks.0.attn.qkv.bias"))
    values = numpy_helper.to_array(weights[bias]).copy()
    third = len(values) // 3
    values[third : 2 * third] += 0.5
    weights[bias].CopyFrom(numpy_helper.from_array(values, bias))
    files, _, moves = vit.look(changed)
    assert moves < TOLERANCE
    assert files.outcome == "healed"
    assert bias in files.first.inputs


def test_the_checkpoint_of_the_source_is_asked_for_as_in_export(vit, tmp_path, sandbox):
    compared = compare(vit.path, vit.request, sandbox=sandbox)
    assert (compared.verdict, compared.second) == ("same", "timm:test_vit")
    other = SourceRequest(spec=str(vit.weights), arch="timm:test_vit")
    assert compare(vit.path, other, sandbox=sandbox).verdict == "same"
    state = torch.load(vit.weights)
    state["blocks.3.mlp.fc1.weight"] *= 1.1
    torch.save(state, tmp_path / "later.pth")
    later = SourceRequest(spec="timm:test_vit", checkpoint=tmp_path / "later.pth")
    compared = compare(vit.path, later, sandbox=sandbox, locating=True)
    assert compared.verdict == "different"
    assert compared.parting.modules[0] == "blocks.3.mlp.fc1"


@pytest.mark.parametrize("options", [{"simplify": False}, {"exporter": "dynamo"}], ids=["plain", "dynamo"])
def test_files_that_were_made_otherwise_are_matched_by_their_values(vit, tmp_path, options):
    """Other operators, other names: what is proven the same parts nowhere, and a fault is found."""
    path = tmp_path / "other.onnx"
    export("timm:test_vit", path, checkpoint=vit.weights, classes="imagenet-1k", **options)
    model = onnx.load(path)
    assert vit.look(model)[0].outcome == "never"
    places = [at for at, node in enumerate(model.graph.node) if node.op_type in {"Gemm", "MatMul"}]
    for at in [at for at in places if weights_of(model, at) > 1][2::6]:
        files, *_ = vit.look(planted(model, at, FAULTS["louder"]))
        assert described([model.graph.node[at]])[0] in files.between_second, files
        assert len(files.between_second) <= 12


def test_large_values_are_looked_at_a_few_at_a_time(vit, monkeypatch, sandbox):
    """The bisection of ends finds the same as looking at everything."""
    monkeypatch.setattr("edgeworthy.locating.BUDGET_BYTES", 1 << 20)
    monkeypatch.setattr("edgeworthy.tapping.BUDGET_BYTES", 1 << 20)
    places = [at for at in vit.places() if vit.model.graph.node[at].op_type == "Gemm"]
    for at in places[1::10]:
        files, *_ = vit.look(planted(vit.model, at, FAULTS["louder"]))
        assert found_in_files("louder", vit.model.graph.node[at], files), files


# The pieces.


def test_sketches_keep_distances():
    random = np.random.default_rng(1)
    for shape in ((3,), (SUMS,), (1, 64, 56, 56), (1, 197, 192)):
        values = random.normal(size=shape)
        changed = values.copy()
        changed.reshape(-1)[: max(1, values.size // 50)] += 0.1
        exact = np.linalg.norm(values - changed) / np.linalg.norm(values)
        assert distance(sketch(values), sketch(changed)) == pytest.approx(exact, rel=0.1)
    assert distance(sketch(np.full(3, np.nan)), sketch(np.zeros(3))) == float("inf")
    assert distance(sketch(np.zeros(3)), sketch(np.zeros(4))) == float("inf")


def chain(names, ops):
    nodes = [
        helper.make_node(op, [before], [after])
        for op, before, after in zip(ops, ["in", *names], names, strict=False)
    ]
    value = [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 4])]
    out = [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [1, 4])]
    return Wiring(helper.make_model(helper.make_graph(nodes, "chain", value, out)))


def test_values_are_aligned_by_name_or_else_by_operator_in_sequence():
    ops = ("Relu", "Exp", "Neg", "Relu", "Exp")
    first = chain(("a", "b", "c", "d", "e"), ops)
    assert align(first, chain(("a", "b", "c", "d", "e"), ops), ({}, {})) == [(name, name) for name in "abcde"]
    shorter = chain(("p", "q", "r", "s"), ("Relu", "Exp", "Relu", "Exp"))
    assert align(first, shorter, ({}, {})) == [("a", "p"), ("b", "q"), ("d", "r"), ("e", "s")]
    misnamed = chain(("b", "c", "d", "e", "a"), ops)
    assert align(first, misnamed, ({}, {})) == list(zip("abcde", "bcdea", strict=True))


def test_a_node_names_its_module():
    names = {
        "/module/layer1/layer1.0/conv1/Conv": "layer1.0.conv1",
        "/module/blocks.3/attn/MatMul_1": "blocks.3.attn",
        "/module/Add": "",
        "Gemm_4": None,
        "/Softmax": None,
    }
    for name, module in names.items():
        assert module_of(helper.make_node("Relu", ["x"], ["y"], name=name)) == module


def test_a_search_without_pairs_ends(tmp_path, sandbox, vit, resnet):
    """Two models that have nothing in common but their scores part at these."""
    parting = locate(vit._reference, resnet._reference, scores=(vit._file.scores_name,) * 2, probe="noise")
    assert parting.outcome == "parted"


# The command and its page.


def test_the_command_shows_writes_and_exits(tmp_path, file, photos, capsys):
    other = classifier_file(tmp_path / "second.onnx", edit=lambda model: biased(model, 50), ir_version=7)
    (photos / "cut.png").write_bytes((photos / "red.png").read_bytes()[:60])
    page = tmp_path / "report.html"
    assert run("compare", file, other, "--data", photos, "--locate", "--diff", "-o", page) == 1
    shown = capsys.readouterr().out
    for text in (
        "different: ",
        "IR version",
        "8  →  7",
        "They part at Gemm logits",
        "-ir_version 8",
        "could not",
    ):
        assert text in shown
    text = page.read_text("utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?://", text)
    assert run("compare", file, other, "-o", page) == 2
    assert run("compare", file, file) == 0
    assert run("compare", file, tmp_path / "absent.onnx") == 2
    assert run("compare", file, other, "-o", tmp_path / "report.pdf") == 2


def test_json_holds_everything(tmp_path, file, capsys):
    other = classifier_file(tmp_path / "second.onnx", edit=biased)
    assert run("compare", file, other, "--locate", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "different"
    assert found["parting"]["first"]["op"] == "Gemm"
    assert found["agreement"] is None


def test_names_on_the_page_are_escaped(tmp_path, sandbox, photos):
    names = ("<script>alert(1)</script>", "b", "c")
    first = classifier_file(tmp_path / "a.onnx", names=names)
    second = classifier_file(tmp_path / "b.onnx", names=names, edit=lambda model: biased(model, 50))
    page = comparison_page(compare(first, second, data=photos, sandbox=sandbox, locating=True))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
