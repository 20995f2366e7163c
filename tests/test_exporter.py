"""The road from a module to a proven file, with everything that can be settled or refused on it."""

import copy
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgeworthy
from edgeworthy import errors
from edgeworthy.contract import INPUT_NAME, Normalization
from edgeworthy.evidence import own_entries
from edgeworthy.exporting.tracing import DynamoExporter, TorchScriptExporter
from edgeworthy.model import metadata_of, opset_of
from edgeworthy.runtime import Session, facts_of
from edgeworthy.sources.untrained import make_sensitive
from tests import models
from tests.models import NAMES, OPTIONS, Tiny


def export(model, path, **changes):
    return edgeworthy.export(model, path, **(OPTIONS | changes))


@pytest.fixture
def target(tmp_path):
    return tmp_path / "model.onnx"


def probabilities(path, pixels):
    """What the platform does with a picture uint8 [H, W, C]: normalise as the file says, and run it."""
    session = Session(path)
    facts = facts_of(session)
    mean, std = (np.float32(values) for values in (facts.normalization.mean, facts.normalization.std))
    picture = ((pixels.astype(np.float32) - mean) / std)[None]
    return session.scores(picture if facts.layout == "nhwc" else picture.transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 256, (20, 28, 3), dtype=np.uint8)


def eager(model, pixels):
    normalization = Normalization.from_unit(OPTIONS["mean"], OPTIONS["std"])
    mean, std = (np.float32(values) for values in (normalization.mean, normalization.std))
    picture = ((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None]
    with torch.no_grad():
        return model.eval()(torch.from_numpy(picture)).softmax(dim=1).numpy()


def test_the_file_keeps_the_contract_and_predicts_the_same(target, pixels):
    artefact = export(Tiny(), target)
    model = onnx.load(target)
    assert [value.name for value in model.graph.input] == [INPUT_NAME]
    assert model.graph.output[0].name == artefact.contract.output_name
    assert (opset_of(model), model.ir_version) == (16, 8)
    assert artefact.parity.verdict == "same"
    assert artefact.parity.samples >= 16
    assert artefact.lint.conforms
    assert np.abs(probabilities(target, pixels) - eager(Tiny(), pixels)).max() < 1e-5


@pytest.mark.parametrize("opset", range(12, 18))
def test_the_opset_is_the_one_that_was_asked_for(target, opset):
    export(Tiny(), target, opset=opset)
    assert opset_of(onnx.load(target)) == opset


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("place", ["file", "graph"])
@pytest.mark.parametrize("padding", [0, 1])
def test_normalisation_happens_once_wherever_it_happens(target, pixels, layout, place, padding):
    model = Tiny(padding=padding)
    export(model, target, layout=layout, normalization_in=place)
    assert np.abs(probabilities(target, pixels) - eager(model, pixels)).max() < 1e-5
    operators = [node.op_type for node in onnx.load(target).graph.node]
    assert ("Sub" in operators) is (place == "graph" and padding == 1)
    assert ("Transpose" in operators) is (layout == "nhwc")


def test_normalisation_at_upload_leaves_the_file_silent_and_prints_the_values(target):
    artefact = export(Tiny(), target, normalization_in="upload")
    assert onnx.load(target).graph.doc_string == ""
    assert any("123.675" in note for note in artefact.notes)
    assert facts_of(Session(target)).normalization.mean == pytest.approx((123.675, 116.28, 103.53))


def test_one_channel(target):
    artefact = export(Tiny(channels=1), target, input_size=(1, 20, 28), mean=[0.5], std=[0.25])
    assert artefact.contract.input_shape == (1, 1, 20, 28)


def test_the_same_command_gives_the_same_bytes(target, tmp_path):
    first = export(Tiny(), target)
    second = export(Tiny(), tmp_path / "again.onnx")
    assert first.sha256 == second.sha256


def test_the_evidence_says_how_the_file_was_made_and_nothing_private(target):
    export(Tiny(), target, atol=1e-4)
    evidence = own_entries(metadata_of(onnx.load(target)))
    assert evidence["source"] == "module:tests.models.Tiny"
    assert evidence["weights"].startswith("sha256:")
    assert '"widened": true' in evidence["parity"]
    assert evidence["torch"] == torch.__version__
    assert str(target.parent).encode() not in target.read_bytes()


@pytest.mark.parametrize("kind", [models.Tupled, models.Keyed, models.HuggingFaceLike])
def test_outputs_are_found_where_they_are(target, kind, pixels):
    export(kind(), target)
    assert np.abs(probabilities(target, pixels) - eager(Tiny(), pixels)).max() < 1e-5


def test_probabilities_get_no_second_softmax(target, pixels):
    export(models.Probabilities(), target)
    assert [node.op_type for node in onnx.load(target).graph.node].count("Softmax") == 1
    assert np.abs(probabilities(target, pixels) - eager(Tiny(), pixels)).max() < 1e-5


def test_scores_between_0_and_1_that_do_not_sum_to_1_are_asked_about(target):
    with pytest.raises(errors.OptionError, match=r"cannot be told.*--activation"):
        export(models.Sigmoids(), target)
    artefact = export(models.Sigmoids(), target, activation="none")
    assert artefact.lint.conforms


def test_a_declared_sigmoid_need_not_sum_to_1(target):
    artefact = export(Tiny(), target, activation="sigmoid")
    assert artefact.lint.conforms
    assert "EW502" not in {finding.code for finding in artefact.lint.findings}


def test_logits_are_not_probabilities_by_declaration(target):
    with pytest.raises(errors.OptionError, match="--activation none says"):
        export(Tiny(), target, activation="none")


def test_a_single_logit_becomes_two_columns(target, pixels):
    model = Tiny(classes=1)
    export(model, target, classes=["no", "yes"])
    with torch.no_grad():
        scores = probabilities(target, pixels)
    assert scores.shape == (1, 2)
    assert scores.sum() == pytest.approx(1)
    normalization = Normalization.from_unit(OPTIONS["mean"], OPTIONS["std"])
    picture = (pixels.astype(np.float32) - np.float32(normalization.mean)) / np.float32(normalization.std)
    with torch.no_grad():
        logit = model.eval()(torch.from_numpy(picture.transpose(2, 0, 1)[None])).item()
    assert scores[0, 1] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


@pytest.mark.parametrize(
    ("model", "changes", "error", "message"),
    [
        (Tiny(), {"classes": ["cat", "dog"]}, errors.ClassNamesError, "2 class names for 4 scores"),
        (Tiny(), {"classes": ["a;b", "c", "d", "e"]}, errors.ClassNamesError, 'contains ";"'),
        (Tiny(), {"classes": ["a", "a", "d", "e"]}, errors.ClassNamesError, "stands at 0, 1"),
        (Tiny(), {"classes": None}, errors.ClassNamesError, "--classes"),
        (Tiny(), {"mean": None}, errors.OptionError, "--std is given without --mean"),
        (Tiny(), {"mean": None, "std": None}, errors.OptionError, "--mean and --std"),
        (Tiny(), {"mean": [0.0] * 3, "std": [1.0] * 3}, errors.OptionError, "--scale"),
        (Tiny(), {"mean": [0.5] * 2, "std": [0.5] * 2}, errors.OptionError, "2 values of mean"),
        (Tiny(), {"input_size": None}, errors.OptionError, "--input-size"),
        (Tiny(), {"input_size": (4, 8, 8)}, errors.OptionError, "4 channels"),
        (Tiny(), {"opset": 18}, errors.OptionError, "outside 12..17"),
        (Tiny(), {"exporter": "onnx"}, errors.OptionError, "'onnx' is none of"),
        (Tiny(), {"colour": 1}, errors.OptionError, "Unknown option 'colour'"),
        (models.Features(), {}, errors.NotAClassifierError, r"\[1, 8, 2, 2\]"),
        (models.NotANumber(), {}, errors.NotAClassifierError, "NaN"),
        (models.TwoInputs(), {}, errors.NotAClassifierError, "one picture"),
        (models.Noisy(), {}, errors.UnstableModelError, "Two runs"),
        (models.Fourier(), {}, errors.UnexportableError, "fft"),
        (Tiny().half(), {}, errors.NotAClassifierError, "float16"),
    ],
)
def test_what_cannot_become_a_file_says_why_and_leaves_none(target, model, changes, error, message):
    with pytest.raises(error, match=message):
        export(model, target, **changes)
    assert list(target.parent.iterdir()) == []


def test_bad_names_are_repaired_when_asked(target):
    artefact = export(Tiny(), target, classes=["a;b", "a,b", "", "c:d"], fix_names=True)
    assert artefact.contract.class_names.names == ("a,b", "a,b (1)", "class 2", "c-d")


def test_training_mode_is_left_as_it_was(target, pixels):
    model = Tiny().train()
    model.norm.eval()
    export(model, target)
    assert model.training
    assert model.drop.training
    assert not model.norm.training
    assert np.abs(probabilities(target, pixels) - eager(Tiny(), pixels)).max() < 1e-5


def test_a_branch_on_the_pixels_is_an_error_unless_allowed(target):
    with pytest.raises(errors.TracedBranchError, match="--allow-traced-branch"):
        export(models.Branching(), target)
    with pytest.raises(errors.ParityError):  # the proof sees the other branch
        export(models.Branching(), target, allow_traced_branch=True)
    artefact = export(models.Branching(), target, allow_traced_branch=True, atol=0.999)
    assert any("baked in" in note for note in artefact.notes)
    assert own_entries(metadata_of(onnx.load(target)))["traced_branch"] == "true"


def test_a_branch_on_shapes_is_none_on_pixels(target):
    assert export(models.ShapeBranching(), target).parity.verdict == "same"


def test_an_operator_that_came_later_is_named_with_the_opset_it_needs(target):
    with pytest.raises(errors.UnexportableError, match=r"aten::tril.*12.*--opset 14"):
        export(models.Triangular(), target, opset=12, exporter="torchscript")
    export(models.Triangular(), target, opset=14, exporter="torchscript")


def made_by(path):
    return own_entries(metadata_of(onnx.load(path)))["exporter"]


@pytest.mark.parametrize("opset", [12, 17])
def test_the_dynamo_exporter_delivers_the_opset_that_was_asked_for(target, opset):
    artefact = export(models.Attending(), target, opset=opset, input_size=(3, 16, 16), exporter="dynamo")
    assert opset_of(onnx.load(target)) == opset
    assert made_by(target) == "dynamo"
    assert artefact.parity.verdict == "same"
    content = target.read_bytes()
    export(models.Attending(), target, opset=opset, input_size=(3, 16, 16), exporter="dynamo", force=True)
    assert target.read_bytes() == content


def test_what_the_first_exporter_cannot_write_the_second_one_does(target):
    assert export(models.Triangular(), target, opset=12).parity.verdict == "same"
    assert made_by(target) == "dynamo"
    export(Tiny(), target, force=True)
    assert made_by(target) == "torchscript"


@pytest.fixture
def plant(monkeypatch):
    """Lets an exporter write other weights than the model's."""

    def planting(exporter):
        honest = exporter.trace

        def wrong(self, classifier, *args):
            classifier.module.head.weight.data[0] += 0.2
            honest(self, classifier, *args)
            classifier.module.head.weight.data[0] -= 0.2

        monkeypatch.setattr(exporter, "trace", wrong)

    return planting


def test_where_the_first_exporter_writes_something_else_the_second_one_is_tried(target, plant):
    plant(TorchScriptExporter)
    stages = []
    assert export(Tiny(), target, on_stage=stages.append).parity.verdict == "same"
    assert made_by(target) == "dynamo"
    assert [stage.name for stage in stages].count("trace") == 2
    with pytest.raises(errors.ParityError, match="predicts something else"):
        export(Tiny(), target, exporter="torchscript", force=True)
    plant(DynamoExporter)
    with pytest.raises(
        errors.ParityError, match=r"predicts something else.*By way of dynamo: The file predicts"
    ):
        export(Tiny(), target, force=True)


def test_the_original_gives_its_yardstick_once_a_picture_however_many_files_differ(
    target, plant, monkeypatch
):
    from edgeworthy.exporting.classifier import Original

    asked = []

    def otherwise(self, picture, activation):
        asked.append(picture.tobytes())
        yield self.probabilities(self._row(picture), activation)[0]  # explains no difference

    plant(TorchScriptExporter)
    plant(DynamoExporter)
    monkeypatch.setattr(Original, "otherwise", otherwise)
    with pytest.raises(errors.ParityError):
        export(Tiny(), target)
    assert len(asked) == len(set(asked)) > 1


def test_what_neither_exporter_can_write_names_both_reasons_and_the_opset_that_works(target):
    with pytest.raises(errors.UnexportableError, match=r"fft.*By way of dynamo: DFT .*17 to 16") as caught:
        export(models.Fourier(), target, opset=14)
    assert caught.value.hint == "It can be written as opset 17: --opset 17."
    assert export(models.Fourier(), target, opset=17).parity.verdict == "same"


def test_the_dynamo_exporter_refuses_a_branch_on_the_pixels(target):
    with pytest.raises(errors.TracedBranchError, match="depends on the picture"):
        export(models.Branching(), target, exporter="dynamo")
    assert not target.exists()


def test_the_fast_path_of_attention_does_not_block_the_export(target):
    before = torch.backends.mha.get_fastpath_enabled()
    export(models.Attending(fast=True), target, opset=14, input_size=(3, 16, 16))
    assert torch.backends.mha.get_fastpath_enabled() is before


def test_too_large_for_one_file_is_refused_before_anything_runs(target):
    model = Tiny()
    model.huge = torch.nn.Parameter(torch.zeros(1).expand(2**29 + 1), requires_grad=False)
    with pytest.raises(errors.NotAClassifierError, match="2 GiB"):
        export(model, target)


def test_predictions_that_hardly_move_are_inconclusive(target):
    model = Tiny()
    with torch.no_grad():
        model.head.weight.mul_(1e-6)
    artefact = export(model, target)
    assert artefact.parity.verdict == "inconclusive"
    assert any("inconclusive" in note for note in artefact.notes)


def test_samples_join_the_probes(target, tmp_path):
    from PIL import Image

    folder = tmp_path / "samples"
    folder.mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "red.png")
    plain, more = export(Tiny(), target), export(Tiny(), target, samples=folder, force=True)
    assert more.parity.samples == plain.parity.samples + 1


