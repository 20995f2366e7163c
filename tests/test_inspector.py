"""What a file says of itself, whoever made it."""

import json

import pytest

import edgeworthy
from edgeworthy.errors import ModelFileError
from edgeworthy.frames import Frame
from edgeworthy.report.inspection import render_inspection
from tests.factory import classifier_file
from tests.models import OPTIONS, Tiny


def shown(inspection):
    from rich.console import Console

    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(render_inspection(inspection))
    return capture.get()


def test_an_exported_file_tells_how_it_was_made(tmp_path):
    frame = Frame.crop(20, 28)
    artefact = edgeworthy.export(Tiny(), tmp_path / "m.onnx", frame=frame, **OPTIONS)
    inspection = edgeworthy.inspect(tmp_path / "m.onnx")
    assert inspection.sha256 == artefact.sha256
    assert inspection.class_names == OPTIONS["classes"]
    assert (inspection.channels, inspection.height_px, inspection.width_px) == OPTIONS["input_size"]
    assert (inspection.opset, inspection.ir_version, inspection.layout) == (16, 8, "nchw")
    assert inspection.frame == frame
    assert inspection.parameters >= sum(p.numel() for p in Tiny().parameters()) - 16  # BatchNorm is folded
    assert json.loads(inspection.evidence["parity"])["verdict"] == "same"
    text = shown(inspection)
    for expected in (
        "image-",
        "4: cat, dog, horse, bird",
        "means 123.675",
        "same on 18 probes",
        "crop 20x28",
    ):
        assert expected in text


def test_a_file_of_somebody_elses_is_described_as_far_as_it_goes(tmp_path):
    def foreign(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
        model.graph.doc_string = "converted"
        model.graph.output[0].name = "logits"
        model.graph.node[-1].output[0] = "logits"
        model.opset_import.add(domain="ai.onnx.ml", version=3)
        model.metadata_props.add(key="author", value="[bold]me[/bold]")

    inspection = edgeworthy.inspect(classifier_file(tmp_path / "m.onnx", edit=foreign))
    assert inspection.inputs == (("image-", "float32", ("N", 3, 12, 16)),)
    assert (inspection.class_names, inspection.normalization, inspection.frame) == ((), None, None)
    assert inspection.domains == {"ai.onnx.ml": 3}
    text = shown(inspection)
    for expected in (
        "no normalisation",
        "none in the output's name",
        "neither made nor mended",
        "[bold]me[/bold]",
    ):
        assert expected in text


def test_a_repaired_file_tells_what_was_mended(tmp_path, sandbox):
    classifier_file(tmp_path / "theirs.onnx", activation="")
    edgeworthy.repair(tmp_path / "theirs.onnx", tmp_path / "ours.onnx", sandbox=sandbox)
    text = shown(edgeworthy.inspect(tmp_path / "ours.onnx"))
    assert "not-probabilities" in text
    assert "same on 18 probes" in text
    assert "?" not in text


def test_evidence_that_cannot_be_read_does_no_harm(tmp_path):
    def broken(model):
        for key in ("parity", "frame", "version"):
            model.metadata_props.add(key=f"edgeworthy.{key}", value="[")

    inspection = edgeworthy.inspect(classifier_file(tmp_path / "m.onnx", edit=broken))
    assert inspection.frame is None
    assert "cannot be read" in shown(inspection)


def test_what_is_no_model_says_so(tmp_path):
    (tmp_path / "m.onnx").write_text("hello")
    with pytest.raises(ModelFileError, match="not an ONNX model"):
        edgeworthy.inspect(tmp_path / "m.onnx")
