"""Does another provider predict what the CPU does? The same pictures through the same file on both.

For CUDA also with TF32, which ONNX Runtime takes unless it is told otherwise, as edgeworthy tells it. The
pictures are crops of scikit-image's photographs, the weights random. Needs the provider's package and device.

    python benchmarks/providers.py --provider cuda
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import edgeworthy
from edgeworthy.filemodel import FileModel
from edgeworthy.images import framed
from edgeworthy.runtime import Session

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
LEAST_SIDE = 120  # px of a crop
TIMED = 100


def crops(count: int) -> list[edgeworthy.Picture]:
    """Square parts of photographs, of any place and size."""
    from PIL import Image
    from skimage import data

    random = np.random.default_rng(1)
    parts = []
    for number in range(count):
        whole = getattr(data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])()
        side = int(random.integers(LEAST_SIDE, min(whole.shape[:2])))
        top, left = (int(random.integers(0, room - side + 1)) for room in whole.shape[:2])
        part = Image.fromarray(whole[top : top + side, left : left + side])
        parts.append(edgeworthy.Picture(name=str(number), source=part))
    return parts


def compare(name: str, scores: Callable[[Any], Any], inputs: list[Any], expected: Any) -> None:
    """Print how far the probabilities are from those of the CPU, and how long a picture takes."""
    found = np.concatenate([scores(values) for values in inputs])
    seconds = []
    for _ in range(TIMED):
        started = time.perf_counter()
        scores(inputs[0])
        seconds.append(time.perf_counter() - started)
    disagreeing = int((found.argmax(1) != expected.argmax(1)).sum())
    print(
        f"{name:48s} largest difference {np.abs(found - expected).max():.1e}, another best class on "
        f"{disagreeing} of {len(inputs)}, {1e3 * median(seconds):.2f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", choices=("cpu", "cuda", "openvino"), default="cuda")
    parser.add_argument("--sources", nargs="+", default=["timm:resnet50", "timm:vit_small_patch16_224"])
    parser.add_argument("--pictures", type=int, default=300)
    arguments = parser.parse_args()
    pictures = crops(arguments.pictures)
    with tempfile.TemporaryDirectory() as folder:
        for number, source in enumerate(arguments.sources):
            file = Path(folder) / f"{number}.onnx"
            edgeworthy.export(source, file, untrained=True, classes="imagenet-1k")
            model = FileModel(file)
            inputs = [model.values(framed(picture, model.frame()[0])) for picture in pictures]
            cpu = Session(file)
            expected = np.concatenate([cpu.scores(values) for values in inputs])
            chosen = Session(file, provider=arguments.provider)
            compare(f"{source}, {arguments.provider}", chosen.scores, inputs, expected)
            if arguments.provider == "cuda":
                compare(f"{source}, cuda with TF32", with_tf32(file), inputs, expected)


def with_tf32(file: Path) -> Callable[[Any], Any]:
    """Scores of a session on CUDA as ONNX Runtime makes it by itself."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(file), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    return lambda values: session.run(None, {session.get_inputs()[0].name: values})[0]


if __name__ == "__main__":
    main()