def test_an_existing_target_is_kept_unless_forced(target):
    target.write_text("precious")
    with pytest.raises(errors.TargetError, match="--force"):
        export(Tiny(), target)
    assert target.read_text() == "precious"
    export(Tiny(), target, force=True)
    assert target.stat().st_size > 1000


def test_nothing_is_simplified_when_asked_and_the_evidence_says_so(target):
    artefact = export(Tiny(), target, simplify=False)
    assert own_entries(metadata_of(onnx.load(target)))["simplified"] == "false"
    assert any("not simplified" in note for note in artefact.notes)


def test_results_are_frozen_and_stages_are_told_in_order(target):
    told = []
    artefact = export(Tiny(), target, on_stage=told.append)
    assert [stage.name for stage in told] == [stage.name for stage in artefact.stages]
    assert [stage.name for stage in told] == [
        "load", "try", "trace", "ask", "simplify", "stamp", "prove", "record", "check",
    ]  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        artefact.path = "other"
    assert artefact.contract.class_names.names == NAMES


def stamped(edit, **changes):
    """What stamping makes of a graph that an exporter left in some state."""
    from edgeworthy.exporting.stamping import stamp
    from tests.factory import classifier, contract_of

    model = classifier()
    edit(model)
    stamp(model, dataclasses.replace(contract_of(), **changes))
    return model


