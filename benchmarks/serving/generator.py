"""The clients of serve.py, in a process of their own: a plan as JSON on standard input, findings on output.

The plan names what to do: `agree` asks about each photograph once; `load` keeps connections busy; `mixed`
sends whatever may come; `stop` keeps connections busy while the server is told to end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .client import Connection, Exchange, Fate, head, multipart, posted
from .kinds import BUSY, Kind, Port, mixture, trickled

SETTLING_S = 1.0  # before a load counts
PATIENCE_S = 60.0  # for an answer
ATTEMPTS = 5  # after the first, of `agree`
SLOW = 4  # connections of `stop` that trickle their bodies
SLOW_S = 1.5


async def agree(plan: dict[str, Any]) -> dict[str, Any]:
    """The best class of every photograph; whoever gets no answer asks again, a few times."""
    waiting = [(number, request, ATTEMPTS) for number, request in enumerate(_requests(plan))]
    found: dict[int, int | None] = {}
    outcomes: Counter[str] = Counter()

    async def work(connection: Connection) -> None:
        while waiting:
            number, request, attempts = waiting.pop()
            exchange = await connection.ask(request)
            outcomes[_outcome(exchange)] += 1
            found[number] = best_class(exchange)
            if exchange.status != 200 and attempts:
                waiting.append((number, request, attempts - 1))
            await _obey(exchange)
        connection.close()

    await _all(work, plan)
    return {"classes": [found[number] for number in sorted(found)], "outcomes": outcomes}


async def load(plan: dict[str, Any]) -> dict[str, Any]:
    """Keep all connections busy; latencies and answers of the time that counts."""
    requests, exchanges = _requests(plan), []
    start = time.monotonic() + SETTLING_S
    end = start + plan["seconds"]
    turns = iter(range(10**9))

    async def work(connection: Connection) -> None:
        while time.monotonic() < end:
            exchange = await connection.ask(requests[next(turns) % len(requests)])
            if start <= exchange.ended < end:
                exchanges.append(exchange)
            await _obey(exchange)
        connection.close()

    async def processor() -> float:
        await asyncio.sleep(start - time.monotonic())
        before = time.process_time()
        await asyncio.sleep(end - time.monotonic())
        return time.process_time() - before

    spent, _ = await asyncio.gather(processor(), _all(work, plan))
    good = [one for one in exchanges if one.status == 200]
    return {
        "latencies": sorted(one.ended - one.began for one in good),
        "outcomes": Counter(_outcome(one) for one in exchanges),
        "processor": spent / plan["seconds"],
        "busy": time.monotonic() - start + SETTLING_S,
    }


async def mixed(plan: dict[str, Any]) -> dict[str, Any]:
    """Send everything in turn, by chance; what came of each kind, and all that should not have."""
    paths = list(map(Path, plan["photographs"]))
    kinds = mixture(paths, plan["classes"], await _port(plan))
    tallies: dict[str, Counter[str]] = defaultdict(Counter)
    longest: dict[str, float] = defaultdict(float)
    wrong: Counter[str] = Counter()
    began = time.monotonic()
    end = began + plan["seconds"]

    async def work(connection: Connection) -> None:
        while time.monotonic() < end:
            (kind,) = chance.choices(kinds, weights)
            number = chance.randrange(len(kind.requests))
            request = kind.requests[number]
            exchange = await (connection.leave(request) if kind.hangs_up else connection.ask(request))
            tallies[kind.name][_outcome(exchange)] += 1
            longest[kind.name] = max(longest[kind.name], exchange.ended - exchange.began)
            wrong.update(f"{kind.name}: {fault}" for fault in _faults(kind, number, exchange))
            await _obey(exchange)
        connection.close()

    chance, weights = random.Random(plan["seed"]), [kind.weight for kind in kinds]
    await _all(work, plan)
    wrong.update(f"{kind.name}: never answered with 200" for kind in kinds if _never_good(kind, tallies))
    rows = [
        {"kind": kind.name, "outcomes": tallies[kind.name], "longest_s": round(longest[kind.name], 2)}
        for kind in kinds
    ]
    return {"rows": rows, "wrong": wrong, "began": began}


async def stop(plan: dict[str, Any]) -> dict[str, Any]:
    """Keep connections busy, end the server, and account for every request."""
    requests, exchanges = _requests(plan), []
    end = time.monotonic() + plan["seconds"] + PATIENCE_S
    turns = iter(range(10**9))

    async def work(connection: Connection) -> None:
        number = next(turns)
        while time.monotonic() < end:
            request = requests[next(turns) % len(requests)]
            exchange = await connection.ask(trickled(request, SLOW_S) if number < SLOW else request)
            exchanges.append(exchange)
            if exchange.fate is Fate.REFUSED:
                break
            await _obey(exchange)

    async def ended() -> float:
        await asyncio.sleep(plan["seconds"])
        os.kill(plan["pid"], signal.SIGTERM)
        return time.monotonic()

    told, _ = await asyncio.gather(ended(), _all(work, plan))
    return _account(exchanges, told)


def _account(exchanges: list[Exchange], told: float) -> dict[str, Any]:
    answered = [one for one in exchanges if one.fate is Fate.ANSWERED]
    late = [one for one in answered if one.ended > told]
    return {
        "outcomes": Counter(_outcome(one) for one in exchanges),
        "answered": len(answered),
        "answered_after": len(late),
        "in_body": sum(one.began < told < (one.sent or told) for one in late),
        "unread_sent_before": sum(_gone_before(one, told) for one in exchanges),
        "last_s": round(max((one.ended - told for one in late), default=0.0), 2),
    }


def _gone_before(exchange: Exchange, told: float) -> bool:
    """Whether it was sent wholly before the server was told to end, and has no answer."""
    return exchange.fate is Fate.DROPPED and exchange.sent is not None and exchange.sent < told


def best_class(exchange: Exchange) -> int | None:
    """From our answer, which may hold several pictures and models, or from a peer's."""
    if exchange.answer is None or exchange.status != 200:
        return None
    found = json.loads(exchange.answer.body)
    if "pictures" in found:
        found = found["pictures"][0]["answers"][0]
    return int(found["scores"][0]["class_id"])


