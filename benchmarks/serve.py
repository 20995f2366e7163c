"""`edgeworthy serve` under load, on loopback, with 64 connections that are kept alive.

load
    Answers a second and the time to an answer, EfficientNet-Lite0 on photographs of 256 px in a form, against
    what people write otherwise (`serving/`): a FastAPI handler around one session of ONNX Runtime, `async
    def` and `def`, and LitServe with a worker a core, single and in batches. Every server works alone on the
    same bytes, has to choose the right class on all photographs before it is timed, and takes its turn in
    every round, in the opposite order in every second one. The limit is computed as in throughput.py: cores
    divided by the processor seconds that a picture costs to decode, frame, normalise and infer, when nothing
    else runs.
mixed
    Good, broken, truncated and huge bodies, pixel bombs, malformed forms and tensors, slow clients and such
    that hang up, for a minute. Every kind has the statuses that it may get, none of them 5xx; every request
    whose connection stays has its answer; and memory stays flat: the median of the last ten seconds is at
    most a tenth above that of the seconds 10 to 20.
stop
    SIGTERM in mid-load, ten times. What the server says it took it has answered wholly, by our count, too; it
    ends with 0 within its time. Connections that it refuses, or closes before it has read a request, are
    counted apart.

    python benchmarks/serve.py load [--rounds 3] [--seconds 20] [--venv DIR] [--data DIR]
    python benchmarks/serve.py mixed [--seconds 60] [--data DIR]
    python benchmarks/serve.py stop [--times 10] [--data DIR]

`load` makes the peers' virtual environment in --venv where it is not there. Where --data is not there, a few
photographs of scikit-image serve. Exit 0 where everything is met, 1
where something is missed. `--no-record` leaves performance.json as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.performance import record  # noqa: E402
from benchmarks.serving.client import Fate  # noqa: E402
from benchmarks.serving.servers import Contender, Server, environment, ours, peers, versions  # noqa: E402
from benchmarks.throughput import measured  # noqa: E402

from edgeworthy import export, machine, predict  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "imagenet500" / "256"
MODEL = "lite0"
CONNECTIONS = 64
EVERY_S = 0.5  # its memory is looked at
SIXTHS = 6  # parts of the mixture's time: of a minute, ten seconds each
GROWTH = 1.1  # of memory, at most
FEW = 40  # photographs of the mixture
MB = 1_000_000
UNANSWERED = (Fate.REFUSED, Fate.DROPPED, Fate.CUT, Fate.LATE)
ANSWERED = re.compile(r"answered all (\d[\d,]*) requests")


class Bench:
    """The model's file, the photographs, and the class that each has to get."""

    def __init__(self, scratch: Path, data: Path) -> None:
        self.file = scratch / f"{MODEL}.onnx"
        export(f"{ROOT / 'examples' / 'efficientnet_lite0.py'}:build", self.file, classes="imagenet-1k")
        self.folder = data if data.is_dir() else _samples(scratch / "samples")
        self.paths = sorted(self.folder.iterdir())
        print(f"{len(self.paths)} photographs of {self.folder}", flush=True)
        found = predict(self.file, self.paths, top_k=1)
        self.classes = [one.scores[0].class_id for one in found]

    def generated(self, task: str, server: Server, *, photographs: int | None = None, **more: Any) -> Any:
        """What the clients find, from a process of their own."""
        plan = {
            "task": task,
            "port": server.port,
            "path": server.contender.path,
            "pid": server.pid,
            "connections": CONNECTIONS,
            "photographs": list(map(str, self.paths[:photographs])),
            "classes": self.classes[:photographs],
            "model": MODEL,
            **more,
        }
        command = [sys.executable, "-m", "benchmarks.serving.generator"]
        done = subprocess.run(
            command, input=json.dumps(plan), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
        return json.loads(done.stdout)

    def agree(self, server: Server) -> dict[str, Any]:
        """Ask about every photograph, which warms the server up, too; `other` are answered otherwise."""
        found = self.generated("agree", server)
        found["other"] = sum(a != b for a, b in zip(found["classes"], self.classes, strict=True))
        found["unanswered"] = sum(found["outcomes"].get(fate, 0) for fate in UNANSWERED)
        found["answered"] = sum(found["outcomes"].values()) - found["unanswered"]
        return found


def _samples(folder: Path) -> Path:
    """Photographs of scikit-image, their shorter side 256 px."""
    import skimage
    from PIL import Image

    folder.mkdir()
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
        picture = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
        scale = 256 / min(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size, Image.Resampling.BICUBIC).save(folder / f"{Path(name).stem}.jpg", quality=90)
    return folder


def load(bench: Bench, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Rounds of all servers, and the limit."""
    python = environment(options.venv)
    batched = _batched(bench.file)
    contenders = [ours(bench.file), *peers(bench.file, batched, python)]
    rounds: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contenders}
    limits = []
    for turn in range(options.rounds):
        for one in contenders[:: -1 if turn % 2 else 1]:
            rounds[one.name].append(_timed(bench, one, options.seconds))
            print(f"{one.name}: {rounds[one.name][-1]}", flush=True)
        alone = measured("limit", MODEL, bench.file, bench.folder)
        limits.append(machine.cores() * alone["pictures"] / alone["processor"])
    limit = statistics.median(limits)
    facts = {"photographs": len(bench.paths), "peers": versions(python)}
    rows: list[dict[str, Any]] = [{"server": "the limit", "rate": round(limit, 1), **facts}]
    rows += [_summary(name, found, limit) for name, found in rounds.items()]
    mine = rows[1]["others"]
    return rows, [f"answers other than 200, or none: {mine}"] if mine else []


def _batched(file: Path) -> Path:
    """The same network with a free batch dimension, which batching needs."""
    import onnx

    model = onnx.load(file)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    onnx.save(model, file.with_stem("batched"))
    return file.with_stem("batched")


def _timed(bench: Bench, contender: Contender, seconds: float) -> dict[str, Any]:
    with Server(contender) as server:
        other = bench.agree(server)["other"]
        if other:
            raise SystemExit(f"{contender.name}: another class on {other} photographs")
        before = server.processor_s()
        found = bench.generated("load", server, seconds=seconds)
        spent, memory = server.processor_s() - before, server.memory_bytes()
    latencies = found["latencies"]
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "rate": len(latencies) / seconds,
        "p50_ms": 1000 * cuts[49],
        "p95_ms": 1000 * cuts[94],
        "p99_ms": 1000 * cuts[98],
        "cores": spent / found["busy"],
        "memory_mb": memory / MB,
        "clients": found["processor"],
        "others": {key: count for key, count in found["outcomes"].items() if key != "200"},
    }


def _summary(name: str, found: list[dict[str, Any]], limit: float) -> dict[str, Any]:
    keys = ("rate", "p50_ms", "p95_ms", "p99_ms", "cores", "memory_mb", "clients")
    medians = {key: statistics.median(one[key] for one in found) for key in keys}
    rates = [one["rate"] for one in found]
    return {
        "server": name,
        **{key: float(f"{value:.3g}") for key, value in medians.items()},
        "rate_rounds": [round(min(rates), 1), round(max(rates), 1)],
        "of_limit": round(medians["rate"] / limit, 3),
        "others": dict(sum((Counter(one["others"]) for one in found), Counter())),
    }


def mixed(bench: Bench, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """A minute of everything, and the server's memory meanwhile."""
    with Server(ours(bench.file)) as server:
        wrong = _unlike(bench.agree(server), "before")
        with _sampled(server) as memory:
            found = bench.generated(
                "mixed", server, photographs=FEW, seconds=options.seconds, seed=options.seed
            )
        wrong += _unlike(bench.agree(server), "after")
        code, said = server.stopped(), server.said()
    wrong += [f"{count} x {fault}" for fault, count in found["wrong"].items()]
    early, late, whole = _memory(memory, found["began"], options.seconds)
    if late > GROWTH * early:
        wrong.append(f"memory grew from {early / MB:.0f} to {late / MB:.0f} MB")
    if code != 0 or "Traceback" in said:
        wrong.append(f"it ended with {code} and said:\n{said[-4000:]}")
    return [whole | {"seconds": options.seconds, "wrong": len(wrong)}, *found["rows"]], wrong


def _unlike(found: dict[str, Any], when: str) -> list[str]:
    faults = {f"another class {when}": found["other"], f"no answer {when}": found["unanswered"]}
    return [f"{count} x {fault}" for fault, count in faults.items() if count]


@contextlib.contextmanager
def _sampled(server: Server) -> Iterator[list[tuple[float, int]]]:
    """The server's memory again and again, with the moment."""
    samples: list[tuple[float, int]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(EVERY_S):
            samples.append((time.monotonic(), server.memory_bytes()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _memory(
    samples: list[tuple[float, int]], began: float, seconds: float
) -> tuple[float, float, dict[str, Any]]:
    """Medians of the sixths of the time: the second, the last, and all of them with the peak for the page."""
    parts: list[list[int]] = [[] for _ in range(SIXTHS)]
    for at, held in samples:
        part = int((at - began) / seconds * SIXTHS)
        if 0 <= part < SIXTHS:
            parts[part].append(held)
    medians = [statistics.median(part) for part in parts]
    peak = max(held for _, held in samples)
    told = {"memory_mb": [round(one / MB) for one in medians], "peak_mb": round(peak / MB)}
    return medians[1], medians[-1], told


def stop(bench: Bench, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Tell a busy server to end, again and again."""
    chance, found, wrong = random.Random(options.seed), [], []
    for number in range(options.times):
        found.append(_stopped(bench, chance.uniform(1, 4)))
        wrong += [f"time {number + 1}: {fault}" for fault in _lost(found[-1])]
        print(found[-1], flush=True)
    outcomes = sum((Counter(one["outcomes"]) for one in found), Counter())
    row = {key: sum(one[key] for one in found) for key in ("answered", "answered_after", "in_body")}
    row |= {"times": options.times, "unread": outcomes["dropped"], "refused": outcomes["refused"]}
    row |= {"unread_sent_before": sum(one["unread_sent_before"] for one in found)}
    return [row | {"last_s": max(one["last_s"] for one in found), "wrong": len(wrong)}], wrong


def _stopped(bench: Bench, after_s: float) -> dict[str, Any]:
    with Server(ours(bench.file)) as server:
        warm = bench.agree(server)
        found = bench.generated("stop", server, seconds=after_s)
        code, said = server.ended(), server.said()
    stated = ANSWERED.search(said.strip().rsplit("\n", 1)[-1])
    found["answered"] += warm["answered"]
    return {
        **found,
        "code": code,
        "stated": int(stated[1].replace(",", "")) if stated else None,
        "said": "" if stated else said[-2000:],
    }


def _lost(row: dict[str, Any]) -> Iterator[str]:
    """What should not have happened."""
    if row["stated"] is None:
        yield f"no word of how many it answered: {row['said']}"
    elif row["stated"] != row["answered"]:
        yield f"it says that it answered {row['stated']} requests, and {row['answered']} have an answer"
    if row["code"] != 0:
        yield f"it ended with {row['code']}"
    for outcome, count in row["outcomes"].items():
        if outcome in {"cut", "late"} or (outcome.startswith("5") and outcome != "503"):
            yield f"{count} requests: {outcome}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, default=DATA, help="a folder of photographs")
    common.add_argument("--no-record", action="store_true", help="leave performance.json as it is")
    one = commands.add_parser("load", parents=[common])
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--seconds", type=float, default=20, help="of a round")
    one.add_argument("--venv", type=Path, default=ROOT / "build" / "serve-peers", help="of the peers")
    one = commands.add_parser("mixed", parents=[common])
    one.add_argument("--seconds", type=float, default=60, help="12 or more")
    one.add_argument("--seed", type=int, default=1)
    one = commands.add_parser("stop", parents=[common])
    one.add_argument("--times", type=int, default=10)
    one.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    with tempfile.TemporaryDirectory() as scratch:
        rows, wrong = globals()[options.command](Bench(Path(scratch), options.data), options)
    for row in rows:
        print(row)
    for fault in wrong:
        print(f"WRONG: {fault}")
    if not options.no_record:
        record(f"serve_{options.command}", rows)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
