"""What native code says of a model file: the checker, the simplifier and ONNX Runtime, in the sandbox.

Each is called once, when it is first asked for, or ahead of time while the caller does something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from edgeworthy import native
from edgeworthy.sandbox import Outcome, Sandbox

# Native work on one file, all calls together; importing the libraries does not count. A file below 100 kB
# holds at most 25,000 weights and some hundred nodes, and takes 0.1 to 0.3 s on a laptop: a machine may be
# twenty times slower before it gives up on a good one, and one that never ends is given up after 8 s.
# Larger files take 0.5 to 2 s, and need not be given up so soon.
_SMALL_BYTES, _SMALL_BUDGET_S = 100_000, 6.0
_BUDGET_S, _BUDGET_S_PER_MB = 30.0, 2.0
_LEAST_S = 1.0  # for a call after the budget is spent
_IMPORTS_S = 60.0

SIMPLIFY_BELOW_BYTES = 400 * 2**20

_MEMORY_BYTES, _MEMORY_PER_BYTE = 2 << 30, 8  # onnxsim and ONNX Runtime hold a few copies of the weights


class _Call(NamedTuple):
    function: Callable[[str], Any]
    libraries: tuple[str, ...]


_CALLS = {
    "checked": _Call(native.check_model, ()),
    "ran": _Call(native.probe_scores, ("edgeworthy.runtime", "onnxruntime")),
    "simplified": _Call(
        native.survives_simplifying, ("onnx", "onnxsim", "edgeworthy.runtime", "onnxruntime")
    ),
}


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def memory_for(paths: Iterable[Path]) -> int:
    """How much a child process may take that examines these files: 2 GiB, and 8 times the largest."""
    return _MEMORY_BYTES + _MEMORY_PER_BYTE * max(map(size_of, paths), default=0)


class Examination:
    """The calls for one file.

    Args:
        path: of the file; it must not change while the examination lasts.
        sandbox: where the calls are made.
    """

    def __init__(self, path: Path, sandbox: Sandbox) -> None:
        self._size = size_of(path)
        self._budget = _Budget(_seconds_for(self._size))
        self._path = str(path)
        self._sandbox = sandbox
        self._outcomes: dict[str, Future[Outcome]] = {}

    def begin(self, needs: Collection[str] = tuple(_CALLS)) -> None:
        """Make calls ahead of time, one after another: those for `checked`, `ran` and `simplified`."""
        for need in _CALLS:
            if need in needs and not (need == "simplified" and self._size > SIMPLIFY_BELOW_BYTES):
                self._submit(need)

    def finish(self) -> None:
        """Make the calls, and wait for them: large models are better not parsed beside them."""
        self.begin()
        for outcome in self._outcomes.values():
            outcome.result()

    @property
    def checked(self) -> Outcome:
        """What onnx.checker says, "" for nothing."""
        return self._submit("checked").result()

    @property
    def simplified(self) -> Outcome:
        """What simplifying changes."""
        return self._submit("simplified").result()

    @property
    def ran(self) -> Outcome:
        """What ONNX Runtime makes of a few pictures."""
        return self._submit("ran").result()

    def _submit(self, need: str) -> Future[Outcome]:
        if need not in self._outcomes:
            call = _CALLS[need]
            self._sandbox.submit(_name(native.get_ready), *call.libraries, timeout_s=_IMPORTS_S)
            future = self._sandbox.submit(_name(call.function), self._path, timeout_s=self._budget.begin)
            future.add_done_callback(lambda _: self._budget.end())
            self._outcomes[need] = future
        return self._outcomes[need]


def _seconds_for(size: int) -> float:
    return (_SMALL_BUDGET_S if size < _SMALL_BYTES else _BUDGET_S) + _BUDGET_S_PER_MB * size / 1e6


class _Budget:
    """The time that calls share which follow each other."""

    def __init__(self, seconds: float) -> None:
        self._left_s = seconds
        self._began: float | None = None

    def begin(self) -> float:
        """A call starts: how long it may take."""
        self._began = time.monotonic()
        return max(self._left_s, _LEAST_S)

    def end(self) -> None:
        """It is over; one that was cancelled never began."""
        if self._began is not None:
            self._left_s -= time.monotonic() - self._began
            self._began = None


def _name(function: Callable[..., Any]) -> str:
    return f"{native.MODULE}:{function.__name__}"