def test_a_symbolic_batch_becomes_1():
    """The TorchScript exporter leaves one on some outputs, named after an inner value."""

    def symbolic(model):
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_param = "Softmaxscores_dim_0"

    model = stamped(symbolic)
    shapes = [
        [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    assert shapes == [[1, 3, 12, 16], [1, 3]]


def test_an_opset_that_was_not_asked_for_is_an_error():
    """As torch's newer exporter gives it, with exit status 0."""

    def newer(model):
        model.opset_import[0].version = 18

    with pytest.raises(errors.UnexportableError, match=r"came out at opset 18, asked for was 16.*--opset 18"):
        stamped(newer)


def test_other_inputs_than_the_contracts_are_an_error():
    def second(model):
        model.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))

    with pytest.raises(errors.NotConformantError, match="mask"):
        stamped(second)


def test_what_exporters_leave_behind_is_dropped():
    def leave(model):
        model.doc_string = "made in /home/me"
        model.metadata_props.add(key="pytorch", value="/home/me/model.py")
        model.graph.node[0].doc_string = "/home/me/model.py(3): forward"
        model.graph.node[0].metadata_props.add(key="source", value="/home/me")
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, ["batch", 3, 1, 1])
        )

    assert b"/home/me" not in stamped(leave).SerializeToString()


