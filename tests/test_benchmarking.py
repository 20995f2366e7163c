"""Files on this machine: who is measured when, and what a difference is. No test looks at a clock."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeworthy import benchmark, inspect, machine, stopwatch
from edgeworthy.benchmarking import interleaved
from edgeworthy.errors import MissingExtraError, ModelFileError, OptionError, SourceError
from edgeworthy.report.benchmark import render_benchmark, verdicts
from edgeworthy.report.benchmark_page import benchmark_page
from edgeworthy.results import (
    Benchmark,
    FileCost,
    NodeTime,
    OperatorTime,
    Profile,
)
from edgeworthy.runtime import Session
from edgeworthy.timings import Candidate, noise, notes, ratio, timing
from tests.factory import classifier_file

QUICK = {"rounds": 3, "seconds": 0.02}
COLD = {"import_ms": 30.0, "load_ms": 5.0, "first_ms": 2.0, "total_ms": 37.0}


def block(p50_ms, **others):
    return {
        "p50_ms": p50_ms, "p95_ms": p50_ms + 1, "p99_ms": p50_ms + 2, "runs": 200, "cpu_share": 1.0,
        "cold": COLD, "peak_bytes": 5_000_000, "pictures_per_s": 1000 / p50_ms, "sessions": 2,
    } | others  # fmt: skip


def candidate(name="a.onnx", **others):
    return Candidate(**{"name": name, "engine": "onnxruntime", "provider": "cpu", "threads": 1} | others)


def made(*timings, profiles=(), found=()):
    """A benchmark of candidates that nobody has measured."""
    costs = {"size_bytes": 18_600_000, "parameters": 4_631_000, "multiply_adds": None, "reason": "none"}
    return Benchmark(
        processor="a processor", cores=2, load=0.1, onnxruntime="1", rounds=3, seconds=2.0,
        files=tuple(FileCost(file=one, **costs) for one in dict.fromkeys(one.name for one in timings)),
        timings=timings, profiles=profiles, notes=tuple(found),
    )  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return classifier_file(tmp_path_factory.mktemp("files") / "small.onnx")


@pytest.fixture(scope="module")
def found(file):
    return benchmark(file, **QUICK, profile=True)


def test_what_is_said_of_a_file(file, found):
    (cost,) = found.files
    assert cost.size_bytes == file.stat().st_size
    assert cost.parameters == inspect(file).parameters == 12
    (timing,) = found.timings
    assert (timing.name, timing.engine, timing.provider, timing.threads, timing.reason) == (
        str(file), "onnxruntime", "cpu", 1, "",
    )  # fmt: skip
    latency = timing.latency
    assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
    assert len(latency.rounds_ms) == 3
    assert min(latency.rounds_ms) <= latency.p50_ms <= max(latency.rounds_ms)
    assert latency.runs >= 5
    assert timing.ratio is None
    assert timing.throughput.sessions == machine.cores()
    assert timing.throughput.pictures_per_s > 0
    assert min(timing.cold_start.import_ms, timing.cold_start.load_ms, timing.cold_start.first_ms) > 0
    assert timing.peak_bytes is None or timing.peak_bytes > 1e6


def test_the_profile_holds_every_operator(found):
    (profile,) = found.profiles
    assert {one.operator for one in profile.operators} >= {"Gemm", "Softmax", "GlobalAveragePool"}
    assert sum(one.share for one in profile.operators) == pytest.approx(1)
    times = [one.time_ms for one in profile.nodes]
    assert times == sorted(times, reverse=True)


def test_candidates_take_turns_and_another_one_begins_each_round():
    order, told = [], []

    def clock(name):
        return lambda: order.append(name) or block(1.0)

    blocks = interleaved([clock(name) for name in "abc"], 4, lambda *step: told.append(step))
    assert "".join(order) == "abcbcacababc"
    assert [len(one) for one in blocks] == [4, 4, 4]
    assert told[3:6] == [(1, 1), (1, 2), (1, 0)]


def test_one_that_fails_has_no_further_turn_and_says_why():
    turns = iter([block(1.0), "the process was ended by signal 9"])
    fine, failed = interleaved([lambda: block(2.0), lambda: next(turns)], 3, lambda *_: None)
    assert (len(fine), failed) == (3, "the process was ended by signal 9")
    told = timing(candidate(), failed, fine)
    assert (told.latency, told.ratio, told.reason) == (None, None, failed)
    assert timing(candidate(), fine, failed).ratio is None


@pytest.mark.parametrize(
    ("values", "first", "distinct"),
    [
        ([5.0, 5.1, 5.05], [10.0, 10.0, 10.0], True),
        ([20.0, 20.0, 20.0], [10.0, 10.0, 10.0], True),
        ([9.9, 10.1, 10.0], [10.0, 10.0, 10.0], False),  # both ways round
        ([10.1, 10.2, 14.0], [10.0, 10.0, 10.0], False),  # one way round, and the noise is greater
        ([13.3, 14.8, 27.3], [10.0, 10.0, 10.0], True),
        ([10.0, 20.0, 40.0], [20.0, 40.0, 80.0], True),  # disturbed together, which leaves the ratio
        ([10.0, 10.0, 10.0], [10.0, 10.0, 10.0], False),
    ],
)
def test_a_difference_has_to_be_greater_than_the_noise(values, first, distinct):
    found = ratio(values, first)
    assert found.low <= found.value <= found.high
    assert found.distinct is distinct
    assert ratio(first, values).distinct is distinct


def test_noise_is_half_the_range():
    assert noise([9.0, 10.0, 12.0]) == pytest.approx(0.15)
    assert noise([3.0, 3.0, 3.0]) == 0


def test_the_verdict_is_a_sentence():
    first = [block(10.0)] * 3
    several = [
        timing(candidate(), first, first),
        timing(candidate("b.onnx", threads=2), [block(5.0)] * 3, first),
        timing(candidate("c.onnx"), [block(9.0), block(11.0), block(10.5)], first),
        timing(candidate("net.py:build", engine="torch.compile"), [block(25.0)] * 3, first),
        timing(candidate("d.onnx"), "it ended with status 1", first),
    ]
    report = made(*several)
    assert list(verdicts(report)) == [
        "b.onnx (cpu, 2 threads) is 2 times as fast as a.onnx (cpu, 1 thread).",
        "c.onnx (cpu, 1 thread) cannot be told apart from a.onnx (cpu, 1 thread): "
        "the noise is greater than the difference.",
        "net.py:build (compiled, 1 thread) takes 2.5 times as long as a.onnx (cpu, 1 thread).",
    ]
    text = benchmark_page(report)
    assert "d.onnx (cpu, 1 thread) was not measured: it ended with status 1" in text
    assert list(verdicts(made(several[-1], several[0]))) == []
    assert all(render_benchmark(report))


@pytest.mark.parametrize(
    ("blocks", "load", "stolen", "expected"),
    [
        ([block(1.0)] * 3, 0.0, 0.0, []),
        ([block(1.0)] * 3, None, 0.0, []),
        ([block(1.0)] * 3, 1e6, 0.0, ["a load of 1000000.0"]),
        ([block(1.0)] * 3, 0.0, 0.25, ["had 25% of the processor's time"]),
        ([block(1.0), block(1.0, cpu_share=0.4)], 0.0, 0.0, ["only 40% of a core"]),
        ([block(1.0), block(2.0)], 0.0, 0.0, ["differ by up to ±33%"]),
        ([block(1.0), block(1.0, runs=7)], 0.0, 0.0, ["have 7 timed runs"]),
    ],
)
def test_what_disturbed_the_measurement_is_said(blocks, load, stolen, expected):
    said = list(notes([timing(candidate(), blocks, blocks)], load=load, stolen=stolen))
    assert len(said) == len(expected)
    assert all(part in line for part, line in zip(expected, said, strict=True))


def test_times_of_a_trace_leave_out_the_first_runs_and_what_nodes_contain():
    """A loop's own time is that of the nodes in it; a node in it runs several times."""
    events = [{"cat": "Session", "name": "model_run", "ts": 100 * run, "dur": 90} for run in range(4)]
    for run in range(4):
        took = [(10, "Conv"), (2, "Relu"), (2, "Relu"), (50, "Loop")]
        if run < 2:
            took = [(1000 * dur, operator) for dur, operator in took]
        events += [
            {"cat": "Node", "name": f"{operator}_1_kernel_time", "ts": 100 * run + 1, "dur": dur,
             "args": {"op_name": operator}}
            for dur, operator in took
        ]  # fmt: skip
    times = stopwatch.times_of(events)
    assert (times["runs"], times["run_ms"]) == (2, pytest.approx(0.09))
    assert {one["operator"]: one["time_ms"] for one in times["operators"]} == {
        "Conv": pytest.approx(0.01), "Relu": pytest.approx(0.004),
    }  # fmt: skip
    assert [one["name"] for one in times["nodes"]] == ["Conv_1", "Relu_1"]
    assert stopwatch.times_of([])["operators"] == []


