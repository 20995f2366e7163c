"""Pictures a second of `edgeworthy.predict` against what people run otherwise, on the same weights.

Every contender works in a process of its own, on all cores, from picture files to probabilities; imports and
loading are not timed, and neither is a first pass over a few pictures; where all of them take a few seconds
only, they are gone over again. Contenders take turns in every round, in the opposite order in every second
one, the limit always beside ours; medians are shown. The contenders:

ours
    `edgeworthy.predict` on the exported file, with the frame that it carries and, as on the command line, the
    pool that it chooses while it works.
loop
    A plain loop over ONNX Runtime: timm's transform, a batch of one, ONNX Runtime's own choice of threads.
timm-onnx
    As timm's onnx_validate.py does it: timm's DataLoader with workers, one picture at a time to ONNX Runtime.
timm-eager
    As timm's validate.py does it: timm's DataLoader with workers, batches to the eager model.
pipeline
    Transformers' image-classification pipeline, which takes timm's models by its TimmWrapper.

The limit is computed, not run: cores divided by the processor seconds that a picture costs to decode, frame,
normalise and infer on one thread, measured in this run in a process that does nothing else.

    python benchmarks/throughput.py [--models tf_efficientnet_lite0 resnet18] [--rounds 5]

The pictures are those of `--data`, by default the 500 photographs of 256 px and their originals.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.performance import record  # noqa: E402

from edgeworthy import export, machine  # noqa: E402
from edgeworthy.filemodel import FileModel  # noqa: E402
from edgeworthy.images import framed  # noqa: E402
from edgeworthy.pictures import list_pictures  # noqa: E402
from edgeworthy.predictor import Predictor  # noqa: E402
from edgeworthy.sources.torchvision_shim import mend_torchvision  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "imagenet500"
CONTENDERS = ("ours", "loop", "timm-onnx", "timm-eager", "pipeline")
IN_TURN = ("limit", *CONTENDERS)
TARGET = 0.92  # of the limit
WARM = 8  # pictures
AT_LEAST_S = 20.0  # in a pass, or nearly: where the pictures take less, they are gone over again
BATCH = 32

Pass = Callable[[list[Path]], int]  # over some pictures; how many were classified


def ours(file: Path, name: str) -> Pass:
    predictor = Predictor(file, pool="auto")
    return lambda paths: sum(1 for _ in predictor.predict(paths))


def loop(file: Path, name: str) -> Pass:
    import onnxruntime as ort
    from PIL import Image

    transform, session = _transform(name), ort.InferenceSession(str(file))
    port = session.get_inputs()[0].name

    def once(paths: list[Path]) -> int:
        for path in paths:
            picture = transform(Image.open(path).convert("RGB")).unsqueeze(0).numpy()
            session.run(None, {port: picture})
        return len(paths)

    return once


def timm_onnx(file: Path, name: str) -> Pass:
    import onnxruntime as ort

    session = ort.InferenceSession(str(file))
    port = session.get_inputs()[0].name

    def once(paths: list[Path]) -> int:
        for batch in _batches(name, paths, 1):
            session.run(None, {port: batch.numpy()})
        return len(paths)

    return once


def timm_eager(file: Path, name: str) -> Pass:
    import torch

    model = _model(name)

    def once(paths: list[Path]) -> int:
        with torch.inference_mode():
            for batch in _batches(name, paths, BATCH):
                model(batch).softmax(1)
        return len(paths)

    return once


def pipeline(file: Path, name: str) -> Pass:
    mend_torchvision()
    import timm
    import transformers

    settings = timm.get_pretrained_cfg(name).to_dict()
    config = transformers.TimmWrapperConfig.from_dict(
        {"architecture": name, "num_classes": settings["num_classes"], "pretrained_cfg": settings}
    )
    classify: Any = transformers.pipeline(
        "image-classification",
        model=transformers.TimmWrapperForImageClassification(config).eval(),
        image_processor=transformers.TimmWrapperImageProcessor(settings, architecture=name),
    )
    return lambda paths: len(classify(list(map(str, paths))))


def limit(file: Path, name: str) -> Pass:
    """One thread that does what no contender can do without; its processor time gives the limit."""
    model = FileModel(file)
    frame, _ = model.frame()

    def once(paths: list[Path]) -> int:
        for path in paths:
            model.probabilities(framed(path, frame))
        return len(paths)

    return once


def _batches(name: str, paths: list[Path], size: int) -> Iterator[Any]:
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    transform = _transform(name)

    class Pictures(Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.open(paths[index]).convert("RGB"))

    yield from DataLoader(Pictures(), batch_size=size, num_workers=machine.cores())


def _transform(name: str) -> Any:
    mend_torchvision()
    import timm

    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return timm.data.create_transform(**config)


def _model(name: str) -> Any:
    mend_torchvision()
    import timm
    import torch

    torch.manual_seed(1)
    return timm.create_model(name).eval()


def one(contender: str, name: str, file: Path, pictures: Path) -> None:
    """Time one pass in this process, and say so as JSON."""
    paths = [Path(picture.name) for picture in list_pictures([pictures])]
    once = globals()[contender.replace("-", "_")](file, name)
    once(paths[:WARM])
    start = time.perf_counter()
    once(paths[:WARM])
    paths *= max(1, round(AT_LEAST_S * WARM / (time.perf_counter() - start) / len(paths)))
    wall, processor = time.perf_counter(), time.process_time()
    done = once(paths)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(json.dumps({"pictures": done, "wall": wall, "processor": processor}))


def measured(contender: str, name: str, file: Path, pictures: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "one", contender, name, str(file), str(pictures)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(name: str, file: Path, pictures: Path, rounds: int) -> dict[str, Any]:
    """Rates of all contenders on one folder, and the limit."""
    rates: dict[str, list[float]] = {contender: [] for contender in IN_TURN}
    for turn in range(rounds):
        for contender in IN_TURN[:: -1 if turn % 2 else 1]:
            found = measured(contender, name, file, pictures)
            seconds = found["processor"] / machine.cores() if contender == "limit" else found["wall"]
            rates[contender].append(found["pictures"] / seconds)
    medians = {contender: statistics.median(values) for contender, values in rates.items()}
    of_limit = [ours / most for ours, most in zip(rates["ours"], rates["limit"], strict=True)]
    return {
        "model": name,
        "pictures": pictures.name,
        **{contender: round(rate, 1) for contender, rate in medians.items()},
        "of_limit": round(medians["ours"] / medians["limit"], 3),
        "of_limit_rounds": [round(min(of_limit), 3), round(max(of_limit), 3)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "resnet18"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.models:
            file = Path(scratch) / f"{name}.onnx"
            export(f"timm:{name}", file, classes="imagenet-1k", untrained=True)
            for pictures in (options.data / "256", options.data / "original"):
                rows.append(compare(name, file, pictures, options.rounds))
                print(rows[-1], flush=True)
    print(f"pictures a second, medians of {options.rounds}; target: {TARGET} of the limit")
    print(f"{platform.machine()}, {machine.cores()} cores")
    record("throughput", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:4], *map(Path, sys.argv[4:]))  # type: ignore[call-arg]
    else:
        main()