@pytest.mark.parametrize("source", ["timm:test_vit", "timm:test_efficientnet"])
def test_attention_of_timm_reaches_opset_12(target, source):
    """Fused attention needs opset 14: it is switched off for the export, and on again afterwards."""
    names = [f"class {i}" for i in range(1000)]
    artefact = edgeworthy.export(source, target, untrained=True, classes=names, opset=12)
    assert opset_of(onnx.load(target)) == 12
    assert artefact.parity.verdict == "same"


def test_fused_attention_is_on_again_afterwards(target):
    import timm

    model = timm.create_model("test_vit", num_classes=4)
    before = [getattr(part, "fused_attn", None) for part in model.modules()]
    export(model, target, input_size=None)
    assert [getattr(part, "fused_attn", None) for part in model.modules()] == before
    assert True in before


def test_random_weights_are_the_same_within_autocast(tmp_path):
    sums = []
    for enabled in (False, True):
        model = Tiny()
        with torch.autocast("cpu", enabled=enabled):
            make_sensitive(model, OPTIONS["input_size"])
        sums.append([float(value.double().sum()) for value in model.state_dict().values()])
    assert sums[0] == sums[1]


class Converting(Tiny):
    """Holds tensors in a list, which it converts in a way of its own."""

    def __init__(self):
        super().__init__()
        self.shifts = [torch.linspace(0, 1, 4)]

    def _apply(self, fn, recurse=True):
        self.shifts = [fn(value) for value in self.shifts]
        return super()._apply(fn, recurse)

    def forward(self, image):
        return super().forward(image) @ torch.diag(self.shifts[0])


