"""On a real Ray cluster of several processes the rows are those of one machine, whatever dies on the way."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgeworthy import evaluate
from edgeworthy.cli import main
from edgeworthy.cluster import cluster
from edgeworthy.errors import EdgeworthyError, MissingExtraError, ModelFileError, OptionError
from edgeworthy.labelled import Labelled
from edgeworthy.report.parts import SharedParts, Span
from edgeworthy.report.runs import Run
from tests.factory import classifier_file

PICTURES = 300


@pytest.fixture(scope="module")
def store():
    """An object store that speaks S3, on this machine; whatever asks for s3:// is sent to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield fsspec.filesystem("s3")
    server.stop()


@pytest.fixture(scope="module")
def ready(store):
    """A cluster of two workers, which see the store."""
    pytest.importorskip("ray.data")
    with cluster(workers=2) as running:
        yield running


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A model, and pictures of which some cannot be read."""
    monkeypatch.chdir(tmp_path)
    classifier_file(tmp_path / "m.onnx")
    (tmp_path / "photos").mkdir()
    for number in range(PICTURES):
        path = tmp_path / "photos" / f"{number:04}.png"
        if number % 50 == 7:
            path.write_text("no picture")
        else:
            Image.new("RGB", (8, 6), (number % 256, 5 * number % 256, 0)).save(path)
    return tmp_path


@pytest.fixture
def run(place, capsys):
    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(["predict", "m.onnx", "photos", *map(str, words)])
        return ended.value.code, capsys.readouterr().err

    return call


def rows(folder):
    return pq.read_table(folder).sort_by([("position", "ascending"), ("rank", "ascending")])


def workers():
    """Process ids of Ray's workers that do our tasks."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            title = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"MapWorker" in title:
            found.append(int(place.name))
    return found


def late(delay):
    """Made in a worker: doubles numbers, slowly."""
    return lambda number: time.sleep(delay) or (2 * number, os.getpid())


def failing(kind):
    def work(number):
        if number == 3:
            raise kind(f"{number} is too much", hint="Take less.")
        return number

    return work


def test_tasks_are_done_once_each_by_several_processes(ready):
    found = list(ready.map(late, (0.01,), range(40)))
    assert sorted(number for number, _ in found) == list(range(0, 80, 2))
    assert len({process for _, process in found}) >= 2  # Ray may replace one that died


def test_what_a_worker_raises_arrives(ready):
    with pytest.raises(EdgeworthyError, match=r"3 is too much Take less\.") as raised:
        list(ready.map(failing, (ModelFileError,), range(5)))
    assert raised.value.exit_code == 2


def test_a_worker_that_is_killed_loses_nothing(ready, run, place):
    """Among parts that are there and parts that are not; the rows are those of one machine."""
    assert run("-o", "local.parquet")[0] == 1
    killed = []

    def kill():
        while not killed:
            if list((place / "rows.parquet").glob("part-*")) and workers():
                killed.append(workers()[0])
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.001)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    code, told = run("-o", "rows.parquet", "--engine", "ray")
    killer.join(10)
    assert killed
    assert (code, f"{PICTURES // 50} of {PICTURES} pictures could not be read" in told) == (1, True)
    assert rows("rows.parquet").equals(rows("local.parquet"))
    assert len(list((place / "rows.parquet").glob("part-*"))) > 2
    assert not list((place / "rows.parquet").glob(".*"))


def test_a_run_goes_on_with_what_has_no_part(ready, run, place):
    assert run("-o", "rows.parquet", "--engine", "ray")[0] == 1
    whole, parts = rows("rows.parquet"), sorted((place / "rows.parquet").glob("part-*"))
    kept = parts[0].stat().st_mtime_ns
    parts[1].unlink()
    parts[-1].unlink()
    code, told = run("-o", "rows.parquet", "--engine", "ray", "--resume")
    assert (code, "of them from before" in told) == (1, True)
    assert rows("rows.parquet").equals(whole)
    assert parts[0].stat().st_mtime_ns == kept
    assert "nothing was left to do" in run("-o", "rows.parquet", "--engine", "ray", "--resume")[1]
    code, told = run("-o", "rows.parquet", "--engine", "ray", "--resume", "--top-k", "2")
    assert (code, "top_k is 2, it was 5" in told) == (2, True)


def test_what_a_cluster_cannot_do(run, place):
    for words, message in (
        (("--engine", "ray"), "-o names no folder"),
        (("--engine", "ray", "-o", "rows.csv"), "-o names no folder"),
        (("--engine", "ray", "-o", "rows.parquet", "--sheet", "s.png"), "--sheet and --engine ray"),
        (("--engine", "ray", "-o", "rows.parquet", "--json"), "--json and --engine ray"),
        (("--workers", "2"), "Add --engine ray"),
    ):
        code, told = run(*words)
        assert (code, message in told) == (2, True), told
    assert not (place / "rows.parquet").exists()


def test_more_workers_than_cores(ready):
    with pytest.raises(OptionError, match="99 workers are more than the 2 cores"), cluster(workers=99):
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--address", "127.0.0.1:1"), "127.0.0.1:1 cannot be reached"), (("--workers", "999"), "999 workers")],
)
def test_a_cluster_that_cannot_be_had_leaves_no_folder(run, place, monkeypatch, words, message):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    code, told = run("--engine", "ray", *words, "-o", "rows.parquet")
    assert (code, message in told) == (2, True), told
    assert not (place / "rows.parquet").exists()


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[ray\]"'), cluster():
        pass


