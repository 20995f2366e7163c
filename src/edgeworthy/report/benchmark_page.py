"""A benchmark as one HTML page that needs no network: its drawings are inside."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeworthy.report.benchmark import (
    FILE_HEADINGS,
    HEADINGS,
    cells,
    file_cells,
    headline,
    missing,
    place,
    profile_title,
    shown_name,
    verdicts,
)
from edgeworthy.report.templates import template
from edgeworthy.results import Benchmark, Profile, Timing

_WIDTH_PX = 460.0  # of the longest bar


class Bar(NamedTuple):
    """A candidate's latency, in pixels from the left: to p50, p95 and p99, and to each round's p50."""

    name: str
    p50: float
    p95: float
    p99: float
    rounds: list[float]
    text: str


def benchmark_page(benchmark: Benchmark) -> str:
    """The page's HTML.

    Raises:
        MissingExtraError: without Jinja2.
    """
    first = benchmark.timings[0]
    return template("benchmark.html", extra="benchmark").render(
        headline=headline(benchmark),
        notes=[*missing(benchmark), *benchmark.notes],
        verdicts=list(verdicts(benchmark)),
        file_headings=FILE_HEADINGS,
        files=[(shown_name(benchmark, cost.file), file_cells(cost)) for cost in benchmark.files],
        headings=HEADINGS,
        timings=[
            (shown_name(benchmark, one.name), place(one), cells(one, first=one is first))
            for one in benchmark.timings
        ],
        bars=_bars(benchmark),
        profiles=[_profile(benchmark, one) for one in benchmark.profiles],
        width=_WIDTH_PX,
    )


def _bars(benchmark: Benchmark) -> list[Bar]:
    measured = [(one, one.latency) for one in benchmark.timings if one.latency]
    longest = max((latency.p99_ms for _, latency in measured), default=1.0)
    scale = _WIDTH_PX / longest
    return [
        Bar(
            name=f"{shown_name(benchmark, one.name)}, {place(one)}",
            p50=scale * latency.p50_ms,
            p95=scale * latency.p95_ms,
            p99=scale * latency.p99_ms,
            rounds=[scale * value for value in latency.rounds_ms],
            text=_figures(one),
        )
        for one, latency in measured
    ]


def _figures(timing: Timing) -> str:
    p50, p95, p99, *_ = cells(timing, first=False)
    return f"p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"


def _profile(benchmark: Benchmark, profile: Profile) -> dict[str, Any]:
    largest = max((one.share for one in profile.operators), default=1.0) or 1.0
    return {
        "title": profile_title(benchmark, profile),
        "runs": profile.runs,
        "operators": [(one, _WIDTH_PX * one.share / largest) for one in profile.operators],
        "nodes": profile.nodes,
    }
