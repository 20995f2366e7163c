"""Which classifiers `edgeworthy export` delivers: every name of timm, torchvision and Transformers.

Each model is exported in a process of its own with random, telling weights (`--untrained`), with limits of
time and memory; what came of it is a row of a Parquet file, so that a run that was stopped goes on where it
was. Smallest models first. `table` makes docs/coverage.md from the rows.

    python benchmarks/coverage.py run --families              # the smallest of each family
    python benchmarks/coverage.py run --families --exporter dynamo
    python benchmarks/coverage.py run --families --opset 12
    python benchmarks/coverage.py run                         # all of them: many hours
    python benchmarks/coverage.py table

A stratified sample is --families with other opsets and exporters. The time of a row is of the whole process,
and only as good as the machine was idle; --jobs 1 for figures to quote.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.measuring import proportional_bytes, tree  # noqa: E402

from edgeworthy.contract import DEFAULT_OPSET, MAX_FILE_BYTES, MAX_OPSET, MIN_OPSET  # noqa: E402

RESULTS = HERE / "coverage.parquet"
PAGE = HERE.parent / "docs" / "coverage.md"
LIBRARIES = ("timm", "torchvision", "transformers")
BASE_BYTES, TIMES_WEIGHTS = 0.7e9, 5  # the bound on memory
POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture to try."""

    library: str
    family: str
    name: str
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one architecture; None where it did not get so far.

    Attributes:
        asked: the exporter that was asked for; `route` is the one that delivered.
        outcome: `same`, `inconclusive`, `refused`, `time`, `memory` or `crash`.
        difference: largest in probability over all probes; `tolerance` is what was allowed.
        yardstick: what the model's float32 differs from its float64 by, where that was needed.
        seconds: of the whole process.
        peak_bytes: of the process tree.
        reason: in one line, why not.
    """

    library: str
    family: str
    name: str
    opset: int
    asked: str
    outcome: str
    route: str | None = None
    parameters: int
    difference: float | None = None
    tolerance: float | None = None
    yardstick: float | None = None
    spread: float | None = None
    size_bytes: int | None = None
    seconds: float
    peak_bytes: int
    reason: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same trial."""
        return self.library, self.name, self.opset, self.asked

    @property
    def delivered(self) -> bool:
        """With a proof that proves something."""
        return self.outcome == "same"


def candidates(library: str) -> list[Candidate]:
    """All classifiers of a library, smallest first; created without memory to count their parameters."""
    from edgeworthy.silence import quiet
    from edgeworthy.sources.torchvision_shim import mend_torchvision

    mend_torchvision()
    with quiet():
        found = list(globals()[f"_of_{library}"]())
    return sorted(found, key=lambda one: (one.parameters, one.name))


def _of_timm() -> Iterator[Candidate]:
    import timm
    import torch

    for name in timm.list_models():
        with torch.device("meta"):
            model = timm.create_model(name)
        family = timm.models._registry._model_to_module[name]
        yield Candidate(library="timm", family=family, name=name, parameters=_parameters(model))


def _of_torchvision() -> Iterator[Candidate]:
    from torchvision import models

    for name in models.list_models(module=models):
        model = models.get_model(name, weights=None)  # some cannot be made on the meta device
        family = type(model).__name__
        yield Candidate(library="torchvision", family=family, name=name, parameters=_parameters(model))


def _of_transformers() -> Iterator[Candidate]:
    """One small architecture of each model type."""
    from benchmarks.small_configs import OVERRIDES, small_config
    from transformers import AutoModelForImageClassification

    from edgeworthy.sources.dinat import mend_dinat

    mend_dinat()
    for kind in OVERRIDES:
        try:
            parameters = _parameters(AutoModelForImageClassification.from_config(small_config(kind)))
        except Exception:  # it is refused when its turn comes, with the reason
            parameters = 0
        yield Candidate(library="transformers", family=kind, name=kind, parameters=parameters)


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def export_one(library: str, name: str, opset: int, exporter: str) -> dict[str, Any]:
    """Export it here; what came of it."""
    from edgeworthy import inspect
    from edgeworthy.errors import EdgeworthyError
    from edgeworthy.exporter import export

    with tempfile.TemporaryDirectory() as folder:
        source, told = _source(library, name, Path(folder))
        target = Path(folder) / "model.onnx"
        try:
            artefact = export(source, target, untrained=True, opset=opset, exporter=exporter, **told)
        except EdgeworthyError as error:
            return {"outcome": "refused", "reason": f"{type(error).__name__}: {error.message}"}
        parity = artefact.parity
        return {
            "outcome": parity.verdict,
            "route": inspect(target).evidence["exporter"],
            "difference": parity.max_abs_diff,
            "tolerance": parity.tolerance,
            "yardstick": parity.yardstick,
            "spread": parity.spread,
            "size_bytes": artefact.size_bytes,
        }


