"""`edgeworthy repair` as a person or a script meets it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeworthy import repairer
from edgeworthy.cli import main
from edgeworthy.cli.repair import EXAMPLES
from tests.factory import classifier_file
from tests.test_repairs import both
from tests.test_rules import input_named, output_named, shaped

THEIRS = {
    "activation": "",
    "edit": both(input_named("input"), output_named("output"), shaped("n", 3, 12, 16)),
}


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Call the program in a folder of its own; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return call


def test_a_repair_lists_what_it_did_the_proof_and_what_is_left(run, tmp_path):
    classifier_file(tmp_path / "theirs.onnx", normalization=None, **THEIRS)
    code, out, _ = run("repair", "theirs.onnx", "--classes", "cat,dog,horse", "-o", "ours.onnx")
    assert code == 0
    for expected in ("→ ours.onnx", "EW202", "EW208", "softmax", "same on 18 probes", "left", "EW401"):
        assert expected in out
    assert run("check", "ours.onnx")[0] == 0


def test_the_readme_s_sample_is_what_repair_prints(run, tmp_path):
    classifier_file(tmp_path / "theirs.onnx", opset=11, ir_version=6, normalization=None, **THEIRS)
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    command = re.search(r"\$ edgeworthy (repair theirs\.onnx .*)", readme)[1]
    _, out, _ = run(*command.split())
    rounding = re.compile(r"at most \S+")
    assert rounding.sub("at most", out.strip()) in rounding.sub("at most", readme)


def test_what_is_missing_is_asked_for_and_nothing_is_written(run, tmp_path):
    classifier_file(tmp_path / "theirs.onnx", **THEIRS)
    code, out, err = run("repair", "theirs.onnx", "-o", "ours.onnx")
    assert (code, out) == (1, "")
    assert "does not say what the classes are called" in err
    assert "--classes" in err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.onnx"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "-o FILE or --in-place"),
        (["-o", "a.onnx", "--in-place"], "exclude each other"),
        (["-o", "theirs.onnx", "--force"], "is the file itself"),
        (["-o", "none/a.onnx"], "does not exist"),
        (["--allow", "magic", "--dry-run"], "'magic' is not one of"),
        (["--opset", "18", "--dry-run"], "12<=x<=17"),
        (["--output", "logits", "--dry-run"], "no output 'logits'"),
        (["--mean", "0.5", "--dry-run"], "--mean is given without --std"),
    ],
)
def test_a_bad_call_is_refused_and_the_file_stays(run, tmp_path, words, message):
    source = classifier_file(tmp_path / "theirs.onnx", **THEIRS)
    content = source.read_bytes()
    code, _, err = run("repair", "theirs.onnx", *words)
    assert code == 2
    assert message in err
    assert source.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.onnx"]


def test_a_difference_shows_the_graph_and_writes_nothing(run, tmp_path):
    source = classifier_file(tmp_path / "theirs.onnx", **THEIRS)
    content = source.read_bytes()
    code, out, err = run("repair", "theirs.onnx", "--classes", "cat,dog,horse", "--diff")
    assert code == 0
    lines = out.splitlines()
    assert "-input input: float32[n,3,12,16]" in lines
    assert "+input image-: float32[1,3,12,16]" in lines
    assert any(line.startswith("+scores-0:cat;1:dog;2:horse = Softmax(") for line in lines)
    assert "nothing written" in err
    assert source.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.onnx"]


def test_a_dry_run_as_json_tells_all_and_writes_nothing(run, tmp_path):
    classifier_file(tmp_path / "theirs.onnx", **THEIRS)
    code, out, _ = run("repair", "theirs.onnx", "--classes", "cat,dog,horse", "--dry-run", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["path"] is None
    assert result["parity"]["verdict"] == "same"
    assert {change["repair"] for change in result["changes"]} >= {"input-name", "not-probabilities"}
    assert not result["after"]["findings"]
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.onnx"]


def test_in_place_replaces_the_file_and_a_second_time_changes_nothing(run, tmp_path):
    source = classifier_file(tmp_path / "m.onnx", **THEIRS)
    assert run("repair", "m.onnx", "--classes", "cat,dog,horse", "--in-place")[0] == 0
    mended = source.read_bytes()
    code, out, _ = run("repair", "m.onnx", "--in-place")
    assert code == 0
    assert "conforms, nothing to mend" in out
    assert source.read_bytes() == mended
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_in_place_keeps_the_file_when_the_repair_fails(run, tmp_path):
    source = classifier_file(tmp_path / "m.onnx", **THEIRS)
    content = source.read_bytes()
    assert run("repair", "m.onnx", "--in-place")[0] == 1
    assert source.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_hostile_name_does_not_steer_the_terminal(run, tmp_path):
    classifier_file(tmp_path / "m.onnx", edit=input_named("\x1b]0;owned\x07"))
    code, out, _ = run("repair", "m.onnx", "-o", "out.onnx")
    assert code == 0
    assert "\x1b" not in out
    assert "owned" in out


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_an_interrupted_repair_leaves_the_file_alone(tmp_path):
    source = classifier_file(
        tmp_path / "m.onnx", height=512, width=512, **THEIRS | {"edit": input_named("x")}
    )
    content = source.read_bytes()
    running = subprocess.Popen(
        [sys.executable, "-m", "edgeworthy", "repair", str(source), "--in-place"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)  # until the draft is there
    running.send_signal(signal.SIGTERM)
    running.wait(30)
    assert running.returncode == 143  # the proof and the rules are still to come when the draft appears
    assert source.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_the_unsafe_repairs_that_help_names_are_those_that_there_are(run):
    _, out, _ = run("repair", "--help")
    for name in repairer.UNSAFE:
        assert name in out
    assert EXAMPLES.splitlines()[2].strip() in out
