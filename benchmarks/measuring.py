"""Time and memory of whole processes."""

import contextlib
import subprocess
import time
from pathlib import Path


def timed(command: list[str], environment: dict[str, str], *, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds of one run, which has to end with one of these exit codes."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, check=False, capture_output=True)
    _require(done.returncode, codes, command)
    return time.perf_counter() - started


def peak_bytes(command: list[str], environment: dict[str, str], *, codes: tuple[int, ...] = (0,)) -> int:
    """Most memory that the process and its descendants hold at one time; shared pages are counted once."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, tree(process.pid))))
        time.sleep(0.02)
    _require(process.returncode, codes, command)
    return peak


def _require(code: int, codes: tuple[int, ...], command: list[str]) -> None:
    if code not in codes:
        raise subprocess.CalledProcessError(code, command)


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return found


def proportional_bytes(pid: int) -> int:
    """Resident memory, pages that n processes share counted as one n-th each."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0
