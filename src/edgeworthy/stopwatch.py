"""What `benchmark` lets run in the sandbox: one file's costs, its speed, and its time per operator.

Each function takes and returns JSON values. The libraries are imported where they are called: how long
that takes is a part of what is measured.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy import machine
from edgeworthy.errors import MissingExtraError
from edgeworthy.memory import collector_paused, peak_bytes
from edgeworthy.native import PICTURES, feeds_of
from edgeworthy.pipeline import side_by_side

if TYPE_CHECKING:
    from edgeworthy.runtime import Provider, Session

MODULE = __name__

# Operators that multiply and add. What is done to one value alone is left out: quantising a file adds such
# nodes, and its multiply-adds stay the same.
PRODUCTS = frozenset(
    {
        *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv"),
        *("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "Einsum"),
    }
)

_AROUND = frozenset({"If", "Loop", "Scan"})  # their time is that of the nodes inside
_WARM_RUNS, _LEAST_RUNS = 2, 5  # of slow models; others run as long as the clock says
_WARM_SHARE = 0.15  # of the time, before it counts
_PROFILED, _NODES_SHOWN = 20, 10


def describe(path: str, provider: Provider, threads: int) -> dict[str, Any]:
    """Load a file and run one picture through it.

    Returns:
        `size`, (channels, height px, width px), and the version of `onnxruntime`.
    """
    import onnxruntime

    from edgeworthy.runtime import Session, facts_of

    session = Session(Path(path), threads=threads, provider=provider)
    facts = facts_of(session)
    _once(session)()
    return {
        "size": [facts.channels, facts.height_px, facts.width_px],
        "onnxruntime": onnxruntime.__version__,
    }


def parameters(path: str) -> int:
    """How many values the file's initialisers hold."""
    from edgeworthy.model import parameters_of, read

    return parameters_of(read(Path(path)))


def multiply_adds(path: str) -> int:
    """Of a file's convolutions and matrix products, for one picture, as onnx-tool counts them.

    Raises:
        MissingExtraError: without onnx-tool.
    """
    try:
        import onnx_tool
    except ImportError as error:
        raise MissingExtraError("onnx-tool", "benchmark") from error
    graph = onnx_tool.Model(path, {"verbose": False}).graph
    graph.graph_reorder_nodes()
    graph.shape_infer(_shapes(path))
    graph.profile()
    return int(sum(node.macs[0] for node in graph.nodemap.values() if node.op_type in PRODUCTS))


def _shapes(path: str) -> dict[str, Any]:
    """Arrays of the inputs' shapes, a dynamic batch being 1."""
    from edgeworthy.runtime import Session

    return feeds_of(Session(Path(path)))[0]


def measure(path: str, provider: Provider, threads: int, seconds: float, started: float) -> dict[str, Any]:
    """Time a file in this process, which does nothing else.

    Args:
        path: of the file.
        provider: what computes.
        threads: for one picture.
        seconds: of timed runs: one half for latency, the other for throughput.
        started: when the process was started, on the clock of `time.monotonic`.

    Returns:
        What `timed` gives, with the `cold` start in milliseconds and `peak_bytes`; `pictures_per_s` and the
        number of `sessions` side by side.
    """
    import onnxruntime  # noqa: F401

    from edgeworthy.runtime import Session

    imported = time.monotonic()
    session = Session(Path(path), threads=threads, provider=provider)
    loaded = time.monotonic()
    once = _once(session)
    cold = cold_start(started, imported, loaded, once)
    found = timed(once, seconds / 2) | {"cold": cold, "peak_bytes": peak_bytes()}
    return found | _throughput(session, threads, seconds / 2)


def cold_start(started: float, imported: float, loaded: float, once: Callable[[], Any]) -> dict[str, float]:
    """The first answer, and what came before it, in milliseconds."""
    asked = time.monotonic()
    once()
    first = time.monotonic() - asked
    steps = {"import_ms": imported - started, "load_ms": loaded - imported, "first_ms": first}
    return {name: 1000 * value for name, value in (steps | {"total_ms": sum(steps.values())}).items()}


