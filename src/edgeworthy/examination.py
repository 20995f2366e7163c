"""What native code says of a model file: the checker, the simplifier and ONNX Runtime, in the sandbox.

Each is called once, when it is first asked for, or ahead of time while the caller does something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from edgeworthy import native
from edgeworthy.sandbox import Outcome, Sandbox

_TIMEOUT_S, _TIMEOUT_S_PER_MB = 30.0, 2.0  # for one call; simplifying 100 MB takes seconds
_MEMORY_BYTES, _MEMORY_PER_BYTE = 2 << 30, 8  # onnxsim and ONNX Runtime hold a few copies of the weights


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
        self._timeout_s = _TIMEOUT_S + _TIMEOUT_S_PER_MB * size_of(path) / 1e6
        self._path = str(path)
        self._sandbox = sandbox
        self._outcomes: dict[str, Future[Outcome]] = {}

    def begin(self) -> None:
        """Make all calls ahead of time, one after another."""
        for function in (native.check_model, native.probe_scores, native.survives_simplifying):
            self._submit(function)

    @property
    def checked(self) -> Outcome:
        """What onnx.checker says, "" for nothing."""
        return self._submit(native.check_model).result()

    @property
    def simplified(self) -> Outcome:
        """What simplifying changes."""
        return self._submit(native.survives_simplifying).result()

    @property
    def ran(self) -> Outcome:
        """What ONNX Runtime makes of a few pictures."""
        return self._submit(native.probe_scores).result()

    def _submit(self, function: Callable[[str], Any]) -> Future[Outcome]:
        name = f"{native.MODULE}:{function.__name__}"
        if name not in self._outcomes:
            self._outcomes[name] = self._sandbox.submit(name, self._path, timeout_s=self._timeout_s)
        return self._outcomes[name]
