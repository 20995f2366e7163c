"""Peak memory of `edgeworthy predict` on a thousand and on two hundred thousand pictures.

The pictures are a few small ones, named again and again in a list; the model is tiny, so that what grows with
the number of pictures is not hidden behind its weights. Rows are written to each kind of file.

    python benchmarks/memory.py [--counts 1000 200000]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import peak_bytes
from benchmarks.performance import record
from tests.factory import classifier_file

TARGET = 1.1
PICTURES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--counts", type=int, nargs=2, default=[1000, 200_000])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        file = classifier_file(place / "m.onnx")
        for number in range(PICTURES):
            Image.new("RGB", (64, 48), (20 * number, 90, 200)).save(place / f"{number}.jpg")
        for output in ("rows.jsonl", "rows.csv", "rows.parquet"):
            peaks = []
            for count in options.counts:
                names = (f"{place / str(number % PICTURES)}.jpg\n" for number in range(count))
                (place / "list.txt").write_text("".join(names))
                target = place / f"{count}-{output}"
                command = [sys.executable, "-m", "edgeworthy", "predict", str(file), f"@{place / 'list.txt'}"]
                peaks.append(peak_bytes([*command, "-o", str(target)], dict(os.environ)))
            few, many = peaks
            rows.append(
                {
                    "output": output,
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