def test_gaps_between_parts():
    there = [Span(3, 5, 0), Span(5, 6, 1), Span(9, 10, 0)]
    shared = SharedParts(before=Run(facts={}), there=there)
    assert list(shared.gaps(12)) == [(0, 3), (6, 9), (10, 12)]
    assert list(SharedParts(before=Run(facts={}), there=[]).gaps(4)) == [(0, 4)]
    assert list(SharedParts(before=Run(facts={}), there=[Span(0, 4, 0)]).gaps(4)) == []


def test_evaluate_gives_the_same_on_a_cluster(ready, place, capsys):
    """With pictures that cannot be read, a label that is unknown, two files and two frames."""
    classifier_file(place / "n.onnx", names=("horse", "cat", "dog"), seed=1)
    lines = ["path,label"]
    for number in range(PICTURES):
        lines.append(f"photos/{number:04}.png,{('cat', 'dog', 'horse', 'mule')[number % 4]}")
    (place / "t.csv").write_text("\n".join(lines))
    files, seen = ["m.onnx", "n.onnx"], []
    local = evaluate(files, "t.csv", frames=["letterbox", "stretch"])
    spread = evaluate(
        files, "t.csv", frames=["letterbox", "stretch"], engine="ray", on_picture=lambda: seen.append(1)
    )
    assert len(seen) == PICTURES
    assert len(local.unreadable) == PICTURES // 50 // 2  # the others are mules, which nobody looks at
    assert [one.path for one in spread.unreadable] == [one.path for one in local.unreadable]
    assert replace(spread, unreadable=()) == replace(local, unreadable=())


@pytest.mark.parametrize(
    ("details", "message"),
    [({"against": "timm:resnet18"}, "not sent to a cluster"), ({"jobs": 3}, "--workers 3")],
)
def test_what_evaluate_cannot_do_on_a_cluster(details, message, place, capsys):
    words = [f"--{name}={value}" for name, value in details.items()]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "m.onnx", "--data", "t.csv", "--engine", "ray", *words])
    assert (ended.value.code, message in capsys.readouterr().err) == (2, True)
    with pytest.raises(OptionError, match=message):
        evaluate("m.onnx", "t.csv", engine="ray", **details)


def test_evaluate_loses_nothing_with_a_worker_that_is_killed(ready, place):
    """After the first of some 60 tasks for two workers, both of which are then at work on others."""
    paths = sorted((place / "photos").iterdir())
    examples = [Labelled(str(path), ("cat", "dog", "horse")[at % 3]) for at, path in enumerate(paths * 13)]
    seen, killed = [], []

    def on_picture():
        seen.append(1)
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    spread = evaluate("m.onnx", examples, engine="ray", on_picture=on_picture)
    assert killed
    assert len(seen) == len(examples)
    assert spread == evaluate("m.onnx", examples)


def test_pictures_in_an_object_store(ready, store, place, capsys):
    """Workers open them for themselves; rows and figures are those of the files."""
    local = [path for path in sorted((place / "photos").iterdir()) if int(path.stem) < 20]
    store.mkdir("photos")
    for path in local:
        store.put(str(path), f"photos/a b/{path.name}")
    store.pipe("photos/a b/.hidden.png", b"left out")
    (place / "list.txt").write_text("\n".join(map(str, local)))
    words = ["labels.csv", "--json", "--frame", "stretch"]
    figures, names = [], {}
    for name, source, options in (
        ("files", "@list.txt", ()),
        ("local", "s3://photos/a b/", ()),
        ("processes", "s3://photos/*/*.png", ("--pool", "processes")),
        ("ray", "s3://photos/a b", ("--engine", "ray")),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["predict", "m.onnx", source, "-o", f"{name}.parquet", *options])
        assert ended.value.code == 1
        found = rows(f"{name}.parquet")
        names[name] = [Path(path).name for path in found["path"].to_pylist()]
        assert found.drop(["path", "error"]).equals(rows("files.parquet").drop(["path", "error"]))
        paths = dict.fromkeys(found["path"].to_pylist())
        (place / "labels.csv").write_text("path,label\n" + "".join(f"{path},cat\n" for path in paths))
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["evaluate", "m.onnx", "--data", *words, *options])
        figures.append(json.loads(capsys.readouterr().out)["runs"][0]["figures"])
    assert names["files"] == names["local"] == names["processes"] == names["ray"]
    assert figures == [figures[0]] * 4
    assert rows("ray.parquet")["path"][0].as_py() == "s3://photos/a b/0000.png"


def test_what_an_object_store_does_not_have(store, place, capsys):
    for words, code, told in (
        (["s3://photos/none.png"], 1, "s3://photos/none.png is not there"),
        (["s3://nowhere/*.png"], 2, "The pattern matches no pictures: s3://nowhere/*.png"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["predict", "m.onnx", *words])
        assert ended.value.code == code
        output = capsys.readouterr()
        assert told in output.out + output.err
