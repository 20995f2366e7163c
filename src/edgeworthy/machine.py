"""How many cores this process may keep busy, and who else wants them."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

_CPUS = Path("/proc/cpuinfo")
_TICKS = Path("/proc/stat")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time, and in what period
_MEMORY = Path("/proc/meminfo")
_BUDGET = Path("/sys/fs/cgroup")  # of memory: its files memory.max, memory.current and memory.stat


def cores() -> int:
    """Cores that the process may run on: those of its affinity mask, and no more than its container's quota.

    Source: cgroup v2, https://docs.kernel.org/admin-guide/cgroup-v2.html, "cpu.max".
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no quota, or none that is known
        return allowed


def free_bytes() -> int | None:
    """Memory that can be had without swapping, and within the container's limit; None where nobody says.

    Sources: proc_meminfo(5), "MemAvailable"; cgroup v2, "memory.max" less what is in use and no file's cache.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        found.append(1024 * _numbers(_MEMORY)["MemAvailable:"])
    with contextlib.suppress(OSError, ValueError, KeyError):  # "max" where there is no limit
        most, used = (int((_BUDGET / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(most - used + _numbers(_BUDGET / "memory.stat")["inactive_file"])
    return min(found, default=None)


def _numbers(path: Path) -> dict[str, int]:
    """Of a file with a name and a number in each line."""
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {line[0]: int(line[1]) for line in lines}


def processor() -> str:
    """What the processor calls itself, or its architecture where it does not say."""
    with contextlib.suppress(OSError):
        for line in _CPUS.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip():
                return name.strip()
    return platform.machine()


def load() -> float | None:
    """Processes that ran or wanted to, averaged over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def ticks() -> tuple[int, int] | None:
    """(processor time that went to other guests of the host, all of it) since the start, in clock ticks.

    Source: proc_stat(5), "steal". None where the system does not say.
    """
    try:
        first = _TICKS.read_text(encoding="ascii").splitlines()[0].split()
        times = [int(time) for time in first[1:9]]  # guests' time, behind them, is in the user's already
        return times[7], sum(times)
    except (OSError, ValueError, IndexError):
        return None
