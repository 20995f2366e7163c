"""How many cores this process may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time, and in what period


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