def test_a_module_that_converts_tensors_itself_is_asked_in_double_precision():
    from edgeworthy.exporting.classifier import Original

    original = Original(Converting().eval(), 4)
    picture = np.zeros((1, 3, 20, 28), np.float32)
    original.ask(picture, "black")
    answers = [answer.dtype for answer in original.otherwise(picture, "softmax")]
    assert answers == [np.float32, np.float32, np.float64]
    assert original.module.shifts[0].dtype == torch.float32


class Chaotic(Tiny):
    """Amplifies rounding, as a hundred layers with random weights do."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def features(self, image):
        return torch.sin(self.by * super().features(image))


def test_random_weights_that_amplify_rounding_speak_softly():
    from edgeworthy.sources import untrained

    generator = torch.Generator().manual_seed(3)
    pictures = 4 * torch.rand(2, *OPTIONS["input_size"], generator=generator) - 2
    calm, rough = Chaotic(2e3), Chaotic(2e5)
    for model in (calm, rough):
        untrained.make_sensitive(model, OPTIONS["input_size"])
    with torch.no_grad():
        assert untrained._unrest(calm, pictures) < 1e-3
        assert 1e-3 < untrained._unrest(rough, pictures) < 8e-3  # 0.02 with the spread of the other
        assert rough(pictures).std() < calm(pictures).std() / 2 < 3


def test_weights_that_an_exporter_could_merge_are_told_apart_in_untrained_models():
    """Fresh BatchNorms are all alike, and then wiring one layer's weights to another proves nothing."""
    import timm

    from edgeworthy.sources.untrained import make_sensitive

    model = timm.create_model("test_resnet")
    make_sensitive(model, (3, 160, 160))
    seen = [tensor.flatten().tolist() for tensor in model.state_dict().values() if tensor.numel() > 1]
    assert len({tuple(values) for values in seen}) == len(seen)