def _source(library: str, name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The source's text, and what its library leaves to the user."""
    from edgeworthy.sources.torchvision_shim import mend_torchvision

    mend_torchvision()
    if library == "timm":
        import timm

        return f"timm:{name}", {"classes": _names(timm.get_pretrained_cfg(name).num_classes or 1000)}
    if library == "torchvision":
        return f"torchvision:{name}", {"classes": _names(1000)}
    from benchmarks.small_configs import small_config, small_processor, small_side

    config = small_config(name)
    config.save_pretrained(folder / name)
    processor = small_processor(config)
    if processor is not None:
        processor.save_pretrained(folder / name)
    side = small_side(config)
    return f"hf:{folder / name}", {
        "classes": _names(config.num_labels),
        "mean": (127.5, 127.5, 127.5),
        "std": (127.5, 127.5, 127.5),
        "input_size": (3, side, side),
    }


def _names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


def tried(candidate: Candidate, limits: argparse.Namespace) -> Row:
    """Export it in a process of its own."""
    command = [
        sys.executable, str(Path(__file__)), "one", candidate.library, candidate.name,
        "--opset", str(limits.opset), "--exporter", limits.exporter,
    ]  # fmt: skip
    started, peak, outcome = time.monotonic(), 0, ""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.DEVNULL, start_new_session=True, text=True
        )
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_bytes, tree(process.pid))))
            outcome = _over(limits, time.monotonic() - started, peak)
            if outcome:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(POLL_S)
        said.seek(0)
        found = {"outcome": outcome} if outcome else _said(said.read(), process.returncode)
    reasons = {
        "time": f"took more than {limits.seconds:g} s",
        "memory": f"took more than {limits.gigabytes:g} GB of memory",
    }
    return Row(
        **{"reason": reasons.get(found["outcome"]), **found},
        **asdict(candidate),
        opset=limits.opset,
        asked=limits.exporter,
        seconds=round(time.monotonic() - started, 1),
        peak_bytes=peak,
    )


def _over(limits: argparse.Namespace, seconds: float, peak: int) -> str:
    if seconds > limits.seconds:
        return "time"
    return "memory" if peak > limits.gigabytes * 1e9 else ""


def _said(text: str, code: int) -> dict[str, Any]:
    lines = text.strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"outcome": "crash", "reason": f"ended with {code} and no result"}
    return found


class Results:
    """Rows in a Parquet file; the file is whole at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.rows: dict[tuple[Any, ...], Row] = {}
        if path.exists():
            import pyarrow.parquet as pq

            rows = [Row(**row) for row in pq.read_table(path).to_pylist()]
            self.rows = {row.key: row for row in rows}

    def add(self, row: Row) -> None:
        """One row more, or in the place of the same trial's."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            "opset": pa.int32(),
            "parameters": pa.int64(),
            "size_bytes": pa.int64(),
            "peak_bytes": pa.int64(),
        }
        floats = {"difference", "tolerance", "yardstick", "spread", "seconds"}
        schema = pa.schema(
            (field.name, types.get(field.name, pa.float64() if field.name in floats else pa.string()))
            for field in fields(Row)
        )
        with self._lock:
            self.rows[row.key] = row
            ordered = sorted(self.rows.values(), key=lambda one: (*map(str, one.key),))
            scratch = self._path.with_suffix(".part")
            pq.write_table(pa.Table.from_pylist(list(map(asdict, ordered)), schema), scratch)
            scratch.replace(self._path)


def chosen(arguments: argparse.Namespace) -> list[Candidate]:
    """What the arguments ask to try."""
    cached = arguments.results.with_suffix(".candidates.json")
    listed: dict[str, list[dict[str, Any]]] = json.loads(cached.read_text()) if cached.exists() else {}
    found: list[Candidate] = []
    for library in arguments.libraries:
        if library not in listed:
            listed[library] = [asdict(one) for one in candidates(library)]
            cached.write_text(json.dumps(listed))
        found += [Candidate(**one) for one in listed[library]]
    found = [one for one in found if 4 * one.parameters < MAX_FILE_BYTES]
    if arguments.names:
        found = [one for one in found if one.name in arguments.names or one.family in arguments.names]
    if arguments.families:
        smallest: dict[tuple[str, str], Candidate] = {}
        for one in found:
            smallest.setdefault((one.library, one.family), one)
        found = list(smallest.values())
    return sorted(found, key=lambda one: one.parameters)


