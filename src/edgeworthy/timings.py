"""What a candidate's rounds say: medians, how far to trust them, and whether it differs from the first."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeworthy import machine
from edgeworthy.results import ColdStart, Engine, Latency, Ratio, Throughput, Timing

_BUSY = 0.25  # of the cores, before the benchmark begins
_ALONE = 0.95  # of a core, at least, is what a busy process gets where nobody disturbs it
_STOLEN = 0.02  # of the processor's time, by other guests of the host
_ROUGH = 0.1  # noise that is worth a word
_FEW = 100  # runs, below which the 99th percentile is the slowest run

Block = dict[str, Any]  # of one round: what `stopwatch.measure` and `versus.measure` return


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is measured, and with what: the first four fields of a `Timing`."""

    name: str
    engine: Engine
    provider: str
    threads: int


def timing(candidate: Candidate, blocks: list[Block] | str, first: list[Block] | str) -> Timing:
    """What a candidate's blocks say, beside those of the first."""
    fields: dict[str, Any] = asdict(candidate)
    if isinstance(blocks, str):
        return Timing(**fields, reason=blocks)
    peaks = [block["peak_bytes"] for block in blocks if block["peak_bytes"]]
    return Timing(
        **fields,
        latency=_latency(blocks),
        ratio=None if blocks is first or isinstance(first, str) else ratio(_p50(blocks), _p50(first)),
        throughput=_throughput(blocks),
        cold_start=_cold_start(blocks),
        peak_bytes=max(peaks, default=None),
    )


def _p50(blocks: Sequence[Block]) -> list[float]:
    return [block["p50_ms"] for block in blocks]


def _latency(blocks: Sequence[Block]) -> Latency:
    medians = {
        name: statistics.median(block[name] for block in blocks) for name in ("p50_ms", "p95_ms", "p99_ms")
    }
    return Latency(
        **medians,
        rounds_ms=tuple(_p50(blocks)),
        noise=noise(_p50(blocks)),
        runs=min(block["runs"] for block in blocks),
        cpu_share=min(block["cpu_share"] for block in blocks),
    )


def noise(values: Sequence[float]) -> float:
    """Half the range, as a share of the median."""
    return (max(values) - min(values)) / 2 / statistics.median(values)


def ratio(values: Sequence[float], first: Sequence[float]) -> Ratio:
    """Of each round's figure to that of the first candidate in the same round.

    A difference counts where all rounds have it the same way round, and it is larger than half their range:
    both on a scale of logarithms, so that the verdict is the same whichever of two candidates comes first.
    """
    each = [value / one for value, one in zip(values, first, strict=True)]
    middle, low, high = statistics.median(each), min(each), max(each)
    distinct = not low <= 1 <= high and abs(math.log(middle)) > math.log(high / low) / 2
    return Ratio(value=middle, low=low, high=high, distinct=distinct)


def _throughput(blocks: Sequence[Block]) -> Throughput | None:
    rates = [block["pictures_per_s"] for block in blocks if "pictures_per_s" in block]
    if not rates:
        return None
    return Throughput(
        pictures_per_s=statistics.median(rates), sessions=blocks[0]["sessions"], noise=noise(rates)
    )


def _cold_start(blocks: Sequence[Block]) -> ColdStart:
    names = ("total_ms", "import_ms", "load_ms", "first_ms")
    return ColdStart(**{name: statistics.median(block["cold"][name] for block in blocks) for name in names})


def notes(timings: Sequence[Timing], *, load: float | None, stolen: float) -> Iterator[str]:
    """What disturbed the measurement, as far as it can be seen."""
    cores = machine.cores()
    if load is not None and load > _BUSY * cores:
        yield (
            f"The machine was busy before the benchmark began: a load of {load:.1f} on {cores} cores. "
            "Measure again when it is idle."
        )
    if stolen > _STOLEN:
        yield f"Other guests of this machine's host had {stolen:.0%} of the processor's time."
    latencies = [(one, one.latency) for one in timings if one.latency]
    shares = [latency.cpu_share for one, latency in latencies if one.provider == "cpu"]
    if shares and min(shares) < _ALONE:
        yield (
            f"What was measured got only {min(shares):.0%} of a core at times: something else was running, "
            "and the figures are slower than the machine is."
        )
    worst = max((latency.noise for _, latency in latencies), default=0.0)
    if worst > _ROUGH:
        yield f"The rounds of one candidate differ by up to ±{worst:.0%}: smaller differences mean nothing."
    fewest = min((latency.runs for _, latency in latencies), default=_FEW)
    if fewest < _FEW:
        yield (
            f"Some rounds have {fewest} timed runs: below {_FEW}, p99 is little more than the slowest. "
            "A longer --seconds gives more."
        )
