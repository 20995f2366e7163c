"""The program as a person or a script meets it: output, exit codes, and what it leaves behind."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from edgeworthy.cli import main
from edgeworthy.cli.app import COMMANDS
from edgeworthy.cli.shared import TextsCommand
from edgeworthy.rules import RULES
from tests.factory import HEARS_SIGINT, classifier_file

MODEL = "tests.models:tiny"
SETTLED = [
    "--classes", "cats.txt", "--input-size", "3", "20", "28",
    "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225",
]  # fmt: skip
BOTH = [*SETTLED, "--embed-normalization", "--no-normalization"]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Call the program in a folder of its own; gives exit code, stdout and stderr."""
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats.txt").write_text("cat\ndog\nhorse\nbird\n")

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return call


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (40, 30), name).save(folder / f"{name}.png")
    return folder


def test_export_shows_a_ladder_a_table_and_what_to_do_next(run, tmp_path):
    code, out, err = run("export", MODEL, *SETTLED, "-o", "m.onnx")
    assert code == 0
    stages = re.findall(r"✓ (\w+)", err)
    assert stages == ["Load", "Try", "Trace", "Ask", "Simplify", "Stamp", "Prove", "Record", "Check"]
    for expected in (
        "image-",
        "4: cat, dog, horse, bird",
        "opset 16, IR 8",
        "Proof",
        "edgeworthy check m.onnx",
    ):
        assert expected in out
    assert "\x1b" not in out + err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cats.txt", "m.onnx"]


def test_export_as_json(run):
    code, out, _ = run("export", MODEL, *SETTLED, "-o", "m.onnx", "--json")
    artefact = json.loads(out)
    assert code == 0
    assert artefact["parity"]["verdict"] == "same"
    assert artefact["contract"]["class_names"]["names"] == ["cat", "dog", "horse", "bird"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["export", MODEL, *SETTLED, "--opset", "18", "-o", "m.onnx"], 2, "12<=x<=17"),
        (["export", MODEL, *SETTLED, "--mean", "a,b", "-o", "m.onnx"], 2, "not a list of numbers"),
        (["export", MODEL, *SETTLED, "--mean", "nan", "-o", "m.onnx"], 2, "not a list of numbers"),
        (["export", MODEL, *SETTLED, "--atol", "nan", "-o", "m.onnx"], 2, "tolerance nan"),
        (["export", MODEL, *SETTLED, "--classes", "absent.txt", "-o", "m.onnx"], 2, "cannot be read"),
        (["export", MODEL, "--classes", "cats.txt", "-o", "m.onnx"], 2, "--input-size"),
        (["export", MODEL, *SETTLED, "-o", "absent/m.onnx"], 2, "does not exist"),
        (["export", MODEL, *SETTLED, "--samples", "absent", "-o", "m.onnx"], 2, "absent"),
        (["export", MODEL, *SETTLED], 2, "--output"),
        (["export", "tests.models:Features", *SETTLED, "-o", "m.onnx"], 1, "expected [1, classes]"),
        (["export", "tests.models:Branching", *SETTLED, "-o", "m.onnx"], 1, "--allow-traced-branch"),
        (["export", "timm:resnet81", "-o", "m.onnx"], 2, "Did you mean"),
        (["export", MODEL, *BOTH, "-o", "m.onnx"], 2, "exclude each other"),
        (["chekc", "m.onnx"], 2, "Did you mean 'check'"),
        (["check"], 2, "Missing argument"),
        (["check", "absent.onnx"], 2, "cannot be read"),
        (["check", "cats.txt"], 2, "not an ONNX model"),
        (["inspect", "cats.txt"], 2, "not an ONNX model"),
        (["predict", "cats.txt", "photos"], 2, "refuses cats.txt"),
    ],
)  # fmt: skip
def test_a_bad_call_ends_in_one_sentence_and_leaves_nothing(run, tmp_path, words, code, message):
    ended, out, err = run(*words)
    assert ended == code
    assert message in err
    assert "Traceback" not in err
    assert "✓ Check" not in err
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["cats.txt"]


