"""Keep other people's code from talking: into a program's output, and about its user."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, MutableMapping


@contextlib.contextmanager
def native_output_to_nowhere(descriptor: int = 1) -> Iterator[None]:
    """Nothing that native code writes arrives: on standard output, where torch dumps graphs, or another."""
    try:
        (sys.stdout if descriptor == 1 else sys.stderr).flush()
        kept = os.dup(descriptor)
    except (OSError, ValueError, AttributeError):  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from printing, warning and logging; errors still come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def without_telemetry(environment: MutableMapping[str, str]) -> None:
    """Tell ONNX Runtime to collect nothing, unless the user has said otherwise; before it is imported.

    Its newer builds keep a device id and a database of events in the user's cache folder.
    """
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