def run(arguments: argparse.Namespace) -> None:
    """Try all that was chosen and has no row yet."""
    results = Results(arguments.results)
    waiting = [
        one
        for one in chosen(arguments)
        if arguments.again or (one.library, one.name, arguments.opset, arguments.exporter) not in results.rows
    ]
    until = time.monotonic() + 3600 * arguments.hours

    def work(candidate: Candidate) -> None:
        if time.monotonic() > until:
            return
        row = tried(candidate, arguments)
        results.add(row)
        print(
            f"{row.library}:{row.name} ({row.family}) opset {row.opset} {row.asked}: {row.outcome} "
            f"{row.route or ''} {row.difference or ''} {row.seconds} s {row.peak_bytes / 1e6:.0f} MB "
            f"{row.reason or ''}",
            flush=True,
        )

    print(f"{len(waiting)} to try", flush=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(work, waiting))


def _bound(row: Row) -> float:
    """Peak memory in units of what is allowed."""
    return row.peak_bytes / (BASE_BYTES + TIMES_WEIGHTS * 4 * row.parameters)


def page(rows: Iterable[Row]) -> str:
    """docs/coverage.md."""
    rows = sorted(rows, key=lambda row: (LIBRARIES.index(row.library), row.family, row.parameters, row.name))
    main = [row for row in rows if row.opset == DEFAULT_OPSET and row.asked == "auto"]
    parts = [_INTRODUCTION, *_totals(main), *_sample(rows)]
    for library in LIBRARIES:
        parts += _families(library, [row for row in main if row.library == library])
    parts += [*_misses(rows), *_over_the_bound(main), *_listing(main)]
    return "\n".join(parts) + "\n"


_INTRODUCTION = f"""# Which classifiers are delivered

Made by `benchmarks/coverage.py table` from the rows of `benchmarks/coverage.parquet`, one a trial.

Every architecture in these tables is exported in a process of its own by `edgeworthy export …
--untrained`, at opset {DEFAULT_OPSET} unless it says otherwise, within limits of time and memory; what
is not among the names below has not been tried. The weights are random, and made telling first: a file
counts as delivered only where the rules pass, the predictions of ONNX Runtime equal the model's by the
yardstick of `export`, and the proof is conclusive. Models of more than 2 GiB of weights are refused by
design and not counted. timm's and torchvision's architectures have their real sizes; Transformers' are
small configurations of each model type (`benchmarks/small_configs.py`).

*Difference* is the largest between the model's and the file's probabilities over 18 probes; *memory* the peak
of the process tree, and in brackets the part of 0.7 GB + 5x the float32 weights that it takes. Seconds are of
whole processes, two beside each other on a shared two-core machine that did other work meanwhile: an order of
magnitude; most rows are of earlier versions of edgeworthy than the last. The limit was 600 s or 900 s,
1,500 s for the largest, 1,700 s for qwen3_vit_88m and beit_large_patch16_512, 3,600 s for gemma4 and
deepseek.
"""


def _totals(main: Sequence[Row]) -> list[str]:
    lines = [
        "## In all",
        "",
        "| library | architectures | delivered | families | whole families | memory over its bound |",
        "|---|---|---|---|---|---|",
    ]
    for library in LIBRARIES:
        rows = [row for row in main if row.library == library]
        if not rows:
            continue
        families = {row.family for row in rows}
        broken = {row.family for row in rows if not row.delivered}
        delivered = sum(row.delivered for row in rows)
        over = sum(_bound(row) > 1 for row in rows)
        lines.append(
            f"| {library} | {len(rows)} | {delivered} ({delivered / len(rows):.1%}) | {len(families)} | "
            f"{len(families - broken)} | {over} |"
        )
    return [*lines, ""]


_ROUTES = (("auto", None), ("auto", "torchscript"), ("torchscript", None), ("dynamo", None))


