"""Whole-process time and peak memory: `edgeworthy check` against `onnx-doctor check`, on the same files.

onnx-doctor checks the ONNX specification, and knows nothing of classifiers; `--static` is what compares with
it. The whole check also runs the model and simplifies it. Both are started in turns, from a compiled and
cached state; times and memory come from separate runs. onnx-doctor may live in an environment of its own.

    python benchmarks/check_vs_onnx_doctor.py FILE... [--onnx-doctor PROGRAM] [--runs 9] [--json FILE]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from pathlib import Path

from measuring import peak_bytes, timed

TARGETS = {"static": 0.65, "behaviour": 1.0, "whole": 1.0}
CODES = (0, 1)  # findings are no failure


def commands(file: Path, doctor: str) -> dict[str, list[str]]:
    """The programs as command lines."""
    ours = [sys.executable, "-m", "edgeworthy", "check", str(file)]
    return {
        "onnx-doctor": [doctor, "check", str(file)],
        "static": [*ours, "--static"],
        "behaviour": [*ours, "--ignore", "EW111=compared without simplifying"],
        "whole": ours,
    }


def measure(file: Path, doctor: str, runs: int) -> dict[str, object]:
    """Medians for one file, in turns."""
    programs = commands(file, doctor)
    environment = dict(os.environ)
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for command in programs.values():
        timed(command, environment, codes=CODES)  # fills the disk's cache
    for turn in range(runs):
        for name in sorted(programs, reverse=bool(turn % 2)):
            seconds[name].append(timed(programs[name], environment, codes=CODES))
    peaks = {
        name: statistics.median(peak_bytes(command, environment, codes=CODES) for _ in range(3))
        for name, command in programs.items()
    }
    theirs = statistics.median(seconds["onnx-doctor"])
    row: dict[str, object] = {"file": file.name, "mb": round(file.stat().st_size / 1e6, 1)}
    for name in programs:
        pairs = [a / b for a, b in zip(seconds[name], seconds["onnx-doctor"], strict=True)]
        row[name] = {
            "s": round(statistics.median(seconds[name]), 3),
            "ratio": round(statistics.median(seconds[name]) / theirs, 3),
            "pairs": [round(min(pairs), 2), round(max(pairs), 2)],
            "mb": round(peaks[name] / 1e6),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--onnx-doctor", default=shutil.which("onnx-doctor"), help="its program")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    if not options.onnx_doctor:
        parser.error("onnx-doctor is not installed: pip install onnx-doctor, or --onnx-doctor PROGRAM")
    results = [measure(file, options.onnx_doctor, options.runs) for file in options.files]
    for row in results:
        print(f"{row['file']} ({row['mb']} MB)")
        for name in ("onnx-doctor", *TARGETS):
            figures = row[name]
            assert isinstance(figures, dict)
            low, high = figures["pairs"]
            target = f"target {TARGETS[name]}" if name in TARGETS else ""
            print(
                f"  {name:<12}{figures['s']:>7.3f} s  ratio {figures['ratio']:.2f} ({low}..{high})  "
                f"{figures['mb']:>4} MB  {target}"
            )
    print(f"medians of {options.runs} interleaved runs; {platform.machine()}, {os.cpu_count()} cores")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