def test_a_head_without_a_bias_has_logits_that_differ_from_picture_to_picture():
    """And not only from class to class, far enough that softmax hides the pictures."""
    from edgeworthy.sources.untrained import make_sensitive

    torch.manual_seed(5)
    layers = (nn.Flatten(), nn.Linear(192, 64), nn.Sigmoid(), nn.Linear(64, 5, bias=False))
    model = nn.Sequential(*layers)
    nn.init.constant_(model[1].bias, 3.0)
    make_sensitive(model, (3, 8, 8))
    logits = model(torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(3)))
    assert logits.std(dim=0).min() > 1
    assert (logits - logits.mean(dim=0)).std() > logits.mean(dim=0).std()  # by some 2 to 3; else 0.2


def test_a_gigantic_picture_among_the_samples_is_refused(target, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "broken.jpg").write_text("no picture")
    with pytest.raises(errors.ImageError, match=r"broken\.jpg"):
        export(Tiny(), target, samples=folder)
    assert not target.exists()


def test_hostile_class_names_travel_unchanged(target):
    names = ["</script><script>alert(1)</script>", "a'b\"c", "猫", "x" * 1024]
    artefact = export(Tiny(), target, classes=names)
    assert artefact.contract.class_names.names == tuple(names)
    assert edgeworthy.inspect(target).class_names == tuple(names)


class Jittering(Tiny):
    """Scales the picture by a random number: at rest only where everything is zero."""

    def forward(self, image):
        return super().forward(image * (1 + 0.05 * torch.rand(1)))


class OnTheEdge(Tiny):
    """Hangs on the sign of a rounding error."""

    def forward(self, image):
        exact = (image.double().sum(dim=(1, 2, 3)) - image.sum(dim=(1, 2, 3)).double()).float()
        gate = (exact > 0).float()[:, None]
        scores = super().forward(image)
        return scores * gate + scores.flip(1) * (1 - gate)


def test_noise_is_seen_on_a_picture_that_is_not_black(target):
    with pytest.raises(errors.UnstableModelError):
        export(Jittering(), target, mean=[0.0] * 3, std=[0.9] * 3, scale=1)
    assert not target.exists()


def test_a_model_that_hangs_on_rounding_is_not_proven_by_its_own_roughness(target):
    with pytest.raises((errors.ParityError, errors.UnexportableError)):
        export(OnTheEdge(), target)
    assert not target.exists()


def test_a_file_that_lost_its_normalisation_is_not_proven(target, monkeypatch):
    from edgeworthy.exporting import stamping

    right = stamping.stamp

    def forgetful(model, contract):
        right(model, contract)
        model.graph.doc_string = ""

    monkeypatch.setattr(stamping, "stamp", forgetful)
    with pytest.raises(errors.NotConformantError, match="normalisation"):
        export(Tiny(), target)
    assert not target.exists()


def test_an_erased_doc_string_does_not_make_predict_normalise_twice(target, tmp_path):
    from PIL import Image

    export(Tiny(), target, normalization_in="graph")
    model = onnx.load(target)
    model.graph.doc_string = ""
    onnx.save(model, tmp_path / "erased.onnx")
    Image.new("RGB", (28, 20), (200, 30, 60)).save(tmp_path / "a.png")
    whole, erased = (
        next(edgeworthy.predict(file, [tmp_path / "a.png"])) for file in (target, tmp_path / "erased.onnx")
    )
    assert whole.scores == erased.scores


def test_options_of_named_sources_are_refused_for_modules(target):
    for options in ({"checkpoint": "best.pth"}, {"untrained": True}, {"trust_pickle": True}):
        with pytest.raises(errors.OptionError, match="not for modules"):
            export(Tiny(), target, **options)


@pytest.mark.parametrize(
    "options",
    [{"normalization_in": "grph"}, {"layout": "NHWC"}, {"activation": "Softmax"}, {"input_size": (20, 28)}],
)
def test_words_that_are_no_choice_are_refused(target, options):
    with pytest.raises(errors.OptionError, match=next(iter(options))):
        export(Tiny(), target, **options)