def _sample(rows: Sequence[Row]) -> list[str]:
    """Delivered of tried, by exporter and opset, over the families' smallest."""
    lines = [
        "## By opset and exporter",
        "",
        "The smallest architectures of the families: delivered of tried. `auto` tries TorchScript first and",
        "dynamo where that fails, so that its rows say what TorchScript alone delivers, too.",
        "",
        "| library | exporter | " + " | ".join(map(str, range(MIN_OPSET, MAX_OPSET + 1))) + " |",
        "|---|---|" + "---|" * (MAX_OPSET + 1 - MIN_OPSET),
    ]
    smallest: dict[tuple[str, str], str] = {}
    for row in rows:
        smallest.setdefault((row.library, row.family), row.name)
    for library in LIBRARIES:
        for asked, route in _ROUTES:
            cells = []
            for opset in range(MIN_OPSET, MAX_OPSET + 1):
                found = [
                    row
                    for row in rows
                    if (row.library, row.asked, row.opset) == (library, asked, opset)
                    and smallest[library, row.family] == row.name
                ]
                delivered = sum(row.delivered and route in {None, row.route} for row in found)
                cells.append(f"{delivered} of {len(found)}" if found else "")
            if any(cells):
                said = f"{asked}, by {route}" if route else asked
                lines.append(f"| {library} | {said} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _families(library: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = [
        f"## {library}",
        "",
        "| family | delivered | route | largest difference | seconds | memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    families = defaultdict(list)
    for row in rows:
        families[row.family].append(row)
    for family, members in families.items():
        seconds = median(row.seconds for row in members)
        routes = Counter(row.route for row in members if row.route)
        differences = [row.difference for row in members if row.difference is not None]
        widest = max(members, key=lambda row: row.peak_bytes)
        said = ", ".join(
            f"{route} {count}" if len(routes) > 1 else str(route) for route, count in routes.items()
        )
        lines.append(
            f"| {family} | {sum(row.delivered for row in members)} of {len(members)} | {said} | "
            f"{f'{max(differences):.1e}' if differences else ''} | {seconds:.0f} | "
            f"{widest.peak_bytes / 1e6:.0f} ({max(map(_bound, members)):.2f}) |"
        )
    return [*lines, ""]


def _misses(rows: Sequence[Row]) -> list[str]:
    missed = [row for row in rows if not row.delivered]
    lines = ["## Misses", ""]
    if not missed:
        return [*lines, "None.", ""]
    lines += ["| architecture | exporter | opset | why |", "|---|---|---|---|"]
    for row in missed:
        why = row.reason or f"{row.outcome}: no probability moves by more than {row.spread}"
        lines.append(
            f"| {row.library}:{row.name} | {row.asked} | {row.opset} | {why.replace('|', '/')[:300]} |"
        )
    return [*lines, ""]


def _over_the_bound(main: Sequence[Row]) -> list[str]:
    over = [row for row in main if _bound(row) > 1]
    lines = ["## Over the bound on memory", ""]
    if not over:
        return [*lines, "None.", ""]
    lines += [
        "Where the file is much larger than the weights, the model unfolds tables of position biases, in",
        "PyTorch as in the file. Elsewhere it is what the model computes on its way that takes the room.",
        "",
        "| architecture | memory, MB | of its bound | weights, MB | file, MB |",
        "|---|---|---|---|---|",
    ]
    for row in over:
        file = f"{row.size_bytes / 1e6:.0f}" if row.size_bytes else "none"
        lines.append(
            f"| {row.library}:{row.name} | {row.peak_bytes / 1e6:.0f} | {_bound(row):.3f} | "
            f"{4 * row.parameters / 1e6:.0f} | {file} |"
        )
    return [*lines, ""]


def _listing(main: Sequence[Row]) -> list[str]:
    """All that was tried, to search the page for."""
    lines = ["## Architectures that were tried", ""]
    for library in LIBRARIES:
        names = sorted(row.name for row in main if row.library == library)
        if names:
            listed = fill(", ".join(names), 118, break_long_words=False, break_on_hyphens=False)
            lines += [f"### {library}: {len(names)}", "", listed, ""]
    return lines[:-1]


def main() -> None:
    """Run one of the three: run, one, table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="try what has no row yet")
    running.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    running.add_argument("--families", action="store_true", help="only the smallest of each family")
    running.add_argument("--names", nargs="+", help="only these architectures or families")
    running.add_argument("--jobs", type=int, default=2)
    running.add_argument("--seconds", type=float, default=600, help="limit of one export")
    running.add_argument("--gigabytes", type=float, default=11, help="limit of one export")
    running.add_argument("--hours", type=float, default=1000, help="begin nothing after so long")
    running.add_argument("--again", action="store_true", help="try what has a row, too")
    one = commands.add_parser("one", help="export one architecture in this process")
    one.add_argument("library", choices=LIBRARIES)
    one.add_argument("name")
    table = commands.add_parser("table", help="write docs/coverage.md")
    table.add_argument("--check", action="store_true", help="only say whether it is up to date")
    for command in (running, table):
        command.add_argument("--results", type=Path, default=RESULTS)
    for command in (running, one):
        command.add_argument("--opset", type=int, default=DEFAULT_OPSET)
        command.add_argument("--exporter", choices=["auto", "torchscript", "dynamo"], default="auto")
    arguments = parser.parse_args()
    if arguments.command == "one":
        found = export_one(arguments.library, arguments.name, arguments.opset, arguments.exporter)
        print(json.dumps(found), flush=True)
    elif arguments.command == "run":
        run(arguments)
    else:
        text = page(Results(arguments.results).rows.values())
        if arguments.check and PAGE.read_text("utf-8") != text:
            sys.exit("docs/coverage.md is not what the rows say: python benchmarks/coverage.py table")
        if not arguments.check:
            PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
