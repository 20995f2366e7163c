"""Threads and processes that do the same work; what dies, what does not start, and who is quicker."""

import functools
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeworthy import crew, errors, evaluate, machine, predict
from edgeworthy.contract import output_name
from edgeworthy.crew import Crew, pooled
from edgeworthy.errors import EdgeworthyError, ModelFileError, OptionError
from edgeworthy.filemodel import shared_out
from edgeworthy.labels import ClassNames
from edgeworthy.pictures import Picture
from edgeworthy.predictor import Predictor
from tests.factory import HEARS_SIGINT, classifier_file

WORDS = [f"word {number}" for number in range(50)]
UPPER = {"make": operator.methodcaller, "arguments": ("upper",)}


@pytest.fixture
def soon(monkeypatch):
    """Processes are tried after a few items, and take turns of a few."""
    monkeypatch.setattr(crew, "_FIRST", 3)
    monkeypatch.setattr(crew, "_WINDOW", 2)


@pytest.fixture
def photos(tmp_path):
    """Pictures in two class folders, and one that is none."""
    random = np.random.default_rng(1)
    for number in range(24):
        folder = tmp_path / "photos" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + number, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (tmp_path / "photos/dog/broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def file(tmp_path):
    return classifier_file(tmp_path / "m.onnx", names=["cat", "dog", "fox"])


@pytest.mark.parametrize("pool", ["threads", "processes", "auto"])
def test_results_come_in_the_order_of_the_items(soon, pool):
    found = list(pooled(str.upper, iter(WORDS), 2, pool=pool, **UPPER))
    assert found == [word.upper() for word in WORDS]


def test_processes_do_the_work_themselves():
    """And this process only what stays."""
    here = []

    def work(item):
        here.append(item)
        return item.upper()

    found = list(pooled(work, WORDS, 2, pool="processes", stays=lambda item: item.endswith("7"), **UPPER))
    assert found == [word.upper() for word in WORDS]
    assert sorted(here) == sorted(word for word in WORDS if word.endswith("7"))


def test_what_stays_keeps_no_more_threads_busy_than_there_are_jobs():
    busy, most, lock = [], [], threading.Lock()

    def work(item):
        with lock:
            busy.append(item)
            most.append(len(busy))
        time.sleep(0.005)
        with lock:
            busy.remove(item)
        return item

    assert list(pooled(work, WORDS, 2, pool="processes", stays=lambda item: True, **UPPER)) == WORDS
    assert max(most) == 2


def test_no_process_starts_for_what_stays(soon, monkeypatch):
    monkeypatch.setattr(crew, "start_module", lambda name: pytest.fail(f"{name} is started"))
    found = pooled(str.upper, WORDS, 2, pool="auto", stays=lambda item: True, **UPPER)
    assert list(found) == [word.upper() for word in WORDS]


def test_few_of_the_items_are_taken_ahead():
    taken = count()

    def items():
        while True:
            next(taken)
            yield "word"

    results = pooled(str.upper, items(), 2, pool="processes", **UPPER)
    assert list(islice(results, 10)) == ["WORD"] * 10
    results.close()
    assert next(taken) < 200


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_what_a_dead_process_had_is_done_here():
    kill = {"make": functools.partial, "arguments": (signal.raise_signal,)}
    found = list(pooled(str, [signal.SIGKILL] * 9, 2, pool="processes", **kill))
    assert found == [str(signal.SIGKILL)] * 9


def test_an_error_that_nobody_foresaw_is_raised_where_it_can_be_seen():
    with pytest.raises(AttributeError, match="upper"):
        list(pooled(operator.methodcaller("upper"), ["a", 5, "b"], 2, pool="processes", **UPPER))


def test_errors_of_the_work_keep_their_class_and_hint():
    share = {"make": functools.partial, "arguments": (shared_out, 9999)}
    with pytest.raises(OptionError, match="9999") as raised:
        list(pooled(str, [1, 1], 2, pool="processes", **share))
    assert raised.value.hint


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__],
)
def test_every_error_of_the_tree_passes_between_processes(kind):
    error = kind("onnx", "x") if kind is errors.MissingExtraError else kind("It is so.", hint="Do this.")
    passed = pickle.loads(pickle.dumps(error))
    assert type(passed) is kind
    assert vars(passed) == vars(error)
    assert str(passed) == str(error)
    assert isinstance(passed, EdgeworthyError)


def test_where_no_process_starts_threads_work_or_it_is_said(soon, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert list(pooled(str.upper, WORDS, 2, pool="auto", **UPPER)) == [word.upper() for word in WORDS]
    with pytest.raises(OptionError, match="do not start"):
        list(pooled(str.upper, WORDS, 2, pool="processes", **UPPER))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert list(pooled(str.upper, WORDS, 2, pool="auto", **UPPER)) == [word.upper() for word in WORDS]


def test_where_memory_is_short_threads_work(soon, monkeypatch):
    started = []

    def start(name):
        started.append(name)
        raise OSError

    monkeypatch.setattr(crew, "start_module", start)
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**30)
    for each_bytes, expected in ((2**28, 0), (2**20, 2)):
        found = pooled(str.upper, WORDS, 2, pool="auto", each_bytes=each_bytes, **UPPER)
        assert len(list(found)) == len(WORDS)
        assert len(started) == expected


