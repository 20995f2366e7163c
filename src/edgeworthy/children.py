"""Modules of edgeworthy that run as programs of their own: how they are started, and where they answer.

They are no `multiprocessing` workers, which would import the caller's own script again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, BinaryIO

from edgeworthy.silence import without_telemetry


class Child(subprocess.Popen[bytes]):
    """A module that runs: both of its pipes are there."""

    stdin: IO[bytes]
    stdout: IO[bytes]


def start_module(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
) -> Child:
    """Run a module with pipes for its requests and its answers.

    Args:
        name: of the module.
        arguments: of the program.
        environment: what its environment holds besides this process's.
        options: for `subprocess.Popen`.

    Raises:
        OSError: where the system starts no more processes.
    """
    known = os.environ | dict(environment or {}) | {"PYTHONSAFEPATH": "1"}
    without_telemetry(known)
    return Child(
        [sys.executable, "-m", name, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=known,
        **options,
    )


def answers() -> BinaryIO:
    """In the child: where answers go; what anybody else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers
