"""A crash in native code becomes a value, and so do its time and memory."""

import math
import os
import time
from pathlib import Path

import pytest

from edgeworthy.errors import MissingExtraError
from edgeworthy.sandbox import Sandbox


def crash():
    os.kill(os.getpid(), 11)


def sleep(seconds):
    time.sleep(seconds)


def swallow(size):
    return len(bytearray(size))


def shout():
    os.write(1, b'["done", "forged"]\n')
    print('["done", "forged"]')
    return "mine"


def torch_is_there():
    try:
        import torch
    except ImportError:
        return False
    return bool(torch)


def fail(text):
    raise ValueError(text)


def call(sandbox, function, *args, **limits):
    return sandbox.call(f"tests.test_sandbox:{function.__name__}", *args, **limits)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The child does not search the working directory by itself."""
    places = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))


def test_a_result_is_a_value():
    with Sandbox() as sandbox:
        assert sandbox.call("math:gcd", 12, 18).value == math.gcd(12, 18)


def test_what_is_raised_is_told():
    with Sandbox() as sandbox:
        outcome = call(sandbox, fail, "no such thing")
    assert (outcome.status, outcome.message) == ("raised", "ValueError: no such thing")


def test_after_a_crash_the_next_call_works():
    with Sandbox() as sandbox:
        outcome = call(sandbox, crash)
        assert outcome.status == "crashed"
        assert "signal 11" in outcome.message
        assert call(sandbox, shout).value == "mine"


def test_what_takes_too_long_is_ended():
    with Sandbox() as sandbox:
        started = time.perf_counter()
        assert call(sandbox, sleep, 60, timeout_s=0.5).status == "timeout"
        assert time.perf_counter() - started < 30
        assert call(sandbox, shout).done


def test_memory_is_limited():
    with Sandbox(memory_bytes=1 << 30) as sandbox:
        outcome = call(sandbox, swallow, 2 << 30)
        assert (outcome.status, outcome.message) == ("raised", "it needs more memory than allowed")
        assert call(sandbox, swallow, 1 << 20).value == 1 << 20


def test_what_the_code_prints_is_no_answer():
    with Sandbox() as sandbox:
        assert call(sandbox, shout).value == "mine"


def test_torch_is_kept_out():
    """The simplifier would import it: 200 MB and two seconds for nothing."""
    with Sandbox() as sandbox:
        assert call(sandbox, torch_is_there).value is False


def test_a_child_that_rests_is_gone_and_the_next_call_has_another():
    with Sandbox() as sandbox:
        sandbox.rest()  # before there is one
        first = sandbox.call("os:getpid").value
        sandbox.rest()
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert sandbox.call("os:getpid").value not in {first, None}


def test_closing_ends_what_is_under_way():
    with Sandbox() as sandbox:
        future = sandbox.submit("tests.test_sandbox:sleep", 60)
        time.sleep(0.5)
    assert not future.result(timeout=20).done


def leave_a_file(size):
    import tempfile

    folder = tempfile.mkdtemp()
    Path(folder, "large").write_bytes(bytes(size))
    os.kill(os.getpid(), 9)


def test_what_a_dead_child_leaves_behind_is_tidied_up(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Sandbox() as sandbox:
        assert call(sandbox, leave_a_file, 1000).status == "crashed"
        assert list(tmp_path.rglob("large"))
    assert list(tmp_path.iterdir()) == []


def test_no_child_outlives_a_sandbox_that_is_closed_while_it_starts():
    def children():
        listed = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        return {pid for path in listed for pid in path.read_text().split()}

    if not Path("/proc/self/task").exists():
        return
    before = children()
    for moment in range(12):
        with Sandbox() as sandbox:
            sandbox.submit("tests.test_sandbox:sleep", 30)
            time.sleep(0.002 * moment)
    time.sleep(0.2)
    assert children() <= before


def refuse():
    raise MissingExtraError("onnx-tool", "benchmark")


def test_an_error_of_our_own_comes_back_as_it_was():
    with Sandbox() as sandbox:
        outcome = call(sandbox, refuse)
    assert (outcome.status, type(outcome.error)) == ("raised", MissingExtraError)
    assert outcome.error.hint == 'Install it with: pip install "edgeworthy[benchmark]"'
    assert outcome.error.exit_code == 2