def test_a_second_softmax_is_refused_even_when_asked_for(target):
    with pytest.raises(errors.OptionError, match="probabilities already"):
        export(models.Probabilities(), target, activation="softmax")


def test_a_frame_of_another_size_or_colour_is_refused(target):
    from edgeworthy.frames import Frame

    for frame in (Frame.crop(28, 20), Frame.crop(20, 28, channel_order="L")):
        with pytest.raises(errors.OptionError, match="The frame gives"):
            export(Tiny(), target, frame=frame)


class Asserting(Tiny):
    """Refuses double precision in its own way."""

    def forward(self, image):
        assert image.dtype == torch.float32
        return super().forward(image)


def test_a_model_that_refuses_float64_is_asked_about_moved_pictures_alone():
    from edgeworthy.exporting.classifier import Original

    picture = np.zeros((1, 3, 20, 28), np.float32)
    original = Original(Asserting().eval(), 4)
    original.ask(picture, "black")
    assert [answer.dtype for answer in original.otherwise(picture, "softmax")] == [np.float32] * 2


class Elsewhere(Tiny):
    """Computes with a tensor on another device than its own, whichever that is."""

    def forward(self, image):
        return super().forward(image) + torch.ones(4, device="meta")


def test_a_model_that_computes_on_a_device_of_its_own_is_told_so(target):
    with pytest.raises(errors.NotAClassifierError, match="not on the expected device") as caught:
        export(Elsewhere(), target)
    assert "device=x.device" in caught.value.hint


class Reshaping(nn.Module):
    """Fails in TorchScript, whose message begins with a traceback of its own."""

    def forward(self, image):
        return image.reshape(1, 7)


class Raising(nn.Module):
    """Says itself what is wrong."""

    def forward(self, image):
        if image.shape[2] != 5:
            raise ValueError("pictures of 5 px only")
        return image.mean(dim=(2, 3))


def test_what_a_script_says_itself_is_told(target):
    with pytest.raises(errors.NotAClassifierError, match=r"28\]: pictures of 5 px only"):
        export(torch.jit.script(Raising()), target)


def test_why_a_script_fails_is_told_in_its_own_words(target):
    with pytest.raises(errors.NotAClassifierError, match=r"28\]: shape '\[1, 7\]' is invalid") as caught:
        export(torch.jit.script(Reshaping()), target)
    assert "--input-size" in caught.value.hint


def test_within_autocast_the_export_is_in_full_precision(target):
    with torch.autocast("cpu"):
        artefact = export(Tiny(), target)
        assert torch.is_autocast_enabled("cpu")
    assert artefact.parity.verdict == "same"


