"""Many files at once, in every format, with settings from pyproject.toml."""

import json
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.text import Text

from edgeworthy import examination, native
from edgeworthy.cli.configuration import CheckSettings, check_settings
from edgeworthy.errors import OptionError
from edgeworthy.examination import Examination
from edgeworthy.linter import check, check_all
from edgeworthy.report.findings import report_pieces
from edgeworthy.report.github import render_annotations
from edgeworthy.results import Finding, LintReport, Unchecked
from edgeworthy.rules import RULES, TARGETS
from edgeworthy.sandbox import Outcome
from tests.factory import classifier_file
from tests.test_cli import run
from tests.test_rules import rename

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
SCHEMA = json.loads((SCHEMAS / "check.json").read_text("utf-8"))

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
    _, out, _ = run("check", "models", "--format", "json", "--target", "hailo", "--ignore", "EW2")
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
        'target = ["hailo"]\n'
    )
    expected = CheckSettings(select=["EW3"], ignore={"EW308": "no MemryX"}, strict=True, target=["hailo"])
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
        ("[tool.edgeworthy]\ntarget = 'hailo'\n", "value of another kind"),
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


def never_ending(model):
    """A loop of 2**62 rounds that adds 1, and adds nothing to the scores."""
    name = model.graph.output[0].name
    scalar = [
        helper.make_tensor_value_info(name, kind, ())
        for name, kind in (("i", TensorProto.INT64), ("on", TensorProto.BOOL), ("sum", TensorProto.FLOAT))
    ]
    ends = [
        helper.make_tensor_value_info("still", TensorProto.BOOL, ()),
        helper.make_tensor_value_info("more", TensorProto.FLOAT, ()),
    ]
    steps = [
        helper.make_node("Identity", ["on"], ["still"]),
        helper.make_node("Add", ["sum", "one"], ["more"]),
    ]
    body = helper.make_graph(steps, "body", scalar, ends)
    constants = {"rounds": np.int64(2**62), "go": np.bool_(True), "zero": np.float32(0), "one": np.float32(1)}
    for constant, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), constant))
    model.graph.node[-1].output[0] = "before"
    model.graph.node.extend(
        [
            helper.make_node("Loop", ["rounds", "go", "zero"], ["count"], body=body),
            helper.make_node("Mul", ["count", "zero"], ["nothing"]),
            helper.make_node("Add", ["before", "nothing"], [name]),
        ]
    )


def test_a_small_file_that_never_ends_is_given_up_soon(tmp_path):
    path = classifier_file(tmp_path / "m.onnx", edit=never_ending)
    started = time.perf_counter()
    report = check(path)
    assert time.perf_counter() - started < 60  # it would be for ever; the next test holds the bound itself
    messages = {finding.code: finding.message for finding in report.findings}
    assert set(messages) == {"EW111", "EW112"}
    assert all("no answer within" in message for message in messages.values())
    assert {skipped.code for skipped in report.skipped} >= {"EW501", "EW503"}


class Stuck:
    """A sandbox whose calls all take as long as they may; the clock is a number."""

    def __init__(self, share=1.0):
        self.clock, self.granted, self._share = 0.0, [], share

    def submit(self, name, *args, timeout_s):
        future = Future()
        if not name.endswith(":get_ready"):
            granted = timeout_s()
            self.granted.append(granted)
            self.clock += granted * self._share
        future.set_result(Outcome(status="timeout", message="no answer"))
        return future


@pytest.mark.parametrize(
    ("share", "granted"), [(1.0, [6.1, 1.0, 1.0]), (0.5, [6.1, 3.05, 1.525]), (0.0, [6.1, 6.1, 6.1])]
)
def test_the_calls_for_a_file_share_their_time(tmp_path, monkeypatch, share, granted):
    stuck = Stuck(share)
    monkeypatch.setattr(examination.time, "monotonic", lambda: stuck.clock)
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(50_000))
    Examination(path, stuck).begin()
    assert stuck.granted == pytest.approx(granted)
    assert stuck.clock < 8.5


def test_a_larger_file_gets_more_time(tmp_path, monkeypatch):
    stuck = Stuck()
    monkeypatch.setattr(examination.time, "monotonic", lambda: stuck.clock)
    path = tmp_path / "m.onnx"
    with path.open("wb") as stream:
        stream.truncate(100_000_000)
    Examination(path, stuck).begin({"checked"})
    assert stuck.granted == [230.0]


def test_a_file_that_is_too_large_to_be_simplified_is_not_given_to_the_simplifier(tmp_path, monkeypatch):
    stuck = Stuck()
    monkeypatch.setattr(examination.time, "monotonic", lambda: stuck.clock)
    monkeypatch.setattr(examination, "SIMPLIFY_BELOW_BYTES", 1000)
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(1001))
    Examination(path, stuck).finish()
    assert len(stuck.granted) == 2


def test_answers_of_a_file_are_no_views_into_what_onnx_runtime_holds(tmp_path):
    answers = native._answers(str(classifier_file(tmp_path / "m.onnx")))
    assert all(values.flags.owndata for outputs in answers.outputs for values in outputs)


