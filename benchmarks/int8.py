"""8-bit files of `edgeworthy quantize` against those of ONNX Runtime's and NNCF's own recipes.

Each model is quantized with one half of its labelled pictures and judged by the other, both ways; accuracy,
agreement and divergence are over both halves. The contenders:

ours
    `edgeworthy.quantize` as it comes, its gate left open so that the figures are those of the plain recipe.
ort
    `onnxruntime.quantization.quantize_static` with its defaults: int8 activations, one scale a tensor.
ort-best
    The same with unsigned activations and a scale for each channel of the weights.
nncf
    `nncf.quantize` with its defaults, on all calibration pictures; where `--nncf` names a Python that has it.

The models: EfficientNet-Lite0, 1 and 2 and the CIFAR ResNet-20 as in fidelity.py, and torchvision's resnet18,
trained here on half of the flowers' photographs, from random weights: its accuracy is poor, and what counts
is what 8 bits change of it.

    python benchmarks/int8.py make --work DIR [--nncf PYTHON] [--models lite0 ...]
    python benchmarks/int8.py speed --work DIR        on an idle machine; writes benchmarks/performance.json
    python benchmarks/int8.py memory --work DIR       most memory, with 64 and with 500 pictures

`speed` lets the contenders take turns, one thread each: latency of one picture, and pictures a second with
a session on each core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DATA = ROOT.parent / "shared" / "data"
CONTENDERS = ("ours", "ort", "ort-best", "nncf")
MODELS = ("lite0", "lite1", "lite2", "resnet20", "resnet18")
EPOCHS = 12
ROUNDS, BLOCK_S = 7, 0.6


def make(args: argparse.Namespace) -> None:
    """Export, quantize both ways, and judge."""
    from edgeworthy.sources.torchvision_shim import mend_torchvision

    mend_torchvision()
    for name in args.models:
        folder = args.work / name
        folder.mkdir(parents=True, exist_ok=True)
        file, labelled = original(name, folder, args.data)
        pixels, truths, values = framed(file, labelled)
        rows = {}
        for contender in CONTENDERS:
            if contender == "nncf" and args.nncf is None:
                continue
            both = []
            for half in (0, 1):
                target = folder / f"{contender}-{half}.onnx"
                judged = slice(1 - half, None, 2)
                if not target.exists():
                    order = swapped(len(values)) if half else list(range(len(values)))
                    data = [labelled[at][0] for at in order], [values[at] for at in order]
                    quantized(contender, file, target, data, args.nncf)
                both.append((answers(file, pixels[judged]), answers(target, pixels[judged]), truths[judged]))
            rows[contender] = figures(both, file, folder / f"{contender}-0.onnx")
            print(name, contender, json.dumps(rows[contender]), flush=True)
        (folder / "accuracy.json").write_text(json.dumps(rows))


def swapped(count: int) -> list[int]:
    """Positions with each two in a row exchanged, so that the other half comes to calibrate."""
    return [at for pair in range(0, count - 1, 2) for at in (pair + 1, pair)]


def original(name: str, folder: Path, data: Path) -> tuple[Path, list[tuple[Path, int]]]:
    """The float32 file, and its labelled pictures."""
    from benchmarks import fidelity

    from edgeworthy import export

    file = folder / "float32.onnx"
    if name == "resnet18":
        classes = sorted(place.name for place in (data / "flowers").iterdir() if place.is_dir())
        labelled = [
            (path, at)
            for at, place in enumerate(classes)
            for path in sorted((data / "flowers" / place).iterdir())
        ]
        if not file.exists():
            checkpoint = trained(labelled[0::2], len(classes), folder)
            export("torchvision:resnet18", file, checkpoint=checkpoint, classes=classes)
        return file, labelled
    candidate = fidelity.MODELS[name](data, folder)
    if not file.exists():
        export(candidate.source, file, **candidate.options)
    found = sorted((data / candidate.folders[0]).iterdir())
    known = [(path, candidate.label(path)) for path in found]
    return file, [(path, label) for path, label in known if label is not None]


def trained(examples: Sequence[tuple[Path, int]], classes: int, folder: Path) -> Path:
    """A checkpoint of resnet18 from random weights."""
    import torch
    import torchvision
    from PIL import Image
    from torchvision import transforms

    torch.manual_seed(0)
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    steps = [transforms.RandomResizedCrop(224, scale=(0.4, 1)), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*steps, transforms.ToTensor(), normalize])
    pictures = [(Image.open(path).convert("RGB"), label) for path, label in examples]
    model = torchvision.models.resnet18(num_classes=classes)
    optimizer = torch.optim.SGD(model.parameters(), 0.03, momentum=0.9, weight_decay=1e-3)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 - epoch / EPOCHS)
        for batch in torch.randperm(len(pictures)).split(20):
            inputs = torch.stack([transform(pictures[at][0]) for at in batch.tolist()])
            labels = torch.tensor([pictures[at][1] for at in batch.tolist()])
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
    checkpoint = folder / "flowers.pth"
    torch.save(model.state_dict(), checkpoint)
    return checkpoint


def framed(file: Path, labelled: Sequence[tuple[Path, int]]) -> tuple[Any, Any, Any]:
    """Pixels, class ids, and what the input takes, of all pictures."""
    from edgeworthy.filemodel import FileModel
    from edgeworthy.images import frame_picture, open_picture

    model = FileModel(file)
    frame, _ = model.frame()
    pixels = [frame_picture(open_picture(path, frame.channel_order), frame) for path, _ in labelled]
    return pixels, np.array([label for _, label in labelled]), [model.values(one) for one in pixels]


def quantized(
    contender: str, file: Path, target: Path, data: tuple[Sequence[Path], Sequence[Any]], nncf: str | None
) -> None:
    """Make a contender's file; the data are paths, and what the input takes, every second one to judge by."""
    paths, values = data
    if contender == "ours":
        from edgeworthy import quantize

        quantize(
            file,
            target,
            calibration=paths[0::2],
            judge=_listed(target, paths[1::2]),
            min_agreement=0.0,
        )
    elif contender == "nncf":
        archive = target.with_suffix(".npy")
        np.save(archive, np.stack(values[0::2]))
        subprocess.run([str(nncf), __file__, "nncf", file, archive, target], check=True, capture_output=True)
        archive.unlink()
    else:
        _by_onnxruntime(file, target, values[0::2], best=contender == "ort-best")


