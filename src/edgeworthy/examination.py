"""What native code says of a model file: the checker, the simplifier and ONNX Runtime, in the sandbox.

Each is called once, when it is first asked for, or ahead of time while the caller does something else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from edgeworthy import native
from edgeworthy.sandbox import Outcome, Sandbox


class Examination:
    """The calls for one file.

    Args:
        path: of the file; it must not change while the examination lasts.
        sandbox: where the calls are made.
    """

    def __init__(self, path: Path, sandbox: Sandbox) -> None:
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
            self._outcomes[name] = self._sandbox.submit(name, self._path)
        return self._outcomes[name]