def convolution(path, *, quantised):
    """A classifier of one convolution, as floats, or with QuantizeLinear and DequantizeLinear around it."""
    constants = [
        numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "weight"),
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
    ]
    nodes, names = [], ["image-", "weight"]
    if quantised:
        for name in names:
            nodes += [
                helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}q"]),
                helper.make_node("DequantizeLinear", [f"{name}q", "scale", "zero"], [f"{name}d"]),
            ]
        names = [f"{name}d" for name in names]
    nodes += [
        helper.make_node("Conv", names, ["planes"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["planes"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("image-", TensorProto.FLOAT, ["batch", 3, 10, 12])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 8])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_quantising_leaves_the_multiply_adds_as_they_are(tmp_path):
    pytest.importorskip("onnx_tool")
    expected = 10 * 12 * 8 * 3 * 3 * 3
    for quantised in (False, True):
        path = convolution(tmp_path / f"{quantised}.onnx", quantised=quantised)
        assert stopwatch.multiply_adds(path) == expected


def test_without_the_library_the_multiply_adds_are_not_known(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx_tool", None)
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[benchmark\]"'):
        stopwatch.multiply_adds(str(file))


def test_sessions_of_a_large_file_are_one(file, monkeypatch):
    made = []
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr("edgeworthy.runtime.Session", lambda *a, **k: made.append(1) or Session(*a, **k))
    session = Session(file)
    assert stopwatch._throughput(session, 2, 0.01)["sessions"] == 2
    assert stopwatch._throughput(session, 1, 0.01)["sessions"] == 4
    assert len(made) == 1 + 3
    monkeypatch.setattr("edgeworthy.runtime._OWN_BYTES", 10)
    assert stopwatch._throughput(session, 1, 0.01)["sessions"] == 4
    assert len(made) == 1 + 3


def die(*_):
    os.abort()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        (b"", "refuses"),
        (b"\x08\x08garbage" * 50, "refuses"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        benchmark(path, **QUICK)


def test_a_file_whose_input_is_no_picture(tmp_path):
    path = tmp_path / "table.onnx"
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="takes no picture"):
        benchmark(path, **QUICK)


def test_a_file_that_ends_the_process_is_told(file, monkeypatch):
    """The call in the child is one that aborts."""
    places = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    monkeypatch.setattr("edgeworthy.benchmarking._of", lambda _: f"{__name__}:die")
    with pytest.raises(ModelFileError, match="cannot be run: the process was ended by signal 6"):
        benchmark(file, **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"providers": ["openvino"]}, "has no OpenVINOExecutionProvider"),
        ({"providers": ["tpu"]}, "Unknown provider 'tpu'"),
        ({"threads": [1, 4096]}, "4096 threads are more than"),
        ({"threads": [0]}, "0 threads cannot work"),
        ({"threads": []}, "No number of threads"),
        ({"rounds": 2}, "2 rounds do not show"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": 0}, "0 seconds"),
    ],
)
def test_options_that_cannot_be_used(file, options, message):
    with pytest.raises(OptionError, match=message):
        benchmark(file, **QUICK | options)


def test_no_file_is_an_error():
    with pytest.raises(OptionError, match="No file to measure"):
        benchmark([])


@pytest.fixture
def source(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Colours(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x.mean((2, 3))\n"
        "class Other(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x @ torch.ones(5, 5)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    return "net.py"


def test_the_trained_model_is_timed_beside_the_file_and_without_a_compiler_says_why(file, source):
    found = benchmark(file, **QUICK, vs=f"{source}:Colours")
    ours, eager, compiled = found.timings
    assert (eager.name, eager.engine) == ("net.py:Colours", "pytorch")
    assert eager.latency.p50_ms <= eager.latency.p99_ms
    assert eager.ratio.low <= eager.ratio.high
    assert eager.throughput is None
    assert eager.cold_start.total_ms > 0
    assert compiled.engine == "torch.compile"
    assert compiled.latency is None
    assert compiled.reason.startswith("torch.compile failed: ")
    assert ours.ratio is None


@pytest.mark.parametrize(
    ("name", "message"), [("absent", "there is no 'absent'"), ("Other", "takes no picture of 3 x 12 x 16")]
)
def test_a_trained_model_that_cannot_be_had(file, source, name, message):
    with pytest.raises(SourceError, match=message):
        benchmark(file, **QUICK, vs=f"{source}:{name}")


def test_without_torch_the_trained_model_cannot_be_had(file, source, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError\n")
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[export\]"'):
        benchmark(file, **QUICK, vs=f"{source}:Colours")


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in {"src", "href"}]

    def handle_data(self, data):
        self.text.append(data)


def test_names_of_anybody_stay_text_on_the_page_which_loads_nothing():
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"
    blocks = [block(1.0)] * 3
    profile = Profile(
        file=evil, provider="cpu", threads=1, runs=20, run_ms=1.0,
        operators=(OperatorTime(operator=evil, nodes=1, time_ms=1.0, share=1.0),),
        nodes=(NodeTime(name=evil, operator=evil, time_ms=1.0, share=1.0),),
    )  # fmt: skip
    report = made(timing(candidate(evil), blocks, blocks), profiles=(profile,), found=(evil,))
    text = benchmark_page(report)
    page = _Page()
    page.feed(text)
    assert page.links == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert {"svg", "table", "rect"} <= set(page.tags)
    assert "alert(1)" in "".join(page.text)
    assert "\u202e" not in text


def test_the_command_line(run, tmp_path, found, monkeypatch):
    """All values up to the next option, of two options; the page, and JSON."""
    asked = []
    monkeypatch.setattr(
        "edgeworthy.benchmarking.benchmark", lambda files, **options: asked.append(options) or found
    )
    page = tmp_path / "r.html"
    words = ("benchmark", "a.onnx", "--threads", 1, 2, "--provider", "cpu", "openvino", "--rounds", 4)
    code, out, err = run(*words, "-o", page)
    assert (code, err.strip()) == (0, f"{page}: written")
    assert asked[0]["threads"] == (1, 2)
    assert asked[0]["providers"] == ("cpu", "openvino")
    assert (asked[0]["rounds"], asked[0]["vs"], asked[0]["profile"]) == (4, None, False)
    assert re.search(r"small\.onnx", out)
    assert "Time per operator" in out
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    code, _, err = run(*words, "-o", page)
    assert (code, "exists" in err) == (2, True)
    code, out, _ = run("benchmark", "a.onnx", "--json", "--vs", "timm:x", "--checkpoint", "c.pth")
    assert json.loads(out)["timings"][0]["latency"]["rounds_ms"]
    assert (asked[-1]["vs"].spec, asked[-1]["vs"].checkpoint) == ("timm:x", Path("c.pth"))
    assert asked[-1]["threads"] == (1,)


def test_without_what_makes_pages_no_work_is_done(run, file, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("edgeworthy.benchmarking.benchmark", None)
    code, _, err = run("benchmark", file, "-o", tmp_path / "r.html")
    assert (code, 'pip install "edgeworthy[benchmark]"' in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_could_not_be_measured_makes_the_exit_code_1(run, monkeypatch):
    first = [block(1.0)] * 3
    failed = timing(candidate("b.onnx"), "it ended with status 1", first)
    compiled = timing(candidate("m", engine="torch.compile"), "torch.compile failed: no compiler", first)
    for last, expected in ((failed, 1), (compiled, 0)):
        report = made(timing(candidate(), first, first), last)
        monkeypatch.setattr("edgeworthy.benchmarking.benchmark", lambda *_, report=report, **__: report)
        code, out, _ = run("benchmark", "a.onnx")
        assert (code, last.reason in " ".join(out.split())) == (expected, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threads", "many"), "'many' is not a valid integer"),
        (("--threads", "0"), "0 is not in the range"),
        (("--provider", "tpu"), "'tpu' is not one of"),
        (("--rounds", "1"), "1 is not in the range"),
        (("-o", "report.pdf"), "Name it report.html"),
        (("--arch", "timm:x"), "go with --vs"),
        (("--threads", "4096"), "4096 threads are more than"),
    ],
)
def test_calls_that_cannot_be_carried_out(run, file, words, message):
    code, _, err = run("benchmark", file, *words)
    assert (code, message in err) == (2, True), err


def test_benchmarking_loads_neither_torch_nor_the_runtime_in_the_callers_process(file):
    code = (
        "import sys, edgeworthy\n"
        f"edgeworthy.benchmark({str(file)!r}, rounds=3, seconds=0.01)\n"
        "print(sorted({'torch', 'onnxruntime', 'onnx_tool', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