def test_a_static_check_loads_neither_runtime_nor_simplifier_nor_colours(tmp_path):
    path = str(classifier_file(tmp_path / "m.onnx"))
    code = (
        "import sys\nfrom edgeworthy.cli import main\n"
        f"sys.argv = ['edgeworthy', 'check', '--static', {path!r}]\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    print(ended.code)\n"
        "print(sorted({'onnxruntime', 'onnxsim', 'rich', 'PIL', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]


def test_a_static_check_says_what_it_left_out(run, files):
    code, out, _ = run("check", "models/more/bad.onnx", "--static")
    assert code == 0
    assert "EW111, EW112, EW501, EW502, EW503, EW504, EW505: --static" in out
    assert "EW401" in out


def test_advice_is_asked_for_in_the_call_or_the_settings(run, files, tmp_path):
    path = classifier_file(tmp_path / "new.onnx", ir_version=9)
    assert "EW601" not in run("check", path)[1]
    assert "EW601" in run("check", path, "--target", "cpu", "--target", "hailo")[1]
    (tmp_path / "pyproject.toml").write_text('[tool.edgeworthy]\ntarget = ["hailo"]\n')
    assert "EW601" in run("check", path)[1]
    assert "EW601" not in run("check", path, "--target", "memryx")[1]
    code, _, err = run("check", path, "--target", "toaster")
    assert code == 2
    assert "'toaster'" in err
    assert "hailo" in err


def test_the_help_names_every_target(run):
    helped = " ".join(run("check", "--help")[1].split())
    assert "{} or {}.".format(", ".join(TARGETS[:-1]), TARGETS[-1]) in helped


def test_without_a_terminal_the_report_is_what_a_terminal_shows_without_colours(run, files, capsys):
    report = check(files[1])
    _, out, _ = run("check", files[1])
    console = Console(color_system=None, width=100, highlight=False, markup=False)
    text = Text.assemble(*report_pieces(report))
    text.rstrip()
    console.print(text, soft_wrap=True)
    assert out == capsys.readouterr().out


def test_colours_can_be_had_without_a_terminal(run, files, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in run("check", files[0])[1]


def test_a_files_name_steers_no_terminal():
    report = LintReport(path="a\x1b[31m.onnx", findings=(), passed=(), skipped=())
    assert "\x1b" not in "".join(text for text, _ in report_pieces(report))


def test_a_rule_as_json_keeps_its_schema(run):
    code, out, _ = run("rule", "--json")
    told = json.loads(out)
    schema = json.loads((SCHEMAS / "rule.json").read_text("utf-8"))
    jsonschema.validate(told, schema, cls=jsonschema.Draft202012Validator)
    assert code == 0
    assert [rule["code"] for rule in told] == [rule.code for rule in RULES]
    (one,) = json.loads(run("rule", "ew405", "--json")[1])
    assert (one["mending"], one["family"]) == ("unsafe", "The normalisation")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([one | {"mending": "maybe"}], schema)


def test_a_rule_is_explained_with_its_example_its_source_and_whether_it_can_be_mended(run):
    out = " ".join(run("rule", "EW212", "EW603")[1].split())
    assert "Example: The inputs `image-`, `conv1.weight`" in out
    assert "Source: GUIDE (the how-to page" in out
    assert "Applied with --target memryx." in out
    assert "edgeworthy repair mends it, and predictions stay as they are." in out
    assert "edgeworthy repair cannot mend it." in out


def unknown_attribute(model):
    model.graph.node[0].attribute.append(helper.make_attribute("colour", 1))


def wrong_shape(model):
    """Only full shape inference finds it."""
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.parametrize("edit", [None, unknown_attribute, wrong_shape])
def test_the_checker_alone_says_what_the_package_says(tmp_path, edit):
    path = str(classifier_file(tmp_path / "m.onnx", edit=edit))
    code = (
        "import sys\nfrom edgeworthy import native\n"
        f"print(native.check_model({path!r}))\nprint(sorted({{'onnx', 'numpy'}} & set(sys.modules)))\n"
        "import onnx, onnxsim\n"
        f"print(native._check_by_the_package({path!r}))\nprint(native.check_model({path!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    alone, loaded, package, again = done.stdout.splitlines()
    assert loaded == "[]"
    assert alone == package == again
    assert bool(alone) == (edit is not None)


def test_a_checker_with_other_arguments_is_called_by_way_of_the_package(tmp_path, monkeypatch):
    class Other:
        class checker:
            ValidationError = KeyError

            @staticmethod
            def check_model_path(path):
                """Takes one argument."""

        class shape_inference:
            InferenceError = KeyError

    monkeypatch.setattr(native, "_compiled_onnx", lambda: Other)
    assert native.check_model(str(classifier_file(tmp_path / "m.onnx"))) == ""
    assert "colour" in native.check_model(str(classifier_file(tmp_path / "n.onnx", edit=unknown_attribute)))


def test_a_compiled_part_that_does_not_load_leaves_nothing_behind(tmp_path):
    place = tmp_path / "broken.so"
    place.write_bytes(b"no library")
    native._load("edgeworthy_broken", place)
    assert "edgeworthy_broken" not in sys.modules


def test_what_the_simplifier_says_is_not_lost_behind_the_checker(tmp_path, sandbox):
    """The checker loads onnx's compiled part alone; the simplifier's own errors need all of onnx."""

    def spelled_out(model):
        for node in model.graph.node:
            node.domain = "ai.onnx"

    path = classifier_file(tmp_path / "m.onnx", edit=spelled_out)
    found = check(path, examination=Examination(path, sandbox))
    messages = {finding.code: finding.message for finding in found.findings}
    assert "EW111" in messages
    assert "AttributeError" not in messages["EW111"]


def test_a_name_of_millions_of_entries_is_not_read_to_the_end(tmp_path):
    def endless(model):
        rename(model, model.graph.output[0].name, "scores-" + "0:a;" * 300_000)

    found = check(classifier_file(tmp_path / "m.onnx", edit=endless), static=True)
    message = next(finding.message for finding in found.findings if finding.code == "EW302")
    assert "300001 entries are more than" in message
