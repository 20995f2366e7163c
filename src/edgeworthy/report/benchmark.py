"""A benchmark as text: tables of files and candidates, which of them differ, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeworthy.report.tables import printable
from edgeworthy.results import Benchmark, ColdStart, FileCost, Profile, Timing

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

FILE_HEADINGS = ("size", "parameters", "multiply-adds")
HEADINGS = ("p50 ms", "p95 ms", "p99 ms", "noise", "to the first", "pictures/s", "cold ms", "memory")

_ENGINES = {"pytorch": "PyTorch", "torch.compile": "compiled"}
_BAR = 28  # characters
_SHOWN = 12  # operators


def render_benchmark(benchmark: Benchmark) -> Iterator[RenderableType]:
    """Block by block."""
    from rich.text import Text

    yield Text(headline(benchmark), "bold")
    yield _files(benchmark)
    yield _timings(benchmark)
    for line in verdicts(benchmark):
        yield Text(line)
    for profile in benchmark.profiles:
        yield _profile(benchmark, profile)
    for line in (*missing(benchmark), *benchmark.notes):
        yield Text(f"note: {printable(line)}", "yellow")


def headline(benchmark: Benchmark) -> str:
    """Where, and how."""
    return (
        f"{printable(benchmark.processor)}, {benchmark.cores} cores, ONNX Runtime {benchmark.onnxruntime}; "
        f"one picture at a time, {benchmark.rounds} rounds of {benchmark.seconds:g} s for each, in turns"
    )


def file_cells(cost: FileCost) -> tuple[str, ...]:
    """In the order of FILE_HEADINGS."""
    return _bytes(cost.size_bytes), _count(cost.parameters), _count(cost.multiply_adds)


def cells(timing: Timing, *, first: bool) -> tuple[str, ...]:
    """In the order of HEADINGS; details in brackets."""
    latency, rate, cold = timing.latency, timing.throughput, timing.cold_start
    if latency is None:
        return ("-",) * len(HEADINGS)
    return (
        *map(_short, (latency.p50_ms, latency.p95_ms, latency.p99_ms)),
        f"±{100 * latency.noise:.0f} %",
        "1" if first else _ratio(timing),
        f"{_short(rate.pictures_per_s)} [{rate.sessions} at once]" if rate else "-",
        _cold(cold) if cold else "-",
        _bytes(timing.peak_bytes) if timing.peak_bytes else "-",
    )


def place(timing: Timing) -> str:
    """What runs the candidate: `cpu, 2 threads`."""
    engine = _ENGINES.get(timing.engine, timing.provider)
    return f"{engine}, {timing.threads} thread{'s' if timing.threads > 1 else ''}"


def verdicts(benchmark: Benchmark) -> Iterator[str]:
    """One sentence for each candidate but the first, if that was measured."""
    first, *others = benchmark.timings
    than = f"{shown_name(benchmark, first.name)} ({place(first)})"
    for timing in others:
        if timing.ratio is None:
            continue
        who = f"{shown_name(benchmark, timing.name)} ({place(timing)})"
        if not timing.ratio.distinct:
            yield f"{who} cannot be told apart from {than}: the noise is greater than the difference."
        elif timing.ratio.value < 1:
            yield f"{who} is {1 / timing.ratio.value:.3g} times as fast as {than}."
        else:
            yield f"{who} takes {timing.ratio.value:.3g} times as long as {than}."


def missing(benchmark: Benchmark) -> Iterator[str]:
    """What could not be measured, and why."""
    for cost in benchmark.files:
        if cost.reason:
            yield f"the multiply-adds of {cost.file} are not known: {cost.reason}"
    for timing in benchmark.timings:
        if timing.reason:
            yield f"{timing.name} ({place(timing)}) was not measured: {timing.reason}"


def shown_name(benchmark: Benchmark, name: str) -> str:
    """A file's name, or its path where another one has the same name; of a source, all of it."""
    files = [cost.file for cost in benchmark.files]
    if name not in files:
        return printable(name)
    short = Path(name).name
    return printable(name if sum(Path(file).name == short for file in files) > 1 else short)


def profile_title(benchmark: Benchmark, profile: Profile) -> str:
    """What was profiled."""
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    return (
        f"{shown_name(benchmark, profile.file)}, {profile.provider}, {threads}: "
        f"{profile.run_ms:.3g} ms a run while it is profiled"
    )


def _files(benchmark: Benchmark) -> Table:
    table = _table("file", FILE_HEADINGS)
    for cost in benchmark.files:
        table.add_row(shown_name(benchmark, cost.file), *file_cells(cost))
    return table


def _timings(benchmark: Benchmark) -> Table:
    table = _table("runs", HEADINGS)
    for timing in benchmark.timings:
        found = dict(zip(HEADINGS, cells(timing, first=timing is benchmark.timings[0]), strict=True))
        found["cold ms"] = found["cold ms"].split(" [")[0]  # the page has room for its parts
        lines = (cell.replace(" [", "\n[") for cell in found.values())
        table.add_row(f"{shown_name(benchmark, timing.name)}\n  {place(timing)}", *lines)
    return table


def _table(what: str, headings: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(what, overflow="fold")
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right")
    return table


def _profile(benchmark: Benchmark, profile: Profile) -> Text:
    from rich.text import Text

    text = Text.assemble((f"Time per operator: {profile_title(benchmark, profile)}", "bold"))
    largest = max((one.share for one in profile.operators), default=1.0) or 1.0
    for one in profile.operators[:_SHOWN]:
        bar = "█" * round(_BAR * one.share / largest) or "▏"
        nodes = f"{one.nodes} node{'s' if one.nodes > 1 else ''}"
        text.append(f"\n  {printable(one.operator):<24.24} ", "")
        text.append(f"{bar:<{_BAR}}", "blue")
        text.append(f" {100 * one.share:5.1f} % {one.time_ms:8.3f} ms  {nodes}", "")
    if len(profile.operators) > _SHOWN:
        text.append(f"\n  and {len(profile.operators) - _SHOWN} operators more", "dim")
    text.append("\nSlowest nodes", "bold")
    for node in profile.nodes:
        text.append(f"\n  {node.time_ms:8.3f} ms {printable(node.operator):<18} {printable(node.name)}", "")
    return text


def _ratio(timing: Timing) -> str:
    ratio = timing.ratio
    if ratio is None:
        return "-"
    about = "" if ratio.distinct else "≈ "
    return f"{about}{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _cold(cold: ColdStart) -> str:
    parts = " + ".join(f"{part:.0f}" for part in (cold.import_ms, cold.load_ms, cold.first_ms))
    return f"{cold.total_ms:.0f} [{parts}]"


def _short(value: float) -> str:
    """With three digits, or all of those before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _count(number: int | None) -> str:
    """With three digits and the letter of its size."""
    if number is None:
        return "-"
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)
