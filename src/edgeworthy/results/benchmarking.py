"""What `benchmark` returns: how fast files are on this machine, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Engine = Literal["onnxruntime", "pytorch", "torch.compile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time for one picture, at batch 1, in milliseconds.

    Attributes:
        p50_ms, p95_ms, p99_ms: percentiles of the runs of a round; the medians over the rounds.
        rounds_ms: p50 of each round.
        noise: half the range of `rounds_ms`, as a share of `p50_ms`.
        runs: that were timed in a round, the fewest.
        cpu_share: processor time by wall time, the least of all rounds; below 1, somebody disturbed it.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    rounds_ms: tuple[float, ...]
    noise: float
    runs: int
    cpu_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """p50 by the first candidate's of the same round: median, least and most over the rounds.

    Attributes:
        value, low, high: below 1 is faster than the first.
        distinct: whether the difference is larger than the noise, and the same way round in every round.
    """

    value: float
    low: float
    high: float
    distinct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Pictures a second with sessions side by side, one thread of the caller's for each.

    Attributes:
        pictures_per_s: of all together; median over the rounds.
        sessions: side by side, so many as keep all cores busy.
        noise: half the range over the rounds, as a share of the median.
    """

    pictures_per_s: float
    sessions: int
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """From the start of a process to its first answer, in milliseconds; medians over the rounds.

    Attributes:
        total_ms: all of it.
        import_ms: until Python and the libraries are there.
        load_ms: until the model is loaded; for torch.compile, without compiling.
        first_ms: the first answer; for torch.compile, with compiling.
    """

    total_ms: float
    import_ms: float
    load_ms: float
    first_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One candidate: a file, or the trained model, with what runs it.

    Attributes:
        name: path of the file, or what names the trained model.
        engine, provider, threads: what runs it.
        latency, ratio, throughput, cold_start: None where it was not measured; the first candidate has no
            ratio, and PyTorch's no throughput.
        peak_bytes: the most memory that its process held, for one session; None where no system says.
        reason: why it could not be measured; else "".
    """

    name: str
    engine: Engine
    provider: str
    threads: int
    latency: Latency | None = None
    ratio: Ratio | None = None
    throughput: Throughput | None = None
    cold_start: ColdStart | None = None
    peak_bytes: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCost:
    """What a file costs wherever it runs.

    Attributes:
        file: its path.
        size_bytes: of the file.
        parameters: number of values in the initialisers, scales of a quantised file included.
        multiply_adds: of its convolutions and matrix products, for one picture; None where unknown.
        reason: why they are not known; else "".
    """

    file: str
    size_bytes: int
    parameters: int
    multiply_adds: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """All nodes of one operator: their number, and their time for one picture; share of all nodes', 0..1."""

    operator: str
    nodes: int
    time_ms: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTime:
    """One node, as ONNX Runtime has made it of the file's; share of all nodes', 0..1."""

    name: str
    operator: str
    time_ms: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the time goes within a file.

    Attributes:
        file, provider, threads: what was run.
        runs: that the times are medians of.
        run_ms: a whole run, while it is profiled, which slows it down.
        operators: the slowest first.
        nodes: the slowest, first.
    """

    file: str
    provider: str
    threads: int
    runs: int
    run_ms: float
    operators: tuple[OperatorTime, ...]
    nodes: tuple[NodeTime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Files on this machine.

    Attributes:
        processor: as it calls itself.
        cores: that this process may keep busy.
        load: processes that ran or wanted to in the minute before; None where the system does not say.
        onnxruntime: its version.
        rounds: in which every candidate had its turn.
        seconds: of timed runs, for each candidate in each round.
        files: what they cost.
        timings: the candidates; ratios are to the first.
        profiles: of each file and provider, where they were asked for.
        notes: what the reader should know, one sentence each.
    """

    processor: str
    cores: int
    load: float | None
    onnxruntime: str
    rounds: int
    seconds: float
    files: tuple[FileCost, ...]
    timings: tuple[Timing, ...]
    profiles: tuple[Profile, ...]
    notes: tuple[str, ...]