def test_check_says_what_is_wrong_and_why(run, tmp_path):
    classifier_file(tmp_path / "good.onnx")
    classifier_file(tmp_path / "warned.onnx", normalization=None)
    classifier_file(tmp_path / "bad.onnx", activation="")
    assert run("check", "good.onnx")[0] == 0
    assert run("check", "warned.onnx")[0] == 0
    assert run("check", "warned.onnx", "--strict")[0] == 1
    assert run("check", "warned.onnx", "--strict", "--ignore", "EW401")[0] == 0
    _, out, _ = run("check", "warned.onnx", "--ignore", "EW401=typed at upload")
    assert "skipped EW401: ignored: typed at upload" in out
    code, out, _ = run("check", "good.onnx", "bad.onnx")
    assert code == 1
    assert "EW501 not-probabilities" in out
    assert "softmax was forgotten" in " ".join(out.split())
    code, _, err = run("check", "good.onnx", "cats.txt", "bad.onnx")
    assert code == 2
    assert "cats.txt" in err


def test_check_as_json_has_every_rule_once(run, tmp_path):
    classifier_file(tmp_path / "bad.onnx", activation="")
    code, out, _ = run("check", "bad.onnx", "absent.onnx", "--json")
    bad, absent = json.loads(out)
    assert code == 2
    found = [finding["code"] for finding in bad["findings"]]
    codes = found + bad["passed"] + [skipped["code"] for skipped in bad["skipped"]]
    assert sorted(codes) == [rule.code for rule in RULES if not rule.targets]
    assert bad["findings"][0].keys() == {"code", "name", "severity", "message", "where", "why"}
    assert "cannot be read" in absent["error"]


def test_check_selects_rules(run, tmp_path):
    classifier_file(tmp_path / "bad.onnx", activation="", normalization=None)
    _, out, _ = run("check", "bad.onnx", "--select", "EW4,EW501", "--json")
    (report,) = json.loads(out)
    assert {finding["code"] for finding in report["findings"]} == {"EW401", "EW501"}
    assert run("check", "bad.onnx", "--select", "EW3")[0] == 0
    code, _, err = run("check", "bad.onnx", "--select", "EW999")
    assert code == 2
    assert "No rule has the code 'EW999'" in err


def test_rule_explains(run):
    code, out, _ = run("rule", "ew501")
    assert code == 0
    assert "EW501 not-probabilities  error" in out
    assert "Raw logits mean that the softmax was forgotten." in " ".join(out.split())
    assert len(run("rule")[1].splitlines()) == len(RULES)
    code, _, err = run("rule", "EW999")
    assert code == 2
    assert "No rule has the code 'EW999'" in err


