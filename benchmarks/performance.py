"""Write docs/performance.md from what the benchmarks have measured; `--check` compares instead.

throughput.py, cold_start.py, memory.py, fast_decode.py, int8.py and serve.py leave their figures in
performance.json, each with the machine and the versions it ran on.

    python benchmarks/performance.py [--check]
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "performance.json"
PAGE = HERE.parent / "docs" / "performance.md"

SECTIONS = (
    "throughput",
    "fast_decode",
    "cold_start",
    "memory",
    "int8",
    "serve_load",
    "serve_mixed",
    "serve_stop",
)
LIBRARIES = ("onnxruntime", "pillow", "numpy", "torch", "timm", "transformers")


def record(section: str, rows: list[dict[str, Any]]) -> None:
    """Keep a benchmark's rows in place of its last ones."""
    figures = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    figures[section] = {"machine": machine(), "rows": rows}
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")


def machine() -> str:
    """The processor, its cores, and the versions of what does the work."""
    from edgeworthy.machine import cores

    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
        flags = next(line for line in lines if line.startswith("flags")).split()
        wide = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if flag in flags]
        model = ", ".join([*sorted(names), *wide])
    except (OSError, StopIteration):
        pass
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return f"{model}; {cores()} cores; Python {platform.python_version()}, {versions}"


def page(figures: dict[str, Any]) -> Iterator[str]:
    """docs/performance.md, line by line."""
    yield from ("# Performance", "")
    yield "<!-- Written by benchmarks/performance.py from benchmarks/performance.json. -->"
    yield ""
    yield (
        "Ratios count, not seconds: each table was measured in one run, its contenders taking turns, "
        "medians shown. The machines are virtual, and their speed varies by some per cent from minute to "
        "minute."
    )
    for section in SECTIONS:
        if section in figures:
            yield from ("", *globals()[section](figures[section]["rows"]))
            yield from ("", f"*{figures[section]['machine']}*")


def throughput(rows: list[dict[str, Any]]) -> Iterator[str]:
    names = ("ours", "loop", "timm-onnx", "timm-eager", "pipeline")
    yield from ("## Pictures a second", "")
    yield (
        "`predict` on all cores, from files to classes, against a plain loop over ONNX Runtime, timm's way "
        "to validate ONNX files and eager models, and Transformers' pipeline. The limit is computed: cores "
        "divided by the processor seconds that one picture costs to decode, frame, normalise and infer on "
        "one thread, when nothing else runs. `256` are 500 photographs of 256 px, `original` the 66 that "
        "came larger. Target: 0.92 of the limit (`benchmarks/throughput.py`)."
    )
    yield ""
    yield "| model | pictures | limit | " + " | ".join(names) + " | of the limit | lowest, highest round |"
    yield "|---|---|" + "---:|" * (len(names) + 2) + "---|"
    for row in rows:
        cells = " | ".join(f"{row[name]:.0f}" if name in row else "" for name in names)
        low, high = row["of_limit_rounds"]
        yield (
            f"| {row['model']} | {row['pictures']} | {row['limit']:.0f} | {cells} "
            f"| **{row['of_limit']:.2f}** | {low:.2f}, {high:.2f} |"
        )


