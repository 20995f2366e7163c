"""What `edgeworthy repair` makes of other exporters' files: a table of findings, repairs and differences.

The files are made here, from models with random but telling weights: torch's dynamo exporter at opset 18 and
20, its TorchScript exporter at 11 to 17 with a dynamic batch as optimum asks for, float16 by
onnxconverter-common, and a torch backbone with a scikit-learn head by skl2onnx, ZipMap included. Files of
tf2onnx, keras2onnx, CNTK and others are taken from a folder: --files DIR.

    pip install onnxscript skl2onnx onnxconverter-common
    python benchmarks/other_exporters.py [--models resnet18 …]
    python benchmarks/other_exporters.py --files DIR [--told TABLE.json] [--pictures DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeworthy import check, repair
from edgeworthy.errors import EdgeworthyError
from edgeworthy.sandbox import Sandbox
from edgeworthy.silence import native_output_to_nowhere, quiet
from edgeworthy.sources.torchvision_shim import mend_torchvision
from edgeworthy.sources.untrained import make_sensitive

CLASSES = 40
TOLD: dict[str, Any] = {
    "classes": [f"class {number}" for number in range(CLASSES)],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
SIZE = (3, 96, 96)

Product = tuple[str, Path, dict[str, Any]]


def model_of(name: str) -> Any:
    """A timm model with weights on which predictions depend."""
    mend_torchvision()
    import timm
    import torch

    torch.manual_seed(0)
    kwargs = {"img_size": SIZE[1]} if "vit" in name or "swin" in name else {}
    model = timm.create_model(name, num_classes=CLASSES, **kwargs).eval()
    make_sensitive(model, SIZE)
    return model


def from_torchscript(name: str, folder: Path) -> Iterator[Product]:
    """As people export who follow a tutorial: logits, `input`, `output`, a dynamic batch."""
    import torch

    model = model_of(name)
    axes = {"input": {0: "batch_size"}, "output": {0: "batch_size"}}
    for opset in (11, 12, 13, 14, 15, 16, 17):
        path = folder / f"{name}-torchscript-{opset}.onnx"
        names = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": axes}
        try:
            torch.onnx.export(
                model, (torch.zeros(1, *SIZE),), path, dynamo=False, opset_version=opset, **names
            )
        except Exception as error:
            print(f"{path.stem} is not exported: {type(error).__name__}", file=sys.stderr)
            continue
        yield f"{name}, TorchScript, opset {opset}, dynamic batch", path, TOLD


def from_dynamo(name: str, folder: Path) -> Iterator[Product]:
    """The default exporter of torch."""
    import torch

    model = model_of(name)
    for opset in (18, 20):
        path = folder / f"{name}-dynamo-{opset}.onnx"
        torch.onnx.export(
            model, (torch.zeros(1, *SIZE),), path, dynamo=True, opset_version=opset, external_data=opset == 18
        )
        where = ", external data" if opset == 18 else ""
        yield f"{name}, dynamo, opset {opset}{where}", path, TOLD


def in_half_precision(name: str, folder: Path) -> Iterator[Product]:
    """onnxconverter-common's float16, inputs and outputs included."""
    import onnx
    from onnxconverter_common import float16

    source = folder / f"{name}-torchscript-16.onnx"
    path = folder / f"{name}-float16.onnx"
    onnx.save(float16.convert_float_to_float16(onnx.load(source)), path)
    yield f"{name}, float16 by onnxconverter-common", path, TOLD


