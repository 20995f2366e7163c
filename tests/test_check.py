"""Many files at once, in every format, with settings from pyproject.toml."""

import json
from pathlib import Path

import jsonschema
import pytest

from edgeworthy.cli.configuration import CheckSettings, check_settings
from edgeworthy.errors import OptionError
from edgeworthy.linter import check, check_all
from edgeworthy.report.github import render_annotations
from edgeworthy.results import Finding, LintReport, Unchecked
from tests.factory import classifier_file
from tests.test_cli import run

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "check.json").read_text("utf-8"))

__all__ = ["run"]


@pytest.fixture
def files(tmp_path):
    """Good and bad ones in folders, and one that is no model."""
    (tmp_path / "models" / "more").mkdir(parents=True)
    good = classifier_file(tmp_path / "models" / "good.onnx")
    bad = classifier_file(tmp_path / "models" / "more" / "bad.onnx", activation="", normalization=None)
    broken = tmp_path / "models" / "more" / "broken.onnx"
    broken.write_text("no model")
    (tmp_path / "models" / "readme.txt").touch()
    return [good, bad, broken]


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_files_are_checked_beside_each_other_and_reported_in_order(files, jobs):
    results = list(check_all(files * 2, jobs=jobs))
    assert [result.path for result in results] == [str(path) for path in files * 2]
    alone = check(files[1])
    assert results[1] == alone
    assert isinstance(results[2], Unchecked)


def test_a_wrong_code_is_told_before_any_file_is_read(files):
    with pytest.raises(OptionError, match="EW999"):
        next(check_all(files, ignore={"EW999": "because"}))


def test_a_folder_means_its_files_and_the_summary_counts(run, files):
    code, out, err = run("check", "models")
    assert code == 2
    assert out.splitlines()[-1] == "3 files: 1 conform, 1 do not, 1 could not be read"
    assert "broken.onnx is not an ONNX model" in err
    code, _, err = run("check", "models/more/../../empty")
    assert code == 2
    (Path("empty")).mkdir()
    code, _, err = run("check", "empty")
    assert code == 2
    assert "holds no .onnx file" in err


def test_json_keeps_its_schema(run, files):
    _, out, _ = run("check", "models", "--format", "json")
    jsonschema.validate(json.loads(out), SCHEMA, cls=jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"path": "x"}], SCHEMA)


def test_github_annotations(run, files):
    code, out, _ = run("check", "models", "--format", "github")
    lines = out.splitlines()
    assert code == 2
    assert any(line.startswith("::error file=models/more/bad.onnx,title=EW501 not-prob") for line in lines)
    assert any(line.startswith("::warning file=models/more/bad.onnx,title=EW401") for line in lines)
    assert lines[-1].startswith("::error file=models/more/broken.onnx,title=not checked::")


def test_annotations_cannot_be_broken_out_of():
    finding = Finding(code="EW305", name="n", severity="info", message="a%b\n::error::c\rd", why="w")
    report = LintReport(path="a,b:c\n.onnx", findings=(finding,), passed=(), skipped=())
    assert render_annotations(report) == [
        "::notice file=a%2Cb%3Ac%0A.onnx,title=EW305 n::a%25b%0A::error::c%0Dd w"
    ]


def test_settings_come_from_the_nearest_pyproject(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.edgeworthy]\nselect = ["EW3"]\nignore = { EW308 = "no MemryX" }\nstrict = true\n'
    )
    expected = CheckSettings(select=["EW3"], ignore={"EW308": "no MemryX"}, strict=True)
    assert check_settings(tmp_path / "a" / "b") == expected
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert check_settings(tmp_path / "a" / "b") == CheckSettings()
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.edgeworthy]\nignore = ["EW4"]\n')
    assert check_settings(tmp_path / "a").ignore == {"EW4": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.edgeworthy]\nselekt = ['EW3']\n", "no key 'selekt'"),
        ("[tool.edgeworthy]\nselect = 'EW3'\n", "value of another kind"),
        ("[tool.edgeworthy]\nstrict = 'yes'\n", "value of another kind"),
        ("[tool.edgeworthy]\nignore = { EW3 = 3 }\n", "value of another kind"),
        ("[tool", "cannot be read"),
        ("tool = 3\n", "cannot be read"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path, text, message):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(OptionError, match=message):
        check_settings(tmp_path)


def test_the_call_wins_over_the_settings(run, files, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.edgeworthy]\nstrict = true\nignore = { EW5 = "later" }\n')
    assert run("check", "models/more/bad.onnx")[0] == 1  # EW401, as strict is set
    assert run("check", "models/more/bad.onnx", "--ignore", "EW401=typed")[0] == 0
    _, out, _ = run("check", "models/more/bad.onnx", "--ignore", "EW501=never")
    assert "EW501: ignored: never" in out
    assert "EW502, EW503, EW504, EW505: ignored: later" in out


def test_a_file_that_asks_for_too_much_memory_is_a_finding(tmp_path):
    """A few bytes that stand for 64 GB of zeros."""
    from onnx import TensorProto, helper

    def swell(model):
        size = helper.make_tensor("size", TensorProto.INT64, [1], [2**34])
        model.graph.initializer.append(size)
        zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["sea"], value=zero))
        model.graph.node.insert(1, helper.make_node("ReduceSum", ["sea"], ["drop"], keepdims=0))
        model.graph.node[-1].output[0] = "before"
        model.graph.node.append(helper.make_node("Add", ["before", "drop"], [model.graph.output[0].name]))

    report = check(classifier_file(tmp_path / "m.onnx", edit=swell))
    assert {"EW111", "EW112"} & {finding.code for finding in report.findings}