def fast_decode(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("## Fast decoding", "")
    yield (
        "`--fast-decode` lets the JPEG decoder shrink pictures that are more than twice as large as needed."
        " EfficientNet-Lite0 with its weights, on the originals and on the same pictures enlarged as a "
        "camera would write them (`benchmarks/fast_decode.py`)."
    )
    yield ""
    yield "| pictures | number | in full, a second | fast, a second | other best class | largest difference |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in rows:
        yield (
            f"| {row['pictures']} | {row['count']} | {row['full']:.0f} | {row['fast']:.0f} "
            f"| {row['other_class']} | {row['max_abs_diff']:.2g} |"
        )


def cold_start(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("## One picture", "")
    yield (
        "`edgeworthy predict` of one picture as a whole process, against a bare script that imports ONNX "
        "Runtime, NumPy and Pillow, loads the file, prepares the picture, runs and prints. Target: at most "
        f"{rows[0]['target']} times (`benchmarks/cold_start.py`)."
    )
    yield from ("", "| model | edgeworthy, ms | bare, ms | ratio |", "|---|---:|---:|---:|")
    for row in rows:
        yield f"| {row['model']} | {row['edgeworthy']} | {row['bare']} | **{row['ratio']:.2f}** |"


def memory(rows: list[dict[str, Any]]) -> Iterator[str]:
    few, many = sorted((key for key in rows[0] if key.isdecimal()), key=int)
    yield from ("## Memory", "")
    yield (
        "Peak memory of `predict` with a tiny model on so many pictures, all its processes together. "
        f"Target: at most {rows[0]['target']} times (`benchmarks/memory.py`). Long runs may go from threads "
        "to processes, once: each holds Python, its libraries and the model. Of a short run, Parquet's rows "
        "are written when they have ended; of a long one, while they work."
    )
    yield ""
    yield f"| by | rows go to | {int(few):,} pictures, MB | {int(many):,} pictures, MB | ratio |"
    yield "|---|---|---:|---:|---:|"
    for row in rows:
        yield f"| {row['pool']} | {row['output']} | {row[few]} | {row[many]} | **{row['ratio']:.2f}** |"


def int8(rows: list[dict[str, Any]]) -> Iterator[str]:
    names = {
        "ours": "edgeworthy",
        "ort": "quantize_static, defaults",
        "ort-best": "quantize_static, uint8 per channel",
        "nncf": "NNCF, defaults",
    }
    yield from ("## 8 bits", "")
    yield (
        "`quantize` as it comes against the recipes of ONNX Runtime and NNCF. One half of the labelled "
        "pictures calibrates and the other judges, both ways; intervals are of 95 %. Latency is of one "
        "picture on one thread, pictures a second with a session on each core, both against the float32 "
        "file, contenders taking turns, medians shown. resnet18 was trained for this on 100 photographs from "
        "random weights, and recognises little; what counts is what changes. Targets: at most 0.5 points "
        "lost, agreement of at least 0.98, 2.2 times the pictures a second for lite0 and 3.2 for resnet18, "
        "0.32 of the size (`benchmarks/int8.py`)."
    )
    yield ""
    yield "| model | recipe | top-1 | points lost | agreement | size | latency | pictures a second |"
    yield "|---|---|---:|---|---|---:|---:|---:|"
    for row in rows:
        lost, kept = row["lost"], row["agreement"]
        yield (
            f"| {row['model']} | {names[row['contender']]} | {row['top1']:.3f} of {row['top1_before']:.3f} "
            f"| {lost[0]:.1f} ({lost[1]:.1f} to {lost[2]:.1f}) "
            f"| {kept[0]:.3f} ({kept[1]:.3f} to {kept[2]:.3f}) "
            f"| {row['size']:.2f} | {row['quicker']:.2f}x | {row['more']:.2f}x |"
        )


def serve_load(rows: list[dict[str, Any]]) -> Iterator[str]:
    limit, *servers = rows
    clients = 100 * max(row["clients"] for row in servers)
    yield from ("## Serve", "")
    yield (
        "`edgeworthy serve` with EfficientNet-Lite0, 64 connections on loopback that are kept alive, each "
        f"with the next of {limit['photographs']} photographs of 256 px as soon as it has its answer; every "
        "option as it comes. Beside it a FastAPI handler around one session of ONNX Runtime with default "
        "options, and LitServe with a worker a core, on the same requests; all choose the right class on "
        "every photograph. One server "
        f"runs at a time; the clients take at most {clients:.0f} % of a core. The limit is that of *Pictures "
        "a second*: inference, decoding and framing alone (`benchmarks/serve.py load`)."
    )
    yield ""
    yield (
        "| server | answers a second | lowest, highest round | of the limit | p50, ms | p95, ms | p99, ms "
        "| not answered with 200 | cores busy | memory, MB |"
    )
    yield "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    yield f"| the limit | {limit['rate']:.0f} | | | | | | | | |"
    for row in servers:
        low, high = row["rate_rounds"]
        yield (
            f"| {row['server']} | {row['rate']:.0f} | {low:.0f}, {high:.0f} | **{row['of_limit']:.2f}** "
            f"| {row['p50_ms']:.0f} | {row['p95_ms']:.0f} | {row['p99_ms']:.0f} "
            f"| {sum(row['others'].values())} | {row['cores']:.2f} | {row['memory_mb']:.0f} |"
        )
    yield from ("", f"*{limit['peers']}*")


def serve_mixed(rows: list[dict[str, Any]]) -> Iterator[str]:
    whole, *kinds = rows
    memory = ", ".join(map(str, whole["memory_mb"]))
    yield from ("### Whatever may come", "")
    yield (
        f"Good, broken and huge bodies, by chance, from 64 connections for {whole['seconds']:.0f} s. Allowed "
        "are the statuses that each kind is due, and 429 with Retry-After while the server is busy. "
        f"Departures: {whole['wrong']}. Memory in the sixths of that time, medians: {memory} MB; "
        f"{whole['peak_mb']} MB at most. Target: in the last at most a tenth more than in the second "
        "(`benchmarks/serve.py mixed`)."
    )
    yield from ("", "| sent | answers | longest, s |", "|---|---|---:|")
    for row in kinds:
        told = ", ".join(f"{count:,} x {key}" for key, count in sorted(row["outcomes"].items()))
        yield f"| {row['kind']} | {told} | {row['longest_s']:.1f} |"


def serve_stop(rows: list[dict[str, Any]]) -> Iterator[str]:
    (row,) = rows
    yield from ("### Stopped in mid-load", "")
    yield (
        f"SIGTERM {row['times']} times, while 64 connections ask. What the server says it took and answered "
        f"has to be what the clients have whole answers to. Departures: {row['wrong']} "
        "(`benchmarks/serve.py stop`)."
    )
    yield ""
    yield (
        "| requests answered | after the signal | of these still sent at the signal | slowest after it, s "
        "| closed before they were read | of these sent before the signal | connections refused |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    yield (
        f"| {row['answered']:,} | {row['answered_after']:,} | {row['in_body']} | {row['last_s']} "
        f"| {row['unread']} | {row['unread_sent_before']} | {row['refused']} |"
    )


def main() -> int:
    """Write or compare."""
    text = "\n".join(page(json.loads(FIGURES.read_text("utf-8")))) + "\n"
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