def _faults(kind: Kind, number: int, exchange: Exchange) -> Iterator[str]:
    answer = exchange.answer
    if answer is None:
        if exchange.fate not in _forgiven(kind):
            yield exchange.fate
    elif answer.status == BUSY:
        if not answer.headers.get("retry-after", "").isdecimal():
            yield "429 without Retry-After"
    elif answer.status not in kind.statuses:
        yield f"{answer.status} {answer.body[:160].decode('utf-8', 'replace')}"
    elif answer.status == 200 and kind.classes and best_class(exchange) != kind.classes[number]:
        yield "another class"


def _forgiven(kind: Kind) -> set[Fate]:
    return {Fate.LEFT} if kind.hangs_up else {Fate.DROPPED, Fate.CUT} if kind.may_drop else set()


def _never_good(kind: Kind, tallies: dict[str, Counter[str]]) -> bool:
    seen = tallies[kind.name]
    return bool(seen) and kind.statuses == {200} and not kind.hangs_up and not seen["200"]


def _outcome(exchange: Exchange) -> str:
    return str(exchange.status) if exchange.answer else str(exchange.fate)


async def _obey(exchange: Exchange) -> None:
    """A client that is told to come back later does so; one that cannot connect waits a little."""
    if exchange.status == BUSY and exchange.answer:
        await asyncio.sleep(float(exchange.answer.headers.get("retry-after", 1)))
    elif exchange.fate is Fate.REFUSED:
        await asyncio.sleep(0.05)


async def _all(work: Any, plan: dict[str, Any]) -> None:
    connections = [
        Connection(plan["port"], patience_s=plan.get("patience_s", PATIENCE_S))
        for _ in range(plan["connections"])
    ]
    await asyncio.gather(*map(work, connections))


async def _port(plan: dict[str, Any]) -> Port:
    connection = Connection(plan["port"])
    exchange = await connection.ask(head("GET", f"/v2/models/{plan['model']}"))
    connection.close()
    if exchange.answer is None or exchange.status != 200:
        raise SystemExit(f"no metadata of the model {plan['model']}: {exchange}")
    (port,) = json.loads(exchange.answer.body)["inputs"]
    return Port(model=plan["model"], name=port["name"], shape=tuple(map(int, port["shape"])))


def _requests(plan: dict[str, Any]) -> list[bytes]:
    paths = map(Path, plan["photographs"])
    return [posted(plan["path"], *multipart([(path.name, path.read_bytes())])) for path in paths]


def main() -> None:
    plan = json.load(sys.stdin)
    gc.disable()  # nothing here goes in circles; a pause would be counted as the server's
    print(json.dumps(asyncio.run(globals()[plan["task"]](plan))))


if __name__ == "__main__":
    main()
