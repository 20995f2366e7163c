"""The trained model in PyTorch, timed in a process of its own: eager, or compiled by torch.compile.

It runs in the sandbox: compiling calls a compiler, and may take its time or fail.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeworthy.errors import MissingExtraError, SourceError, first_line
from edgeworthy.memory import peak_bytes
from edgeworthy.stopwatch import cold_start, timed

MODULE = __name__

_SEED = 20
_running: list[Callable[[], Any]] = []  # what `load` has made ready for `measure`


def look_in(places: Sequence[str]) -> None:
    """Search for modules where the caller's process does, too."""
    sys.path += [place for place in places if place not in sys.path]


def load(
    request: dict[str, Any], size: Sequence[int], threads: int, compiled: bool, started: float
) -> dict[str, Any]:
    """Load the model and ask it once.

    Args:
        request: the fields of a `SourceRequest`.
        size: of the input, (channels, height px, width px).
        threads: for one picture.
        compiled: whether torch.compile has its turn.
        started: when the process was started, on the clock of `time.monotonic`.

    Returns:
        The `cold` start, and the model's `name`; or the `reason` why it could not be compiled.

    Raises:
        SourceError: where the model cannot be had, or takes no such picture.
        MissingExtraError: without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "export") from error

    from edgeworthy.exporting.settings import prepared
    from edgeworthy.sources.base import SourceRequest
    from edgeworthy.sources.registry import load_source

    torch.set_num_threads(threads)
    imported = time.monotonic()
    checkpoint = request["checkpoint"]
    trained = load_source(
        SourceRequest(**request | {"checkpoint": Path(checkpoint) if checkpoint else None, "prompts": ()})
    )
    module = prepared(trained.module).eval()
    ask: Any = torch.compile(module) if compiled else module
    loaded = time.monotonic()
    picture = torch.randn(1, *size, generator=torch.Generator().manual_seed(_SEED))

    def once() -> None:
        with torch.inference_mode():
            ask(picture)

    try:
        cold = cold_start(started, imported, loaded, once)
    except Exception as error:
        if compiled:
            return {"name": trained.name, "reason": f"torch.compile failed: {first_line(error)}"}
        raise SourceError(
            f"{trained.name} takes no picture of {' x '.join(map(str, size))}: {first_line(error)}",
            hint="Is it the model that the file was made from?",
        ) from error
    _running[:] = [once]
    return {"name": trained.name, "cold": cold}


def measure(seconds: float) -> dict[str, Any]:
    """What `stopwatch.timed` gives for the model that is loaded, and `peak_bytes`."""
    return timed(_running[0], seconds) | {"peak_bytes": peak_bytes()}