def _listed(target: Path, paths: Sequence[Path]) -> str:
    listing = target.with_suffix(".txt")
    listing.write_text("\n".join(map(str, paths)))
    return f"@{listing}"


def _by_onnxruntime(file: Path, target: Path, values: Sequence[Any], *, best: bool) -> None:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    name = onnxruntime.InferenceSession(str(file)).get_inputs()[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(values)

        def get_next(self) -> dict[str, Any] | None:
            value = next(self._left, None)
            return None if value is None else {name: value}

    options = {"per_channel": True, "activation_type": QuantType.QUInt8} if best else {}
    quantize_static(file, target, Reader(), **options)


def by_nncf(args: argparse.Namespace) -> None:
    """In a Python that has NNCF."""
    import nncf
    import onnx

    model = onnx.load(args.file)
    values = np.load(args.archive)
    name = model.graph.input[0].name
    data = nncf.Dataset([{name: value} for value in values])
    onnx.save(nncf.quantize(model, data, subset_size=len(values)), args.target)


def answers(file: Path, pixels: Sequence[Any]) -> Any:
    """Probabilities, float32 [pictures, classes]."""
    from edgeworthy.filemodel import FileModel

    model = FileModel(file)
    return np.stack([model.probabilities(one) for one in pixels])


def figures(both: Sequence[tuple[Any, Any, Any]], file: Path, smaller: Path) -> dict[str, Any]:
    """Over both halves; agreement and loss with their 95 % intervals."""
    from edgeworthy.metrics import difference, proportion
    from edgeworthy.quantizing.bench import divergence

    before, after, truths = (np.concatenate([side[at] for side in both]) for at in range(3))
    was, now = before.argmax(1), after.argmax(1)
    same, lost = proportion(int((was == now).sum()), len(was)), difference(was == truths, now == truths)
    return {
        "pictures": len(was),
        "top1_before": round(float((was == truths).mean()), 4),
        "top1": round(float((now == truths).mean()), 4),
        "lost": [round(100 * value, 2) for value in (lost.value, lost.low, lost.high)],
        "agreement": [round(value, 4) for value in (same.value, same.low, same.high)],
        "divergence": round(divergence(before, after), 5),
        "size": round(smaller.stat().st_size / file.stat().st_size, 3),
    }


def speed(args: argparse.Namespace) -> None:
    """Latency and throughput, in turns; then all figures into performance.json."""
    from benchmarks.performance import record

    rows = []
    for name in args.models:
        folder = args.work / name
        accuracy = json.loads((folder / "accuracy.json").read_text())
        files = {"float32": folder / "float32.onnx"}
        files |= {contender: folder / f"{contender}-0.onnx" for contender in accuracy}
        latency, throughput = measured(files)
        for contender, figure in accuracy.items():
            row = {"model": name, "contender": contender} | figure
            row["quicker"] = round(latency["float32"] / latency[contender], 2)
            row["more"] = round(throughput[contender] / throughput["float32"], 2)
            row["float32_ms"] = round(1e3 * latency["float32"], 2)
            rows.append(row)
            print(json.dumps(row), flush=True)
    record("int8", rows)


def memory(args: argparse.Namespace) -> None:
    """The most that `edgeworthy quantize` holds, in GiB: docs/quantize.md."""
    from benchmarks.measuring import peak_bytes

    folder = args.data / "imagenet500" / "256"
    for name in args.models:
        words = ["quantize", str(args.work / name / "float32.onnx"), "-o", str(args.work / "memory.onnx")]
        words += ["--force", "--min-agreement", "0", "--calibration", str(folder)]
        words += ["--judge", str(args.data / "flowers" / "roses")]
        for pictures in (64, 500):
            command = [sys.executable, "-m", "edgeworthy", *words, "--pictures", str(pictures)]
            peak = peak_bytes(command, dict(os.environ))
            print(f"{name}, {pictures} pictures: {peak / 2**30:.2f} GiB", flush=True)


def measured(files: dict[str, Path]) -> tuple[dict[str, float], dict[str, float]]:
    """Median latency in seconds on one thread, and pictures a second on all cores."""
    from edgeworthy.machine import cores

    sessions = {name: [_session(file) for _ in range(cores())] for name, file in files.items()}
    latencies: dict[str, list[float]] = {name: [] for name in files}
    rates: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(ROUNDS + 1):
        names = list(files)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            alone = _block(sessions[name][:1])
            together = _block(sessions[name])
            if turn:  # the first one is a warm-up
                latencies[name].append(1 / alone)
                rates[name].append(together)
    return (
        {name: statistics.median(values) for name, values in latencies.items()},
        {name: statistics.median(values) for name, values in rates.items()},
    )


def _session(file: Path) -> Callable[[], Any]:
    from edgeworthy.filemodel import FileModel

    model = FileModel(file)
    channels, height, width = model.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    values = model.values(pixels)
    session = model._sessions.shared  # the inference alone
    return lambda: session.scores(values)


def _block(sessions: Sequence[Callable[[], Any]]) -> float:
    """Pictures a second of sessions side by side."""
    counts = [0] * len(sessions)
    end = time.perf_counter() + BLOCK_S

    def work(at: int) -> None:
        while time.perf_counter() < end:
            sessions[at]()
            counts[at] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (("make", make), ("speed", speed), ("memory", memory)):
        command = commands.add_parser(name)
        command.add_argument("--work", type=Path, required=True, help="a folder for the files")
        command.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
        command.add_argument("--data", type=Path, default=DATA)
        command.add_argument("--nncf", help="a Python that has NNCF")
        command.set_defaults(run=function)
    command = commands.add_parser("nncf")
    for name in ("file", "archive", "target"):
        command.add_argument(name)
    command.set_defaults(run=by_nncf)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
