"""Python's and the C library's housekeeping, kept out of the way of large imports and models."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_LARGE_BYTES = 1 << 20
_LARGEST_BYTES = 32 << 20  # as far as glibc moves its bound for large pieces by itself


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
    _mallopt(_M_ARENA_MAX, most)


@contextlib.contextmanager
def large_pieces_given_back() -> Iterator[None]:
    """Meanwhile, what is freed in pieces of 1 MiB and more goes back to the system at once.

    Pieces of different sizes leave gaps between them, which glibc keeps. Without them tracing sam2_hiera_tiny
    takes 1139 in place of 1469 MB. A run takes a tenth to a half longer, since the system clears each piece.
    `mallopt(3)`; does nothing with other C libraries, nor where the environment has set these bounds.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        yield
        return
    _mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    try:
        yield
    finally:
        _mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        _mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_BYTES)
        give_back()


def _mallopt(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(option, value)


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
