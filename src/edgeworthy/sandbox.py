"""Run something native in a child process with limits: a crash becomes a value.

The child is this module run as a program. It reads one JSON request a line, calls the function of
that dotted name, and answers with one JSON line; arguments and results are JSON values. It bounds
crashes, time and memory; it does not confine malicious native code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from edgeworthy.children import Child, answers, start_module
from edgeworthy.errors import EdgeworthyError, rebuilt
from edgeworthy.memory import give_back

Status = Literal["done", "raised", "crashed", "timeout"]

DEFAULT_TIMEOUT_S = 300.0

_NEEDLESS = ("torch", "sympy")  # onnxsim imports them when it can: two seconds for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a call.

    Attributes:
        status: whether the function returned, raised, or took the process with it.
        value: when done.
        message: of what happened, when not.
        error: where the function raised one of edgeworthy's own.
    """

    status: Status
    value: Any = None
    message: str = ""
    error: EdgeworthyError | None = None

    @property
    def done(self) -> bool:
        """Whether the function returned."""
        return self.status == "done"


class Sandbox:
    """A child process that calls functions one after another, and is replaced when it dies.

    Args:
        memory_bytes: of private memory for the child, where the system can limit it.
        preload: a module for the child to import while the parent is busy.
        torch: whether the functions may import it.
        leads: whether the functions start processes, which then end with the child (not on Windows).
    """

    def __init__(
        self,
        *,
        memory_bytes: int | None = None,
        preload: str = "",
        torch: bool = False,
        leads: bool = False,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._preload = preload
        self._needless = [] if torch else list(_NEEDLESS)
        self._leads = leads and hasattr(os, "killpg")
        self._child: Child | None = None
        self._replies: queue.Queue[bytes] = queue.Queue()
        self._errors: Any = None
        self._pool = ThreadPoolExecutor(1)
        self._scratch = tempfile.TemporaryDirectory(prefix="edgeworthy-")  # a dead child tidies nothing up
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        if self._preload:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, function: str, *args: Any, timeout_s: float = DEFAULT_TIMEOUT_S) -> Outcome:
        """Call `package.module:function` with JSON arguments in the child."""
        if self._child is None or self._child.poll() is not None:
            self._start()
        child = self._child
        if child is None:
            return Outcome(status="crashed", message="the child process did not start")
        try:
            child.stdin.write(json.dumps([function, args]).encode() + b"\n")
            child.stdin.flush()
        except OSError:
            return self._bury(child)
        try:
            line = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._end()
            return Outcome(status="timeout", message=f"no answer within {timeout_s:.3g} s")
        if not line:
            return self._bury(child)
        status, content, error = json.loads(line)
        if status == "done":
            return Outcome(status="done", value=content)
        return Outcome(status="raised", message=content, error=rebuilt(*error) if error else None)

    def submit(
        self, function: str, *args: Any, timeout_s: float | Callable[[], float] = DEFAULT_TIMEOUT_S
    ) -> Future[Outcome]:
        """`call` in the background; calls are made one after another, in order.

        A `timeout_s` that depends on the calls before is a function, asked when its own call starts.
        """

        def start() -> Outcome:
            return self.call(function, *args, timeout_s=timeout_s() if callable(timeout_s) else timeout_s)

        return self._pool.submit(start)

    def rest(self) -> None:
        """End the child while nothing is asked of it, which frees 80 MB; the next call starts another."""
        self._end()

    def close(self) -> None:
        """End the child, and with it what is under way."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._end()
        self._scratch.cleanup()

    def _end(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return
        if self._leads:
            with contextlib.suppress(OSError):  # nobody of the group is left
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()

    def _start(self) -> None:
        self._end()
        with self._lock:
            if self._closed:  # meanwhile, by another thread
                return
            self._errors = tempfile.TemporaryFile()
            self._replies = queue.Queue()
            arguments = [str(self._memory_bytes or 0), self._preload, *self._needless]
            self._child = start_module(
                "edgeworthy.sandbox",
                *arguments,
                environment=dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self._scratch.name),
                stderr=self._errors,
                start_new_session=self._leads,
            )
            threading.Thread(target=_collect, args=(self._child.stdout, self._replies), daemon=True).start()

    def _bury(self, child: Child) -> Outcome:
        try:
            code = child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = None
        message = _last_words(code, self._errors)
        self._end()
        return Outcome(status="crashed", message=message)


def _collect(stream: Any, replies: queue.Queue[bytes]) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            replies.put(line)
    replies.put(b"")


def _last_words(code: int | None, errors: Any) -> str:
    reason = (
        f"the process was ended by signal {-code}" if code and code < 0 else f"it ended with status {code}"
    )
    with contextlib.suppress(OSError, ValueError):
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
        if lines:
            return f"{reason}: {lines[-1][:200]}"
    return reason


def _limit_memory(memory_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limit on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _answer(line: bytes) -> list[Any]:
    name, args = json.loads(line)
    module, _, function = name.partition(":")
    try:
        return ["done", getattr(importlib.import_module(module), function)(*args), None]
    except MemoryError:
        return ["raised", "it needs more memory than allowed", None]
    except Exception as error:
        parts = None
        if isinstance(error, EdgeworthyError):
            parts = [type(error).__name__, error.message, error.hint]
        return ["raised", f"{type(error).__name__}: {error}"[:2000], parts]


def serve(memory_bytes: int, preload: str, needless: Sequence[str] = ()) -> None:
    """The child: answer requests until the parent closes the pipe."""
    replies = answers()  # what native code prints must not look like one
    for name in needless:
        sys.modules[name] = None  # type: ignore[assignment]
    if memory_bytes:
        _limit_memory(memory_bytes)
    if preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(preload)
    for line in sys.stdin.buffer:
        replies.write(json.dumps(_answer(line)).encode() + b"\n")
        replies.flush()
        give_back()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
