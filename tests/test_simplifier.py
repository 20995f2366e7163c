"""A simplifier that is missing, crashes, or changes predictions: stand-ins take onnxsim's place."""

import pytest
import torch

import edgeworthy
from edgeworthy.errors import MissingExtraError, NotAClassifierError, SimplifyError
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
def test_a_graph_that_unfolds_beyond_one_file_is_told_so_at_once(target, monkeypatch, simplify):
    """What torch folds, the simplifier would fold, too; without it the other exporter writes less."""
    tried = []

    def unfolds(model, *args, **options):
        tried.append(options["dynamo"])
        if options["dynamo"]:
            return export(model, *args, **options)
        raise RuntimeError(
            "The serialized model is larger than the 2GiB limit imposed by the protobuf library."
        )

    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", unfolds)
    if simplify:
        with pytest.raises(NotAClassifierError, match=r"2 GiB or more; .*--input-size.*--no-simplify"):
            edgeworthy.export(Tiny(), target, **OPTIONS)
        assert list(target.parent.iterdir()) == []
        assert tried == [False]
    else:
        edgeworthy.export(Tiny(), target, simplify=False, **OPTIONS)
        assert tried == [False, True]


def test_one_that_the_simplifier_unfolds_is_told_so(stand_in, target):
    stand_in(f"from edgeworthy.exporting import constants\nconstants.MAX_FILE_BYTES = 100\n{MARKS}")
    with pytest.raises(NotAClassifierError, match=r"takes 0\.00 GiB; an ONNX file holds"):
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