def from_sklearn(name: str, folder: Path) -> Iterator[Product]:
    """A backbone with a logistic regression behind it, whose ZipMap names the classes."""
    import numpy as np
    import onnx
    import torch
    from onnx import compose
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    model = model_of(name)
    model.reset_classifier(0)
    pictures = torch.randn(60, *SIZE, generator=torch.Generator().manual_seed(1))
    pictures[::3] *= 2
    pictures[1::3] += 1
    with torch.no_grad():
        features = model(pictures).numpy()
    labels = np.array(["cat", "dog", "horse"] * 20)
    scale = 4 / np.abs(features).mean() / features.shape[1] ** 0.5
    head = LogisticRegression(C=scale, max_iter=300).fit(features, labels)
    backbone = folder / "backbone.onnx"
    torch.onnx.export(
        model, (torch.zeros(1, *SIZE),), backbone, dynamo=False, opset_version=15,
        input_names=["input"], output_names=["features"],
    )  # fmt: skip
    second = to_onnx(head, features[:1], target_opset={"": 15, "ai.onnx.ml": 3})
    first = onnx.load(backbone)
    first.ir_version = second.ir_version
    joined = compose.merge_models(first, second, io_map=[("features", second.graph.input[0].name)])
    path = folder / f"{name}-sklearn.onnx"
    onnx.save(joined, path)
    yield f"{name} and scikit-learn, ZipMap, by skl2onnx", path, {k: TOLD[k] for k in ("mean", "std")}


def from_folder(folder: Path, told: Path | None) -> Iterator[Product]:
    """Files that are there, with what the user knows of them: {file name: wishes}."""
    known = json.loads(told.read_text("utf-8")) if told else {}
    for path in sorted(folder.glob("*.onnx")):
        yield path.name, path, known.get(path.name, {})


def agreement(original: Path, repaired: Path, pictures: list[Path]) -> str:
    """On how many pictures of the input's own size both files choose the same class."""
    from edgeworthy.images import normalise, open_picture
    from edgeworthy.runtime import Session, facts_of

    before, after = Session(original), Session(repaired)
    facts = facts_of(after)
    order: Any = "L" if facts.channels == 1 else "RGB"
    images = [open_picture(path, order) for path in pictures]
    fitting = [np.asarray(image) for image in images if image.size == (facts.width_px, facts.height_px)]
    same = 0
    for pixels in fitting:
        picture = normalise(
            pixels.reshape(facts.height_px, facts.width_px, -1), facts.normalization, facts.layout
        )
        raw = before.run({before.inputs[0].name: picture}, [before.outputs[0].name])[0]
        same += int(np.argmax(raw) == np.argmax(after.scores(picture)))
    return f"; same class on {same} of {len(fitting)} pictures" if fitting else ""


def row(product: Product, folder: Path, sandbox: Sandbox, pictures: list[Path]) -> str:
    """One line of the table."""
    label, path, told = product
    before = check(path)
    found = " ".join(sorted(finding.code for finding in before.findings))
    try:
        result = repair(path, folder / "repaired.onnx", force=True, sandbox=sandbox, **told)
    except EdgeworthyError as error:
        return f"| {label} | {found} | refused: {error.message} | | |"
    done = ", ".join(dict.fromkeys(change.repair for change in result.changes))
    left = " ".join(finding.code for finding in result.after.findings) or "nothing"
    assert result.parity is not None
    agrees = agreement(path, folder / "repaired.onnx", pictures)
    return (
        f"| {label} | {found} | {done} | {left} | {result.parity.max_abs_diff:.1e} of "
        f"{result.parity.tolerance:.1e}{agrees} |"
    )


def products(arguments: argparse.Namespace, folder: Path) -> Iterator[Product]:
    """All files, made when their turn comes."""
    if arguments.files:
        yield from from_folder(arguments.files, arguments.told)
        return
    for name in arguments.models:
        for maker in (from_torchscript, from_dynamo, in_half_precision, from_sklearn):
            with quiet(), native_output_to_nowhere(), warnings.catch_warnings():
                made = list(maker(name, folder))
            yield from made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"]
    )
    parser.add_argument("--files", type=Path, help="take the .onnx files of this folder instead")
    parser.add_argument("--told", type=Path, help="JSON: what repair is told of each of them")
    parser.add_argument(
        "--pictures", type=Path, help="compare the best class on these, where their size fits"
    )
    arguments = parser.parse_args()
    pictures = sorted(arguments.pictures.glob("*.png")) if arguments.pictures else []
    print("| file | found | mended by | left | largest difference |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, Sandbox() as sandbox:
        for product in products(arguments, Path(scratch)):
            print(row(product, Path(scratch), sandbox, pictures), flush=True)


if __name__ == "__main__":
    main()
