"""`edgeworthy predict` of one picture as a whole process, against a bare script that does the least.

The bare script imports ONNX Runtime, NumPy and Pillow, loads the file, decodes, resizes, crops and normalises
one picture, runs the model and prints the best five classes. Both take turns; medians and their ratio count.

    python benchmarks/cold_start.py [--rounds 21]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import skimage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import timed
from benchmarks.performance import record

from edgeworthy import export

TARGET = 1.5
PICTURE = Path(skimage.__file__).parent / "data" / "chelsea.png"

BARE = """
import sys
import numpy as np
import onnxruntime as ort
from PIL import Image

options = ort.SessionOptions()
options.intra_op_num_threads = {threads}
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
picture = Image.open(sys.argv[2]).convert("RGB")
scale = 256 / min(picture.size)
picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC)
left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32)
values = ((pixels - 127.0) / 128.0).transpose(2, 0, 1)[None].astype(np.float32)
scores = session.run(None, {{session.get_inputs()[0].name: values}})[0][0]
names = session.get_outputs()[0].name.split("-", 1)[1].split(";")
for best in np.argsort(-scores)[:5]:
    print(names[best], scores[best])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    environment = dict(os.environ)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("tf_efficientnet_lite0", "resnet18"):
            file = str(Path(scratch) / f"{name}.onnx")
            export(f"timm:{name}", file, classes="imagenet-1k", untrained=True)
            commands = {
                "edgeworthy": [sys.executable, "-m", "edgeworthy", "predict", file, str(PICTURE)],
                "bare": [sys.executable, "-c", BARE.format(threads=0), file, str(PICTURE)],
            }
            seconds: dict[str, list[float]] = {key: [] for key in commands}
            for turn in range(options.rounds + 1):
                for key in list(commands)[:: -1 if turn % 2 else 1]:
                    found = timed(commands[key], environment)
                    if turn:  # the first fills the disk's cache
                        seconds[key].append(found)
            medians = {key: round(1000 * statistics.median(values)) for key, values in seconds.items()}
            ratio = statistics.median(seconds["edgeworthy"]) / statistics.median(seconds["bare"])
            rows.append({"model": name, **medians, "ratio": round(ratio, 2), "target": TARGET})
            print(rows[-1])
    record("cold_start", rows)


if __name__ == "__main__":
    main()
