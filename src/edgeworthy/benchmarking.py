"""benchmark(): how fast files are on this machine, and what they cost.

Candidates take turns: in each round, each of them is started in a process of its own, measured, and ended. So
they meet the same disturbances, and what differs from round to round is how far the figures can be trusted.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeworthy import machine, stopwatch, versus
from edgeworthy.errors import ModelFileError, OptionError
from edgeworthy.examination import memory_for, size_of
from edgeworthy.results import (
    Benchmark,
    Engine,
    FileCost,
    NodeTime,
    OperatorTime,
    Profile,
)
from edgeworthy.runtime import Provider
from edgeworthy.sandbox import Outcome, Sandbox
from edgeworthy.sources.base import SourceRequest
from edgeworthy.timings import Block, Candidate, notes, timing

DEFAULT_ROUNDS, LEAST_ROUNDS = 5, 3
DEFAULT_SECONDS = 2.0

_PATIENCE_S = 300.0  # beside the time that is asked for
_COUNT_S = 60.0  # for multiply-adds, which a hostile graph may make endless

Clock = Callable[[], Block | str]  # measures a candidate once, or says why it cannot


def benchmark(
    files: str | Path | Sequence[str | Path],
    *,
    providers: Sequence[Provider] = ("cpu",),
    threads: Sequence[int] = (1,),
    rounds: int = DEFAULT_ROUNDS,
    seconds: float = DEFAULT_SECONDS,
    vs: str | SourceRequest | None = None,
    profile: bool = False,
    on_step: Callable[[int, int, str], None] | None = None,
) -> Benchmark:
    """Measure files: latency, throughput, cold start, memory, size, parameters and multiply-adds.

    Args:
        files: one ONNX file, or several.
        providers: what computes; each is a candidate.
        threads: for one picture; each number is a candidate.
        rounds: turns of each candidate.
        seconds: of timed runs for each candidate in each round, half for latency and half for throughput.
        vs: a trained model, as `export` takes it, to run in eager PyTorch and with torch.compile; on the
            size of the first file's input.
        profile: whether to tell the time of each operator, too.
        on_step: called before each turn with its round, the candidate's place, and what it is; all from 0.

    Raises:
        OptionError: where there is nothing to measure, or not with such options on this machine.
        ModelFileError: where a file is no classifier of pictures, or ends the process that tries it.
        SourceError: where the trained model cannot be had.
        MissingExtraError: with `vs`, without torch.
    """
    named = [str(file) for file in ([files] if isinstance(files, str | Path) else files)]
    named, providers, threads = _once_each(named), _once_each(providers), _once_each(threads)
    _refuse_senseless(named, providers, threads, rounds, seconds)
    load, before = machine.load(), machine.ticks()
    facts = [_tried(file, providers, max(threads)) for file in named]
    costs = [_cost(file) for file in named]
    candidates = [
        Candidate(name=file, engine="onnxruntime", provider=provider, threads=number)
        for file in named
        for provider in providers
        for number in threads
    ]
    clocks = [_file_clock(candidate, seconds) for candidate in candidates]
    with contextlib.ExitStack() as stack:
        if vs is not None:
            request = vs if isinstance(vs, SourceRequest) else SourceRequest(spec=vs)
            for candidate, clock in _trained(stack, request, facts[0]["size"], threads, seconds):
                candidates.append(candidate)
                clocks.append(clock)
        labels = [f"{Path(one.name).name}, {one.engine}, {one.threads}" for one in candidates]
        found = interleaved(clocks, rounds, _step(on_step, labels))
    timings = tuple(
        timing(candidate, blocks, found[0]) for candidate, blocks in zip(candidates, found, strict=True)
    )
    stolen = _stolen(before)
    wanted = [(file, provider) for file in named for provider in providers] if profile else []
    profiles = [_profile(file, provider, threads[0]) for file, provider in wanted]
    return Benchmark(
        processor=machine.processor(),
        cores=machine.cores(),
        load=load,
        onnxruntime=facts[0]["onnxruntime"],
        rounds=rounds,
        seconds=seconds,
        files=tuple(costs),
        timings=timings,
        profiles=tuple(one for one in profiles if isinstance(one, Profile)),
        notes=(*notes(timings, load=load, stolen=stolen), *(one for one in profiles if isinstance(one, str))),
    )


def _once_each(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _refuse_senseless(
    files: Sequence[str],
    providers: Sequence[Provider],
    threads: Sequence[int],
    rounds: int,
    seconds: float,
) -> None:
    for what, values in (("file", files), ("provider", providers), ("number of threads", threads)):
        if not values:
            raise OptionError(f"No {what} to measure is given.", hint="Give one or more.")
    if min(threads) < 1:
        raise OptionError(f"{min(threads)} threads cannot work.", hint="Give 1 or more.")
    if rounds < LEAST_ROUNDS:
        raise OptionError(
            f"{rounds} rounds do not show how far the figures can be trusted.",
            hint=f"Give {LEAST_ROUNDS} or more.",
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise OptionError(f"{seconds:g} seconds are no time to measure in.", hint="Give some, such as 2.")


def _tried(file: str, providers: Sequence[Provider], threads: int) -> dict[str, Any]:
    """What `stopwatch.describe` says of a file, which is tried with each provider before time is spent."""
    fact: dict[str, Any] = {}
    for provider in providers:
        memory = memory_for([Path(file)]) if provider == "cpu" else None  # a device's memory is mapped, too
        with Sandbox(memory_bytes=memory) as sandbox:
            outcome = sandbox.call(_of(stopwatch.describe), file, provider, threads, timeout_s=_PATIENCE_S)
        fact = fact or _value(outcome, file)
        _value(outcome, file)
    return fact


def _value(outcome: Outcome, file: str) -> Any:
    """What a call in the sandbox returned; or the error that it raised, or is."""
    if outcome.error:
        raise outcome.error
    if not outcome.done:
        raise ModelFileError(f"{file} cannot be run: {outcome.message}.", hint="See: edgeworthy check")
    return outcome.value


def _cost(file: str) -> FileCost:
    with Sandbox(memory_bytes=memory_for([Path(file)])) as sandbox:
        number = _value(sandbox.call(_of(stopwatch.parameters), file), file)
        counted = sandbox.call(_of(stopwatch.multiply_adds), file, timeout_s=_COUNT_S)
    return FileCost(
        file=file,
        size_bytes=size_of(Path(file)),
        parameters=number,
        multiply_adds=counted.value if counted.done else None,
        reason=str(counted.error or counted.message),
    )


def _of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__name__}"


def _file_clock(candidate: Candidate, seconds: float) -> Clock:
    """A process for each round."""

    def clock() -> Block | str:
        with Sandbox() as sandbox:
            outcome = sandbox.call(
                _of(stopwatch.measure),
                *(candidate.name, candidate.provider, candidate.threads, seconds, time.monotonic()),
                timeout_s=_PATIENCE_S + 10 * seconds,
            )
        return outcome.value if outcome.done else _why(outcome)

    return clock


def _why(outcome: Outcome) -> str:
    return outcome.error.message if outcome.error else outcome.message


def _trained(
    stack: contextlib.ExitStack,
    request: SourceRequest,
    size: Sequence[int],
    threads: Sequence[int],
    seconds: float,
) -> Iterator[tuple[Candidate, Clock]]:
    """The trained model, eager and compiled, with each number of threads: each in a process of its own."""
    engines: tuple[Engine, ...] = ("pytorch", "torch.compile")
    for engine in engines:
        for number in threads:
            sandbox = stack.enter_context(Sandbox(torch=True))
            loaded = _loaded(sandbox, request, size, engine, number)
            name = loaded.get("name", request.spec)
            candidate = Candidate(name=name, engine=engine, provider="cpu", threads=number)
            yield candidate, _trained_clock(sandbox, loaded, seconds)


def _loaded(
    sandbox: Sandbox, request: SourceRequest, size: Sequence[int], engine: Engine, threads: int
) -> dict[str, Any]:
    """What `versus.load` says; a model that cannot be compiled, or ends the process, has a `reason`."""
    fields = asdict(request) | {"checkpoint": str(request.checkpoint) if request.checkpoint else None}
    compiled, started = engine == "torch.compile", time.monotonic()
    sandbox.call(_of(versus.look_in), sys.path)
    outcome = sandbox.call(_of(versus.load), fields, size, threads, compiled, started, timeout_s=_PATIENCE_S)
    if outcome.error and not compiled:
        raise outcome.error
    return dict(outcome.value) if outcome.done else {"reason": _why(outcome)}


def _trained_clock(sandbox: Sandbox, loaded: dict[str, Any], seconds: float) -> Clock:
    """One process for all rounds: compiling takes too long to do it again in each."""

    def clock() -> Block | str:
        if "reason" in loaded:
            return str(loaded["reason"])
        outcome = sandbox.call(_of(versus.measure), seconds / 2, timeout_s=_PATIENCE_S + 10 * seconds)
        return {**outcome.value, "cold": loaded["cold"]} if outcome.done else _why(outcome)

    return clock


def _step(
    on_step: Callable[[int, int, str], None] | None, labels: Sequence[str]
) -> Callable[[int, int], None]:
    """What tells of a round and a candidate."""

    def tell(turn: int, place: int) -> None:
        if on_step:
            on_step(turn, place, labels[place])

    return tell


def interleaved(
    clocks: Sequence[Clock], rounds: int, tell: Callable[[int, int], None]
) -> list[list[Block] | str]:
    """Blocks of all candidates, or why there are none; another one begins each round.

    One that has failed has no further turn.
    """
    found: list[list[Block] | str] = [[] for _ in clocks]
    for turn in range(rounds):
        for step in range(len(clocks)):
            place = (turn + step) % len(clocks)
            blocks = found[place]
            if isinstance(blocks, str):
                continue
            tell(turn, place)
            block = clocks[place]()
            if isinstance(block, str):
                found[place] = block
            else:
                blocks.append(block)
    return found


def _profile(file: str, provider: Provider, threads: int) -> Profile | str:
    """Where the time goes, or why that is not known."""
    with Sandbox() as sandbox:
        outcome = sandbox.call(_of(stopwatch.profile), file, provider, threads, timeout_s=_PATIENCE_S)
    if not outcome.done:
        return f"{file} could not be profiled: {_why(outcome)}"
    found = outcome.value
    return Profile(
        file=file,
        provider=provider,
        threads=threads,
        runs=found["runs"],
        run_ms=found["run_ms"],
        operators=tuple(OperatorTime(**one) for one in found["operators"]),
        nodes=tuple(NodeTime(**one) for one in found["nodes"]),
    )


def _stolen(before: tuple[int, int] | None) -> float:
    """Share of the processor's time, since then, that other guests of the host had; 0..1."""
    after = machine.ticks()
    if before is None or after is None or after[1] == before[1]:
        return 0.0
    return (after[0] - before[0]) / (after[1] - before[1])
