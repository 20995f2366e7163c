"""Child processes that look at model files, one file after another."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgeworthy.errors import EdgeworthyError, FallsShortError, ModelFileError, OptionError
from edgeworthy.examination import memory_for
from edgeworthy.sandbox import Outcome, Sandbox
from edgeworthy.web.places import without_places
from edgeworthy.web.problems import ProblemError, busy

_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)\b")
_WAITING = 8
_TIMEOUT_S = 300.0


class Office:
    """Calls the functions of `desk`, each in a child process, which a hostile file may take down."""

    def __init__(self) -> None:
        self._clerk = ThreadPoolExecutor(1, thread_name_prefix="office")
        self._inside = 0
        self._sandbox: Sandbox | None = None

    async def call(self, function: Callable[..., dict[str, Any]], path: Path, name: str, *more: Any) -> Any:
        """What the function gives for a file.

        Raises:
            ProblemError: where it fails, or too many wait already.
        """
        if self._inside > _WAITING:
            raise busy(f"{self._inside} model files are being examined or wait already.", 10)
        self._inside += 1
        try:
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(self._clerk, self._called, function, path, (name, *more))
        finally:
            self._inside -= 1
        if outcome.done:
            return outcome.value
        raise _problem(outcome, path, name)

    def close(self) -> None:
        """End what waits, and what is under way."""
        self._clerk.shutdown(wait=False, cancel_futures=True)
        if self._sandbox:
            self._sandbox.close()

    def _called(self, function: Callable[..., Any], path: Path, more: tuple[Any, ...]) -> Outcome:
        name = f"{function.__module__}:{function.__name__}"
        with Sandbox(memory_bytes=memory_for([path]), leads=True) as self._sandbox:
            return self._sandbox.call(name, str(path), *more, timeout_s=_TIMEOUT_S)


def _problem(outcome: Outcome, path: Path, name: str) -> ProblemError:
    error = outcome.error or EdgeworthyError(f"{name}: {outcome.message}")
    slug = "check-failed"
    if isinstance(error, ModelFileError):
        slug = "unreadable-model"
    elif isinstance(error, FallsShortError | OptionError) and outcome.error:
        slug = "cannot-repair"

    detail, hint = (without_places(text, str(path), name) for text in (error.message, error.hint))
    return ProblemError(slug, _in_json(detail), hint=_in_json(hint))


def _in_json(text: str) -> str:
    """Options of the command line as the fields that they are here: `--fix-names` is `fix_names`."""
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), text)
