"""A simplifier that is missing, crashes, or changes predictions: stand-ins take onnxsim's place."""

import pytest
import torch

import edgeworthy
from edgeworthy.errors import MissingExtraError, SimplifyError, UnexportableError
from tests.models import OPTIONS, Tiny

CRASHES = "import os\ndef simplify(model, check_n=0, **options):\n    os.kill(os.getpid(), 11)\n"
MISSING = "raise ModuleNotFoundError(\"No module named 'onnxsim'\", name='onnxsim')\n"
REFUSES = "def simplify(model, check_n=0, **options):\n    raise RuntimeError('shape inference failed')\n"
CHANGES = """
import onnx
from onnx import numpy_helper

def simplify(path, check_n=0, **options):
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(values * values.dtype.type(1.01), tensor.name))
    return model, True
"""
MARKS = """
import onnx

def simplify(path, check_n=0, **options):
    model = onnx.load(path)
    model.graph.doc_string = ""
    model.metadata_props.add(key="onnxsim.version", value="9.9")
    model.metadata_props.add(key="secret", value="/home/me")
    return model, True
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    def arrange(code):
        folder = tmp_path / "stand-in"
        folder.mkdir()
        (folder / "onnxsim.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return arrange


@pytest.fixture
def target(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "m.onnx"


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (CRASHES, SimplifyError, "signal 11.*--no-simplify"),
        (REFUSES, SimplifyError, "shape inference failed.*--no-simplify"),
        (CHANGES, SimplifyError, "Simplifying changes the predictions.*--no-simplify"),
        (MISSING, MissingExtraError, r"edgeworthy\[export\]"),
    ],
)
def test_a_bad_simplifier_is_an_error_and_leaves_no_file(stand_in, target, code, error, message):
    stand_in(code)
    with pytest.raises(error, match=message):
        edgeworthy.export(Tiny(), target, **OPTIONS)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("simplify", [True, False])
def test_where_one_exporter_writes_more_than_a_file_holds_the_other_has_its_turn(
    target, monkeypatch, simplify
):
    """TorchScript writes a tensor that is no buffer once for each use."""
    tried = []

    def overflows(model, *args, **options):
        tried.append(options["dynamo"])
        if options["dynamo"]:
            return export(model, *args, **options)
        raise RuntimeError(
            "The serialized model is larger than the 2GiB limit imposed by the protobuf library."
        )

    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", overflows)
    edgeworthy.export(Tiny(), target, simplify=simplify, **OPTIONS)
    assert tried == [False, True]
    with pytest.raises(UnexportableError, match=r"takes 2 GiB or more; .*--exporter dynamo --no-simplify"):
        edgeworthy.export(Tiny(), target.with_name("n.onnx"), exporter="torchscript", **OPTIONS)
    assert [left.name for left in target.parent.iterdir()] == [target.name]


def test_what_dynamo_writes_has_to_fit_into_a_file(target, monkeypatch):
    monkeypatch.setattr("edgeworthy.exporting.capacity.MAX_FILE_BYTES", 100)
    with pytest.raises(UnexportableError, match="takes 2 GiB or more"):
        edgeworthy.export(Tiny(), target, exporter="dynamo", **OPTIONS)
    assert list(target.parent.iterdir()) == []


def test_what_no_file_holds_once_it_is_simplified_is_told_so_of_each_exporter(stand_in, target):
    stand_in(f"from edgeworthy.exporting import capacity\ncapacity.MAX_FILE_BYTES = 100\n{MARKS}")
    told = r"takes 0\.00 GiB; an ONNX file holds .*By way of dynamo: .*takes 0\.00 GiB.*smaller model"
    with pytest.raises(SimplifyError, match=told):
        edgeworthy.export(Tiny(), target, **OPTIONS)
    assert list(target.parent.iterdir()) == []


def test_without_simplifying_it_goes_on_and_the_report_says_what_the_cloud_will_meet(stand_in, target):
    stand_in(CRASHES)
    artefact = edgeworthy.export(Tiny(), target, simplify=False, **OPTIONS)
    assert [finding.code for finding in artefact.lint.of("error")] == ["EW111"]
    assert any("not simplified" in note for note in artefact.notes)


def test_what_a_simplifier_leaves_behind_or_erases_is_put_right(stand_in, target):
    stand_in(MARKS)
    edgeworthy.export(Tiny(), target, **OPTIONS)
    inspection = edgeworthy.inspect(target)
    assert inspection.metadata == {}
    assert inspection.normalization.mean == pytest.approx((123.675, 116.28, 103.53))
