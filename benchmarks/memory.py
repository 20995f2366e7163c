"""Peak memory of `edgeworthy predict` on a thousand and on two hundred thousand pictures.

The pictures are a few small ones, named again and again in a list; the model is tiny, so that what grows with
the number of pictures is not hidden behind its weights. Rows are written to each kind of file, by threads and
by processes; what is chosen by itself goes from the one to the other once, after some hundred pictures.

With --driver, only the process that was called is measured, Ray's own workers and processes left out, for
`predict --engine ray` and for `evaluate` with either engine: the figures of docs/scale.md.

    python benchmarks/memory.py [--counts 1000 200000] [--driver]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import peak_bytes
from benchmarks.performance import record
from tests.factory import classifier_file

TARGET = 1.1
PICTURES = 10


DRIVER = """
import resource, sys
from edgeworthy.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print(ended.code or 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def driver_bytes(words: list[str]) -> int:
    """Peak of the process that was called, alone."""
    done = subprocess.run([sys.executable, "-c", DRIVER, *words], check=True, capture_output=True, text=True)
    code, kilobytes = done.stdout.split()[-2:]
    assert code == "0", done.stderr
    return 1024 * int(kilobytes)


def drivers(place: Path, file: Path, counts: list[int]) -> None:
    for count in counts:
        names = [f"{place / str(number % PICTURES)}.jpg" for number in range(count)]
        (place / "list.txt").write_text("\n".join(names))
        (place / "list.csv").write_text("\n".join(["path,label", *(f"{name},cat" for name in names)]))
        calls = {
            "predict ray": [
                "predict",
                str(file),
                f"@{place / 'list.txt'}",
                "-o",
                str(place / f"{count}.parquet"),
            ],
            "evaluate local": [
                "evaluate",
                str(file),
                "--data",
                str(place / "list.csv"),
                "--frame",
                "stretch",
            ],
            "evaluate ray": ["evaluate", str(file), "--data", str(place / "list.csv"), "--frame", "stretch"],
        }
        for name, words in calls.items():
            peak = driver_bytes([*words, "--engine", name.split()[1]])
            print({"call": name, "pictures": count, "driver_mb": round(peak / 1e6)}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--counts", type=int, nargs=2, default=[1000, 200_000])
    parser.add_argument("--driver", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        file = classifier_file(place / "m.onnx")
        for number in range(PICTURES):
            Image.new("RGB", (64, 48), (20 * number, 90, 200)).save(place / f"{number}.jpg")
        if options.driver:
            drivers(place, file, options.counts)
            return
        for pool, output in product(("threads", "processes"), ("rows.jsonl", "rows.csv", "rows.parquet")):
            peaks = []
            for count in options.counts:
                names = (f"{place / str(number % PICTURES)}.jpg\n" for number in range(count))
                (place / "list.txt").write_text("".join(names))
                target = place / f"{count}-{pool}-{output}"
                command = [sys.executable, "-m", "edgeworthy", "predict", str(file), f"@{place / 'list.txt'}"]
                peaks.append(peak_bytes([*command, "-o", str(target), "--pool", pool], dict(os.environ)))
            few, many = peaks
            rows.append(
                {
                    "output": output,
                    "pool": pool,
                    **{
                        f"{count}": round(peak / 1e6)
                        for count, peak in zip(options.counts, peaks, strict=True)
                    },
                    "ratio": round(many / few, 3),
                    "target": TARGET,
                }
            )
            print(rows[-1], flush=True)
    record("memory", rows)


if __name__ == "__main__":
    main()
