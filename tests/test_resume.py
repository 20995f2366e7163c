"""A run that is killed goes on where its rows end: none is lost, none is there twice, none is another's."""

import contextlib
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgeworthy.cli import main
from edgeworthy.errors import TargetError
from edgeworthy.report import partial, parts
from tests.factory import classifier_file

PICTURES = 150
KILLS = {"csv": 17, "jsonl": 16, "parquet": 17}

# All is imported and the rows go to the disk at once, so that a kill meets the work and not the start.
PROGRAM = (
    "import sys, onnxruntime, pyarrow.parquet, edgeworthy.predictor\n"
    "from edgeworthy.report import parts, partial\n"
    "parts._PICTURES, partial._EVERY_S = 4, 0.0\n"
    "from edgeworthy.cli import main\n"
    "print('ready', flush=True)\n"
    "main()"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model, small pictures, and some that cannot be read."""
    monkeypatch.chdir(tmp_path)
    classifier_file(tmp_path / "m.onnx")
    (tmp_path / "photos").mkdir()
    for number in range(PICTURES):
        path = tmp_path / "photos" / f"{number:04}.png"
        if number % 10 == 7:
            path.write_text("no picture")
        else:
            Image.new("RGB", (8, 6), (number, 5 * number % 256, 0)).save(path)
    return tmp_path


@pytest.fixture
def run(place, capsys):
    """Call the program in this process; gives exit code and stderr."""

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(["predict", "m.onnx", *map(str, words)])
        return ended.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def interrupted(monkeypatch):
    """End a run with an error after so many results."""
    writers = {"csv": partial._Rows, "parquet": parts._Parts}

    @contextlib.contextmanager
    def arrange(kind, count):
        original, left = writers[kind].write, [count]

        def fail(self, result):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            original(self, result)

        with monkeypatch.context() as patched:
            patched.setattr(partial, "_EVERY_S", 0.0)
            patched.setattr(parts, "_PICTURES", 7)
            patched.setattr(writers[kind], "write", fail)
            yield

    return arrange


def content(target):
    """What a reader gets."""
    return pq.read_table(target) if target.is_dir() else target.read_bytes()


def killed(words, after_s):
    """Start the program, kill it a moment after it has begun, and say whether that was in time."""
    command = [sys.executable, "-c", PROGRAM, "predict", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        try:
            _, told = process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, told = process.communicate()
    assert process.returncode in {1, -signal.SIGKILL}, told.decode()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", KILLS)
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(place, run, kind):
    """One picture in ten cannot be read; a kill comes at any moment, the last steps included."""
    whole, target = place / f"whole.{kind}", place / f"rows.{kind}"
    assert run("photos", "-o", whole)[0] == 1
    expected = content(whole)
    moments = random.Random(kind)
    kills = finished = 0
    while kills < KILLS[kind] or not finished:
        words = ["m.onnx", "photos", "-o", str(target), "--resume"]
        if killed(words, moments.uniform(0, 0.25) if kills < KILLS[kind] else 60):
            kills += 1
            if (target / parts.STATE).exists() and list(target.glob("part-*")):
                positions = content(target)["position"].to_pylist()
                assert sorted(set(positions)) == list(range(positions[-1] + 1))
            continue
        finished += 1
        assert content(target) == expected
        code, told = run("photos", "-o", target, "--resume")
        assert code == 1
        assert f"{PICTURES * 9 // 10} pictures, all of them from before: nothing was left to do" in told
        assert content(target) == expected
        left = {path.name for path in place.iterdir()} - {"m.onnx", "photos", whole.name, target.name}
        assert left == (set() if kind == "parquet" else {f"rows.{kind}.run.json"})
        if kind == "parquet":
            assert not [path for path in target.iterdir() if path.name.startswith(".")]
            shutil.rmtree(target)
        else:
            target.unlink()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_would_not_be_the_same_run_is_refused_and_told(place, run, interrupted, kind):
    target = place / f"rows.{kind}"
    with interrupted(kind, 40):
        code, told = run("photos", "-o", target, "--resume")
    assert code == 130
    assert f"{target}: --resume goes on from here" in told
    classifier_file(place / "m.onnx", seed=1)
    (place / "list.txt").write_text("photos/0001.png\n")
    for words, said in (
        (["photos"], ["the model's SHA-256 is"]),
        (
            ["photos", "-k", "2", "--threshold", "0.5"],
            ["top_k is 2, it was 5", "threshold is 0.5, it was null"],
        ),
        (["photos", "--frame", "stretch"], ["frame is", "frame_source is"]),
        (["photos", "--mean", "0", "--std", "1", "--scale", "255"], ["mean is [0.0, 0.0, 0.0], it was"]),
        (["@list.txt"], [f"the pictures are others (1, they were {PICTURES})"]),
    ):
        code, told = run(*words, "-o", target, "--resume")
        assert code == 2
        assert "was begun otherwise" in told
        assert all(part in told for part in said), told
        assert "--force" in told
    classifier_file(place / "m.onnx")
    (place / "photos" / "0000.png").rename(place / "photos" / "9999.png")
    assert "the pictures are others." in run("photos", "-o", target, "--resume")[1]
    (place / "photos" / "9999.png").rename(place / "photos" / "0000.png")
    code, told = run("photos", "-o", target, "--resume")
    assert code == 1
    assert "of them from before" in told
    assert f"{PICTURES // 10} of {PICTURES} pictures could not be read" in told
    assert "by then; their rows say why." in told
    code, told = run("photos", "-o", target, "--resume", "-k", "1")
    assert code == 2
    assert "top_k is 1, it was 5" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Name it with -o"),
        (("-o", "rows.csv", "--force"), "exclude each other"),
        (("-o", "rows.csv", "--annotate", "drawn"), "Leave out --annotate and --sheet"),
        (("-o", "rows.parquet", "--sheet", "s.png"), "Leave out --annotate and --sheet"),
        (("-o", "absent/rows.csv"), "does not exist"),
        (("-o", "absent/rows.parquet"), "does not exist"),
        (("-o", "mine.csv"), "nothing says how it was made"),
        (("-o", "mine.parquet"), "a folder of Parquet files would be written"),
        (("-o", "folder.parquet"), "edgeworthy did not write it"),
        (("-o", "odd.csv"), "does not say how the rows were made"),
        (("-o", "begun.csv"), "begun.csv.partial exists, and nothing says how it was made"),
    ],
)
def test_what_cannot_be_continued_stays_as_it_is(place, run, words, said):
    (place / "mine.csv").write_text("mine")
    (place / "mine.parquet").write_text("mine")
    (place / "folder.parquet").mkdir()
    (place / "folder.parquet" / "part-000000000000.parquet").write_text("mine")
    (place / "odd.csv.run.json").write_text('{"mine": 1}')
    (place / "begun.csv.partial").write_text("mine")
    before = {path: path.is_file() and path.read_bytes() for path in place.rglob("*")}
    code, told = run("photos", *words, "--resume")
    assert code == 2
    assert said in told
    assert {path: path.is_file() and path.read_bytes() for path in place.rglob("*")} == before


def test_parts_are_overwritten_by_force_alone_and_nothing_else_ever_is(place, run):
    target = place / "rows.parquet"
    assert run("photos", "-o", target)[0] == 1
    first = content(target)
    code, told = run("photos", "-o", target, "-k", "1")
    assert code == 2
    assert "--resume" in told
    assert "--force" in told
    (target / "_notes.txt").write_text("mine")
    (target / "_mine").mkdir()
    assert run("photos", "-o", target, "-k", "1", "--force")[0] == 1
    assert content(target).num_rows < first.num_rows
    assert (target / "_notes.txt").read_text() == "mine"
    assert sorted(path.name for path in target.iterdir()) == [
        "_edgeworthy.json", "_mine", "_notes.txt", "part-000000000000.parquet",
    ]  # fmt: skip
    (place / "folder.parquet").mkdir()
    (place / "folder.parquet" / "part-000000000000.parquet").write_text("mine")
    code, told = run("photos", "-o", place / "folder.parquet", "--force")
    assert code == 2
    assert "edgeworthy did not write it" in told
    (place / "empty.parquet").mkdir()
    assert run("photos", "-o", place / "empty.parquet")[0] == 1


def test_the_folder_holds_what_csv_holds(place, run):
    import csv

    run("photos", "-o", "rows.csv")
    run("photos", "-o", "rows.parquet")
    with (place / "rows.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = content(place / "rows.parquet").to_pylist()
    assert len(rows) == len(table)
    for row, found in zip(rows, table, strict=True):
        position = found.pop("position")
        assert row["path"] == f"photos/{position:04}.png"
        probability = found.pop("probability")
        assert row.pop("probability") == ("" if probability is None else f"{probability:.9g}")
        assert row == {name: "" if value is None else str(value) for name, value in found.items()}


def test_a_whole_file_is_not_taken_for_an_interrupted_run(place, run, interrupted):
    with interrupted("csv", 40):
        assert run("photos", "-o", "rows.csv", "--resume")[0] == 130
    code, told = run("photos", "-o", "rows.csv")
    assert code == 2
    assert "holds an interrupted run" in told
    assert run("photos", "-o", "rows.csv", "-k", "1", "--force")[0] == 1
    assert not list(place.glob("rows.csv.*"))
    code, told = run("photos", "-o", "rows.csv", "-k", "1", "--resume")
    assert code == 2
    assert "nothing says how it was made" in told


def test_a_last_step_that_is_missing_is_made_up_for(place, run):
    """Between the last row and the target there are three moments to be killed at."""
    assert run("photos", "-o", "rows.csv", "--resume")[0] == 1
    target, begun = place / "rows.csv", place / "rows.csv.partial"
    expected = target.read_bytes()
    os.link(target, begun)
    assert "nothing was left to do" in run("photos", "-o", "rows.csv", "--resume")[1]
    assert not begun.exists()
    target.rename(begun)
    assert "nothing was left to do" in run("photos", "-o", "rows.csv", "--resume")[1]
    assert not begun.exists()
    assert target.read_bytes() == expected
    target.write_text("mine")
    code, told = run("photos", "-o", "rows.csv", "--resume")
    assert code == 2
    assert "is not what its run wrote" in told
    target.unlink()
    assert run("photos", "-o", "rows.csv", "--resume")[0] == 1
    assert target.read_bytes() == expected


def test_a_file_system_without_hard_links_serves_as_well(place, run, monkeypatch):
    def refuse(*paths, **details):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for name in ("rows.csv", "rows.parquet"):
        assert run("photos", "-o", name, "--resume")[0] == 1
        assert "nothing was left to do" in run("photos", "-o", name, "--resume")[1]
    assert not list(place.glob("*.partial"))


def test_rows_that_went_missing_are_told(place, run, interrupted):
    with interrupted("csv", 40):
        run("photos", "-o", "rows.csv", "--resume")
    os.truncate(place / "rows.csv.partial", 50)
    code, told = run("photos", "-o", "rows.csv", "--resume")
    assert code == 2
    assert "is shorter than it was: 50 of" in told
    with interrupted("parquet", 40):
        run("photos", "-o", "rows.parquet", "--resume")
    first, second, *_ = sorted((place / "rows.parquet").glob("part-*"))
    kept = second.read_bytes()
    second.write_bytes(kept[:-20])
    code, told = run("photos", "-o", "rows.parquet", "--resume")
    assert code == 2
    assert "is damaged" in told
    second.write_bytes(kept)
    first.unlink()
    code, told = run("photos", "-o", "rows.parquet", "--resume")
    assert code == 2
    assert "rows.parquet lacks the pictures 0 to 6." in told


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_processes_do_not_write_the_same_rows(place, run, kind):
    slow = "import time, edgeworthy.filemodel as p\nnormalise = p.normalise\n"
    slow += "p.normalise = lambda *a: time.sleep(0.2) or normalise(*a)\n"
    words = ["predict", "m.onnx", "photos", "-o", f"rows.{kind}", "--resume"]
    with subprocess.Popen([sys.executable, "-c", slow + PROGRAM, *words], stdout=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        state = place / (f"rows.{kind}.run.json" if kind == "csv" else f"rows.{kind}/{parts.STATE}")
        while not state.exists() and time.monotonic() < until:
            time.sleep(0.02)
        code, told = run(*words[2:])
        process.kill()
    assert code == 2
    assert "is being written by another process" in told
    assert run(*words[2:])[0] == 1


def test_a_part_is_committed_after_a_while_however_slow_the_pictures(place, run, monkeypatch):
    monkeypatch.setattr(parts, "_SECONDS", 0.0)
    monkeypatch.setattr(parts, "_ROWS", 5)
    run("photos", "-o", "rows.parquet", "--scores", "all")
    assert len(list((place / "rows.parquet").glob("part-*"))) == PICTURES
    state = json.loads((place / "rows.parquet" / parts.STATE).read_text())
    assert (state["pictures_done"], state["unreadable"], state["finished"]) == (
        PICTURES,
        PICTURES // 10,
        True,
    )
    assert str(Path.home()) not in json.dumps(state)


def test_without_pyarrow_the_error_says_what_to_install(place, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    code, told = run("photos", "-o", "rows.parquet")
    assert code == 2
    assert 'pip install "edgeworthy[parquet]"' in told
    assert not (place / "rows.parquet").exists()


def test_a_name_that_is_no_text_is_written_as_csv_writes_it(place, run):
    (place / "photos" / "0000.png").rename(place / "photos" / os.fsdecode(b"\xff.png"))
    assert run("photos", "-o", "rows.parquet")[0] == 1
    assert content(place / "rows.parquet")["path"][-1].as_py() == "photos/\\udcff.png"


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "Make room, then continue"), (errno.EACCES, "May you write there?")]
)
def test_what_the_disk_refuses_in_the_end_names_the_file(tmp_path, number, hint):
    class Refused(io.BytesIO):
        def close(self):
            raise OSError(number, os.strerror(number))

    with (
        pytest.raises(TargetError, match=rf"rows\.csv cannot be written: {os.strerror(number)}") as told,
        partial._closed(Refused(), tmp_path / "rows.csv"),
    ):
        pass
    assert told.value.hint.startswith(hint)