def timed(once: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """Run something again and again, warm-up first.

    Returns:
        `p50_ms`, `p95_ms` and `p99_ms`, the number of `runs`, and the `cpu_share`.
    """
    import numpy as np

    _run_for(once, seconds * _WARM_SHARE, _WARM_RUNS)
    with collector_paused():
        wall, processor = time.perf_counter(), time.process_time()
        samples = _run_for(once, seconds, _LEAST_RUNS)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    p50, p95, p99 = (float(value) for value in np.percentile(samples, [50, 95, 99]))
    return {
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        "p99_ms": 1000 * p99,
        "runs": len(samples),
        "cpu_share": processor / wall,
    }


def _run_for(once: Callable[[], Any], seconds: float, least: int) -> list[float]:
    """Seconds of each run."""
    samples: list[float] = []
    before = time.perf_counter()
    end = before + seconds
    while before < end or len(samples) < least:
        once()
        now = time.perf_counter()
        samples.append(now - before)
        before = now
    return samples


def _once(session: Session) -> Callable[[], Any]:
    """One run on a prepared picture: noise, normalised as the file says."""
    feed = feeds_of(session)[PICTURES.index("noise")]
    outputs = [session.scores_port.name]
    return lambda: session.run(feed, outputs)


def _throughput(session: Session, threads: int, seconds: float) -> dict[str, Any]:
    """Pictures a second of as many sessions as there are cores for; of a large file, they are one."""
    from edgeworthy.runtime import Session, worth_their_own

    jobs = max(1, machine.cores() // threads)
    more = jobs - 1 if worth_their_own(session.provider, session.path.stat().st_size, jobs) else 0
    own = [Session(session.path, threads=threads, provider=session.provider) for _ in range(more)]
    sessions = [session, *own] if more else [session] * jobs

    def rate(one: Session) -> float:
        once = _once(one)
        _run_for(once, seconds * _WARM_SHARE, _WARM_RUNS)
        samples = _run_for(once, seconds, _LEAST_RUNS)
        return len(samples) / sum(samples)

    with collector_paused():
        rates = list(side_by_side(rate, sessions, jobs))
    return {"pictures_per_s": sum(rates), "sessions": jobs}


def profile(path: str, provider: Provider, threads: int) -> dict[str, Any]:
    """How long each node takes, as ONNX Runtime tells; medians over some runs, after warm-up."""
    from edgeworthy.runtime import Session

    with tempfile.TemporaryDirectory(prefix="edgeworthy-") as folder:
        session = Session(Path(path), threads=threads, provider=provider, profile=Path(folder) / "profile")
        once = _once(session)
        for _ in range(_WARM_RUNS + _PROFILED):
            once()
        events = json.loads(session.end_profile().read_text("utf-8", errors="replace"))
    return times_of(events)


def times_of(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the runs in ONNX Runtime's trace, without its first ones.

    Returns:
        `runs`, `run_ms`, and lists of `operators` and `nodes` as the results have them.
    """
    kept = list(events)
    whole = [event for event in kept if event.get("name") == "model_run"][_WARM_RUNS:]
    begin = min((run["ts"] for run in whole), default=0)
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in kept:
        operator = event.get("args", {}).get("op_name", "")
        kernel = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if kernel and event["ts"] >= begin and operator not in _AROUND:
            taken[event["name"].removesuffix("_kernel_time"), operator].append(event["dur"] / 1000)
    times_a_run = {node: len(times) / max(1, len(whole)) for node, times in taken.items()}  # not 1 in loops
    nodes = {node: statistics.median(times) * times_a_run[node] for node, times in taken.items()}
    operators: dict[str, list[float]] = defaultdict(list)
    for (_, operator), time_ms in nodes.items():
        operators[operator].append(time_ms)
    total = sum(nodes.values()) or 1.0
    slowest = sorted(nodes.items(), key=lambda one: -one[1])[:_NODES_SHOWN]
    ranked = sorted(operators.items(), key=lambda one: -sum(one[1]))
    return {
        "runs": len(whole),
        "run_ms": statistics.median(run["dur"] for run in whole) / 1000 if whole else 0.0,
        "operators": [
            {"operator": name, "nodes": len(times), "time_ms": sum(times), "share": sum(times) / total}
            for name, times in ranked
        ],
        "nodes": [
            {"name": name, "operator": operator, "time_ms": time_ms, "share": time_ms / total}
            for (name, operator), time_ms in slowest
        ],
    }