class Mixed(nn.Module):
    """Weights that are shared, of several kinds, and beside them what is no number of a layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.recurrent, self.norm = nn.LSTM(6, 6, batch_first=True), nn.BatchNorm1d(6)
        self.register_buffer("order", torch.arange(6).flip(0))

    def forward(self, rows):
        values, _ = self.recurrent(self.second(self.first(rows))[:, self.order][None])
        return self.norm(values[0])


def test_the_copy_in_double_precision_computes_as_any_other_and_shares_nothing():
    from edgeworthy.exporting.classifier import in_double_precision

    module = Mixed().eval()
    double, plain = in_double_precision(module), copy.deepcopy(module).double()
    rows = torch.randn(3, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(double(rows), plain(rows), rtol=0, atol=0)
    assert double.second.weight is double.first.weight
    assert {value.dtype for value in double.state_dict().values()} == {torch.float64, torch.int64}
    before = [value.clone() for value in module.state_dict().values()]
    with torch.no_grad():
        for value in double.state_dict().values():
            value.zero_()
    assert all(map(torch.equal, before, module.state_dict().values()))


class Counting(Tiny):
    """Takes another road where a picture has many bright pixels."""

    def forward(self, image):
        scores = super().forward(image)
        return scores.flip(1) if (image > 2).nonzero().shape[0] == 777 else scores


class Equal(Tiny):
    """Compares whole tensors."""

    def forward(self, image):
        scores = super().forward(image)
        return scores.flip(1) if torch.equal(image, image * 2) else scores


@pytest.mark.parametrize("kind", [Counting, Equal])
def test_branches_on_counts_and_comparisons_are_seen(target, kind):
    with pytest.raises(errors.TracedBranchError):
        export(kind(), target)


class Scripted(torch.nn.Module):
    """A branch that the exporter writes as such, behind an unpadded convolution."""

    def __init__(self):
        super().__init__()
        self.tiny = Tiny(padding=0)
        self.road = torch.jit.script(choose)

    def forward(self, image):
        return self.road(self.tiny(image), torch.tensor(True))


def choose(scores: torch.Tensor, flag: torch.Tensor) -> torch.Tensor:
    if bool(flag):
        return scores * 2.0
    return scores


def test_folding_the_normalisation_spares_what_subgraphs_use(target):
    export(Scripted(), target, normalization_in="graph", simplify=False)
    assert facts_of(Session(target)).normalization.is_identity


def test_an_export_that_onnx_runtime_refuses_falls_short(target, monkeypatch):
    from edgeworthy import conversion

    def refuse(path, **options):
        raise errors.ModelFileError(f"ONNX Runtime refuses {path}: no such operator")

    monkeypatch.setattr(conversion, "Session", refuse)
    with pytest.raises(errors.UnexportableError, match="ONNX Runtime refuses it: no such operator"):
        export(Tiny(), target)


class Talking(Tiny):
    """Prints in forward."""

    def forward(self, image):
        print("hello from forward")
        return super().forward(image)


class ChangesItsInput(Tiny):
    """Works on the picture in place."""

    def forward(self, image):
        return super().forward(image.mul_(0.5))


def test_neither_the_model_nor_torch_talks_into_the_output(target, capfd):
    export(Talking(), target)
    with pytest.raises(errors.UnexportableError):
        export(models.Fourier(), target, force=True)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_changes_its_input_is_asked_about_fresh_copies(target):
    assert export(ChangesItsInput(), target).parity.verdict == "same"


@pytest.mark.parametrize("classes", [set(NAMES), dict(enumerate(NAMES))])
def test_names_without_an_order_are_refused(target, classes):
    with pytest.raises(errors.ClassNamesError, match="no order of its own"):
        export(Tiny(), target, classes=classes)


def test_names_may_come_one_by_one_and_one_mean_serves_all(target):
    artefact = export(Tiny(), target, classes=iter(NAMES), mean=0.5, std=0.25)
    assert artefact.contract.class_names.names == NAMES
    assert artefact.contract.normalization.std == (63.75,) * 3


def test_weights_that_are_not_there_are_refused(target):
    with torch.device("meta"):
        model = Tiny.__new__(Tiny)
        torch.nn.Module.__init__(model)
        model.head = torch.nn.Linear(3, 4)
    for absent in (model, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(4))):
        with pytest.raises(errors.NotAClassifierError, match="not there yet"):
            export(absent, target)


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, lambda one: torch.compile(nn.DataParallel(one))]
)
def test_a_wrapped_module_is_unwrapped(target, wrap):
    artefact = export(wrap(Tiny()), target)
    assert artefact.parity.verdict == "same"
    assert own_entries(metadata_of(onnx.load(target)))["source"] == "module:tests.models.Tiny"


class Double(Tiny):
    """Gives its scores in double precision."""

    def forward(self, image):
        return super().forward(image).double()


def test_scores_in_double_precision_become_single(target):
    export(Double(), target)
    assert onnx.load(target).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_a_sigmoid_over_probabilities_is_refused(target):
    with pytest.raises(errors.OptionError, match="probabilities already: a sigmoid over them"):
        export(models.Probabilities(), target, activation="sigmoid")


def test_exports_of_several_threads_wait_for_each_other(tmp_path):
    import sys
    import threading

    before = sys.stdout, sys.stderr, torch.get_num_threads()
    done = []

    def one(number):
        done.append(export(Tiny(), tmp_path / f"{number}.onnx").parity.verdict)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["same"] * 2
    assert (sys.stdout, sys.stderr, torch.get_num_threads()) == before