def test_free_memory_is_that_of_the_machine_and_of_the_container(tmp_path, monkeypatch):
    for name, place in (("_MEMORY", "meminfo"), ("_BUDGET", "")):
        monkeypatch.setattr(machine, name, tmp_path / place)
    assert machine.free_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 500 kB\nHugePages_Free: 0\n")
    assert machine.free_bytes() == 500 * 1024
    (tmp_path / "memory.max").write_text("300000\n")
    (tmp_path / "memory.current").write_text("200000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    assert machine.free_bytes() == 150_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_bytes() == 500 * 1024


def test_what_has_changed_since_it_was_loaded_is_left_to_threads(soon):
    here = []
    for pool in ("auto", "processes"):
        list(pooled(here.append, WORDS, 2, pool=pool, same=lambda: False, **UPPER))
    assert len(here) == 2 * len(WORDS)


@pytest.mark.parametrize(("cost", "expected"), [({"a": 2, "b": 1}, "b"), ({"a": 1, "b": 2}, "a")])
def test_the_quicker_of_two_ways_does_the_rest(monkeypatch, cost, expected):
    now, used = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def way(name):
        def go(items):
            for item in items:
                now[0] += cost[name]
                used.append(name)
                yield item

        return go

    ways = {name: way(name) for name in "ab"}
    rest = crew._Rest(range(2000))
    trial = crew._quicker(ways["a"], ways["b"], rest)
    seen = []
    with pytest.raises(StopIteration) as ended:
        while True:
            seen.append(next(trial))
    assert ended.value.value is ways[expected]
    assert seen + list(rest) == list(range(2000))
    assert used == ["b"] * 256 + (["a"] * 256 + ["b"] * 256) * 2


@pytest.mark.parametrize("pool", ["processes", "auto"])
def test_predictions_are_the_same_whoever_makes_them(soon, file, photos, pool):
    paths = sorted(photos.rglob("*.png"))
    pictures = [*paths, Picture(name="bytes", source=paths[0].read_bytes())]
    pictures += [Picture(name="decoded", source=Image.open(paths[1]), time_s=2.5)] * 3
    expected = list(predict(file, pictures))
    assert sum(hasattr(one, "message") for one in expected) == 1
    assert list(predict(file, pictures, pool=pool)) == expected


def test_a_file_that_fails_says_so_from_a_process(tmp_path, photos):
    def name_two(model):
        two = output_name(ClassNames(("cat", "dog")))
        model.graph.output[0].name = model.graph.node[-1].output[0] = two

    wrong = classifier_file(tmp_path / "wrong.onnx", edit=name_two)
    with pytest.raises(ModelFileError, match="names 2 classes"):
        list(predict(wrong, sorted(photos.rglob("*.png")), pool="processes"))


def test_an_unknown_pool_is_refused(file, photos):
    with pytest.raises(OptionError, match="swimming"):
        Predictor(file, pool="swimming")
    with pytest.raises(OptionError, match="swimming"):
        evaluate(file, photos, pool="swimming")


@pytest.mark.parametrize("pool", ["processes", "auto"])
def test_figures_are_the_same_whoever_makes_them(soon, file, photos, pool):
    expected = evaluate(file, photos, frames=["crop", "stretch"])
    assert len(expected.unreadable) == 1
    assert evaluate(file, photos, frames=["crop", "stretch"], pool=pool) == expected


def test_the_trained_model_is_not_sent_to_processes(file, photos):
    with pytest.raises(OptionError, match="not sent"):
        evaluate(file, photos, against="timm:resnet18", pool="processes")


def test_the_command_takes_a_pool(file, photos, run):
    rows = []
    for pool in ("threads", "processes"):
        code, out, _ = run("predict", file, photos, "--json", "--pool", pool)
        assert code == 1
        rows.append(out)
    assert rows[0] == rows[1]
    assert rows[0].count("\n") == 25
    for words in (["predict", file, photos, "-o", "s.parquet"], ["evaluate", file, "--data", photos]):
        code, _, err = run(*words, "--engine", "ray", "--pool", "threads")
        assert code == 2
        assert "--pool is for this machine" in err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(tmp_path, file, photos, number):
    listing = tmp_path / "list.txt"
    listing.write_text(f"{photos / 'cat/01.png'}\n" * 100_000)
    words = ["predict", str(file), f"@{listing}", "--json", "--pool", "processes"]
    command = [sys.executable, "-c", HEARS_SIGINT, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        task = Path(f"/proc/{process.pid}/task")
        workers = [int(pid) for one in task.glob("*/children") for pid in one.read_text().split()]
        process.send_signal(number)
        process.stdout.read()
        said = process.stderr.read().decode()
    assert said.split() == ([] if number == signal.SIGKILL else ["interrupted"])
    assert workers
    deadline = time.monotonic() + 20
    while any(_runs(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(worker) for worker in workers)


def _runs(pid):
    try:
        os.kill(pid, 0)
        return "edgeworthy.crew" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_a_process_can_be_asked_again_after_it_raised():
    share = (functools.partial, (shared_out, 1))
    with Crew(1, *share) as one:
        assert one.ready()
        for _ in range(2):
            with pytest.raises(OptionError):
                list(one.map([9999], str))
        assert list(one.map([1], str)) == [(1, 1)]