def test_predict_lists_classes_and_says_how_it_framed(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    code, out, _ = run("predict", "m.onnx", "photos", "-k", "2")
    assert code == 0
    assert out.startswith("Frame: letterbox to 12x16, bilinear (the platform's default)")
    assert re.findall(r"^photos/\w+\.png$", out, re.MULTILINE) == ["photos/blue.png", "photos/red.png"]
    assert len(re.findall(r"^  0\.\d{4} ", out, re.MULTILINE)) == 4


def test_predict_as_json_lines_goes_on_after_a_bad_picture(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    (pictures / "broken.png").write_text("no picture")
    code, out, _ = run("predict", "m.onnx", "photos", "--json", "--frame", "stretch")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [row["path"] for row in rows] == ["photos/blue.png", "photos/broken.png", "photos/red.png"]
    assert rows[0]["frame"] == "stretch"
    assert set(rows[0]["scores"][0]) == {"class_id", "name", "probability"}
    assert "no picture" in rows[1]["error"]


def test_predict_writes_csv_and_json_lines_to_a_file(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    (pictures / "broken.png").write_text("no picture")
    code, out, err = run("predict", "m.onnx", "photos", "-o", "rows.csv", "-k", "2")
    assert (code, out) == (1, "")
    assert "rows.csv: 2 pictures" in err
    assert "1 of 3 pictures could not be read:\n  1 is no picture that can be read." in err
    rows = list(csv.DictReader((tmp_path / "rows.csv").open(encoding="utf-8")))
    assert [(Path(row["path"]).name, row["rank"]) for row in rows] == [
        ("blue.png", "1"), ("blue.png", "2"), ("broken.png", ""), ("red.png", "1"), ("red.png", "2"),
    ]  # fmt: skip
    assert rows[2]["error"].endswith("is no picture that can be read.")
    assert run("predict", "m.onnx", "photos", "-o", "rows.jsonl", "--scores", "all")[0] == 1
    lines = (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()
    assert lines == run("predict", "m.onnx", "photos", "--json")[1].splitlines()  # there are three classes
    best = json.loads(lines[0])["scores"]
    assert [score["class_id"] for score in best[:2]] == [int(row["class_id"]) for row in rows[:2]]
    assert np.float32(rows[0]["probability"]) == np.float32(best[0]["probability"])


def test_predict_leaves_nothing_half_written(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    (tmp_path / "rows.csv").write_text("mine")
    before = sorted(tmp_path.iterdir())
    for words, said in (
        (("-o", "rows.csv"), "--force"),
        (("-o", "absent/rows.csv"), "does not exist"),
        (("-o", "rows.txt"), "results.jsonl or results.csv"),
        (("-o", "rows.jsonl", "--jobs", "10000"), "jobs=10000 with threads=0 is more than the"),
    ):
        code, _, err = run("predict", "m.onnx", "photos", *words)
        assert code == 2
        assert said in err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "rows.csv").read_text() == "mine"


def test_predict_shows_what_is_above_the_threshold(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    shown = [json.loads(line) for line in run("predict", "m.onnx", "photos", "--json")[1].splitlines()]
    least = shown[0]["scores"][1]["probability"]
    _, out, _ = run("predict", "m.onnx", "photos", "--json", "--threshold", str(least))
    for row, whole in zip(map(json.loads, out.splitlines()), shown, strict=True):
        assert row["scores"] == [score for score in whole["scores"] if score["probability"] >= least]
    assert len(json.loads(out.splitlines()[0])["scores"]) == 2
    assert run("predict", "m.onnx", "photos", "-o", "none.csv", "--threshold", "1")[0] == 0
    assert (tmp_path / "none.csv").read_text().splitlines()[1].endswith("blue.png,,,,,")


def test_predict_takes_lists_of_paths(run, tmp_path, pictures, monkeypatch):
    classifier_file(tmp_path / "m.onnx")
    listed = (
        "\ufeffphotos/red.png\n\nphotos/blue.png\r\nphotos/absent\u2028.png\n"  # as Windows writes it, too
    )
    (tmp_path / "list.txt").write_bytes(listed.encode())
    code, out, _ = run("predict", "m.onnx", "@list.txt", "--json")
    assert code == 1
    told = [(row["path"], row.get("error", "")) for row in map(json.loads, out.strip().split("\n"))]
    assert [path for path, _ in told] == ["photos/red.png", "photos/blue.png", "photos/absent\u2028.png"]
    assert "is not there" in told[2][1]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"photos/red.png\n")))
    assert [json.loads(run("predict", "m.onnx", "-", "--json")[1])["path"]] == ["photos/red.png"]
    (tmp_path / "empty.txt").write_text("\n")
    for name, said in (("@empty.txt", "names no pictures"), ("@absent.txt", "cannot be read")):
        code, _, err = run("predict", "m.onnx", name)
        assert code == 2
        assert said in err


def test_predict_draws(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    words = ("predict", "m.onnx", "photos/*.png", "--annotate", "drawn", "--sheet", "sheet.png")
    assert run(*words)[0] == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["blue.jpg", "red.jpg"]
    assert (tmp_path / "sheet.png").exists()
    code, _, err = run(*words)
    assert code == 2
    assert "--force" in err
    assert run(*words, "--force")[0] == 0


def test_predict_takes_the_normalisation_that_a_file_lacks(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx", normalization=None)
    code, _, err = run("predict", "m.onnx", "photos")
    assert code == 2
    assert "--mean" in err
    values = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    assert run("predict", "m.onnx", "photos", *values)[0] == 0
    assert run("predict", "m.onnx", "photos", *values[:2])[0] == 2
    assert run("predict", "m.onnx", "photos", "--mean", "0", "--std", "1")[0] == 2


def test_inspect_as_json(run, tmp_path):
    classifier_file(tmp_path / "m.onnx")
    code, out, _ = run("inspect", "m.onnx", "--json")
    assert code == 0
    assert json.loads(out)["class_names"] == ["cat", "dog", "horse"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Examples:\n    edgeworthy {command}" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run, shell):
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_EDGEWORTHY_COMPLETE" in out


def test_completion_completes():
    environment = os.environ | {
        "_EDGEWORTHY_COMPLETE": "bash_complete", "COMP_WORDS": "edgeworthy che", "COMP_CWORD": "1",
    }  # fmt: skip
    done = program(environment=environment)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "plain,check", "")


def program(*words, environment=None):
    command = [sys.executable, "-m", "edgeworthy", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_an_export_in_a_process_of_its_own_prints_nothing_of_the_libraries(tmp_path):
    target = tmp_path / "m.onnx"
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    done = program(
        "export",
        "timm:test_vit",
        "--untrained",
        "--classes",
        "imagenet-1k",
        "-o",
        target,
        environment=environment,
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("✓") for line in done.stderr.splitlines()), done.stderr
    assert "weights are random" in done.stdout
    assert json.loads(program("inspect", target, "--json").stdout)["evidence"]["untrained"] == "true"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_interrupted_export_leaves_no_target(tmp_path, number, code):
    target = tmp_path / "m.onnx"
    words = ["export", "timm:test_vit", "--untrained", "--classes", "imagenet-1k", "-o", str(target)]
    process = subprocess.Popen(
        [sys.executable, "-c", HEARS_SIGINT, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr
        for line in process.stderr:
            if "Trace" in line:
                break
        process.send_signal(number)
        process.wait(timeout=60)
    assert process.returncode == code
    assert not target.exists()
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error(tmp_path, pictures):
    model = classifier_file(tmp_path / "m.onnx")
    words = ["predict", str(model), *[str(pictures)] * 300]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeworthy", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0
    assert errors == b""


def test_the_program_loads_little_to_start():
    code = (
        "import sys; from edgeworthy.cli.app import app\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'torch', 'PIL', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert program("--version").stdout.startswith("edgeworthy, version ")


def test_the_readmes_sample_is_what_check_prints(run, tmp_path):
    classifier_file(tmp_path / "model.onnx", activation="")
    _, out, _ = run("check", "model.onnx")
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert out.strip() in readme


def test_debug_shows_where_and_keeps_the_exit_code(run):
    code, _, err = run("--debug", "inspect", "absent.onnx")
    assert code == 2
    assert "Traceback" in err


def test_a_file_name_that_is_no_text_ends_nothing(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    (pictures / "red.png").rename(pictures / os.fsdecode(b"\xff.png"))
    done = subprocess.run(
        [sys.executable, "-m", "edgeworthy", "predict", "m.onnx", "photos", "--json"],
        capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2


def test_one_value_of_mean_and_std_serves_all_channels(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx", normalization=None)
    assert run("predict", "m.onnx", "photos", "--mean", "127.5", "--std", "127.5")[0] == 0


def test_inspect_lets_no_escape_reach_the_terminal(run, tmp_path):
    def hostile(model):
        model.producer_name = "\x1b[31mred\n"

    classifier_file(tmp_path / "m.onnx", edit=hostile)
    _, out, _ = run("inspect", "m.onnx")
    assert "\x1b" not in out


def test_scores_that_are_no_probabilities_are_told(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx", activation="")
    code, _, err = run("predict", "m.onnx", "photos")
    assert code == 0
    assert "no probabilities" in err


@pytest.mark.parametrize(
    "words", [("predict", "m.onnx", ""), ("export", MODEL, "--classes", "", "-o", "m2.onnx")]
)
def test_an_empty_word_is_no_folder(run, tmp_path, words):
    classifier_file(tmp_path / "m.onnx")
    code, _, err = run(*words, *(SETTLED[2:] if words[0] == "export" else ()))
    assert code == 2
    assert "shell variable" in err


def test_a_file_without_outputs_says_so(run, tmp_path, pictures):
    def silent(model):
        model.graph.output[0].name = "x"
        del model.graph.output[:]

    classifier_file(tmp_path / "m.onnx", edit=silent)
    code, _, err = run("predict", "m.onnx", "photos")
    assert code == 2
    assert "not foreseen" not in err


def test_an_option_of_texts_takes_all_of_them_up_to_the_next_option():
    seen = {}

    @click.command(cls=TextsCommand, texts="--prompts")
    @click.argument("source")
    @click.option("--prompts", multiple=True)
    @click.option("-o", "--output")
    def command(**values):
        seen.update(values)

    command.main(["s", "--prompts", "a cat", "a dog", "-o", "x", "--prompts", "a cow"], standalone_mode=False)
    assert seen == {"source": "s", "prompts": ("a cat", "a dog", "a cow"), "output": "x"}


def test_odd_file_names_keep_rows_whole_and_alike(run, tmp_path):
    """A carriage return is quoted in CSV; bytes that are no text are shown alike in every format."""
    classifier_file(tmp_path / "m.onnx")
    (tmp_path / "odd").mkdir()
    for name in (b"cr\rx.png", b"bad\xff.png", b"two\nlines.png", b'quote",.png'):
        Image.new("RGB", (8, 8)).save(os.fsdecode(bytes(tmp_path / "odd") + b"/" + name), "PNG")
    assert run("predict", "m.onnx", "odd", "-k", "1", "-o", "rows.csv")[0] == 0
    assert run("predict", "m.onnx", "odd", "-k", "1", "-o", "rows.jsonl")[0] == 0
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as stream:
        from_csv = [row["path"] for row in csv.DictReader(stream)]
    lines = (tmp_path / "rows.jsonl").read_text("utf-8").split("\n")
    assert [json.loads(line)["path"] for line in lines if line] == from_csv
    assert sorted(from_csv) == sorted(
        ["odd/cr\rx.png", r"odd/bad\udcff.png", "odd/two\nlines.png", 'odd/quote",.png']
    )
    "".join(lines).encode("utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [("rule", "EW301"), ("--help",)])
def test_output_that_finds_no_room_is_told_once(words):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "edgeworthy", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: What is written finds no room: No space left on device.\nnext: ")
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(tmp_path, pictures, closed):
    file = classifier_file(tmp_path / "m.onnx")
    command = f"exec {sys.executable} -m edgeworthy predict m.onnx {pictures.name} -o rows.csv {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=file.parent, check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) > len(list(pictures.iterdir()))
    assert b"error" not in done.stderr


def test_what_a_command_reads_is_not_overwritten(run, tmp_path, pictures):
    model = classifier_file(tmp_path / "m.csv")
    before = model.read_bytes()
    (tmp_path / "list.csv").write_text("photos/red.png\n")
    for words in (
        ("photos", "-o", "m.csv"),
        ("@list.csv", "-o", "list.csv"),
        ("@list.csv", "-o", "./list.csv"),
    ):
        code, _, err = run("predict", "m.csv", *words, "--force")
        assert (code, "is read by this command" in err) == (2, True), err
    assert model.read_bytes() == before
    assert (tmp_path / "list.csv").read_text() == "photos/red.png\n"


def test_a_threshold_is_a_number(run, tmp_path, pictures):
    classifier_file(tmp_path / "m.onnx")
    code, _, err = run("predict", "m.onnx", "photos", "--threshold", "nan")
    assert (code, "The threshold nan is no probability in 0..1." in err) == (2, True)


def test_export_does_not_overwrite_what_it_reads(run, tmp_path):
    (tmp_path / "own.py").write_text("from tests.models import tiny\n")
    for source, target in (("own.py:tiny", "own.py"), (MODEL, "cats.txt")):
        code, _, err = run("export", source, *SETTLED, "-o", target, "--force")
        assert (code, f"{target} is read by this command" in err) == (2, True), err
    assert (tmp_path / "own.py").read_text() == "from tests.models import tiny\n"


def test_a_model_that_ends_the_program_is_no_success(run, tmp_path):
    (tmp_path / "own.py").write_text(
        "import sys\nfrom tests.models import Tiny\n"
        "class Quitting(Tiny):\n    def forward(self, image):\n        sys.exit(0)\n"
    )
    code, _, err = run("export", "own.py:Quitting", *SETTLED, "-o", "m.onnx")
    assert (code, "Code of the model's own ends the program: SystemExit(0)." in err) == (2, True), err
    assert not list(tmp_path.glob("*.onnx*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("", "-o", "m.onnx"), "The source is an empty text."),
        ((MODEL, "-o", "loop.onnx"), "loop.onnx is no place for a file"),
        ((MODEL, "-o", "m.onnx", "--atol", "0"), "The tolerance 0.0 is no difference in probability"),
        ((MODEL, "-o", "m.onnx", "--mean", "0.5,,0.4,0.3"), "'0.5,,0.4,0.3' is not a list of numbers"),
    ],
)
def test_calls_of_export_that_cannot_be_carried_out(run, tmp_path, words, message):
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    code, _, err = run("export", *words)
    assert (code, message in err) == (2, True), err


def test_an_interrupt_that_an_import_made_an_error_of_is_one(run, monkeypatch):
    def stopped(*words, **options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr(sys.modules["edgeworthy.cli.app"], "_call", stopped)
    code, _, err = run("check", "m.onnx")
    assert (code, err) == (130, "interrupted\n")
