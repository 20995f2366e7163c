"""Python's and the C library's housekeeping, kept out of the way of large imports and models."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

_M_ARENA_MAX = -8  # malloc.h of glibc


def give_back() -> None:
    """Hand freed memory back, where the C library keeps it: glibc holds on to 100 MB after a trace.

    `malloc_trim(3)`; does nothing with other C libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def share_arenas(most: int) -> None:
    """Let the threads of this process share so many of the C library's arenas.

    glibc gives each thread its own, and each keeps what the largest picture of its thread took: `mallopt(3)`,
    M_ARENA_MAX. Does nothing with other C libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, most)


def peak_bytes() -> int | None:
    """The most that this process has held in memory so far; None where the system does not say.

    `VmHWM` of proc_pid_status(5): getrusage(2) would count the process that started this one.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cycle collector, which walks over everything again and again while torch is imported.

    It makes importing torch and timm a sixth slower, and finds next to nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def spare_the_last_collection() -> None:
    """Let the process end without walking over all that torch made: most of a second. Call it last."""
    gc.freeze()
