"""`edgeworthy export`: from a trained classifier to one proven file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeworthy.cli.shared import (
    TextsCommand,
    examples,
    json_option,
    normalization_options,
    output_console,
    print_json,
    refuse_inputs,
    status_console,
    unwinding_on_sigterm,
)
from edgeworthy.contract import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET
from edgeworthy.errors import OptionError

EXAMPLES = examples(
    "edgeworthy export timm:resnet18.a1_in1k -o resnet18.onnx",
    "edgeworthy export timm:resnet18 --checkpoint best.pth --classes classes.txt -o cats.onnx",
    "edgeworthy export torchvision:squeezenet1_0 --checkpoint maize.pth --classes maize.txt -o maize.onnx",
    "edgeworthy export hf:microsoft/resnet-18 -o resnet18.onnx",
    'edgeworthy export hf:openai/clip-vit-base-patch32 -o pets.onnx --prompts "a cat" "a dog"',
    "edgeworthy export best.safetensors --arch timm:resnet18 --classes classes.txt -o cats.onnx",
    "edgeworthy export model.py:build --classes data/train --input-size 3 224 224 \\",
    "      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 -o cats.onnx",
    "edgeworthy export timm:vit_tiny_patch16_224 --untrained --classes imagenet-1k -o road.onnx",
)


@click.command(cls=TextsCommand, texts="--prompts", epilog=EXAMPLES)
@click.argument("source")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The ONNX file to write."
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights: .pth, .pt or .safetensors.")
@click.option("--arch", help="For a file of weights: the source whose architecture they belong to.")
@click.option(
    "--prompts", multiple=True, metavar="TEXT...", help="For CLIP and the like: one text a class, or @FILE."
)
@click.option("--untrained", is_flag=True, help="Random weights from a fixed seed, to try the road.")
@click.option(
    "--trust-pickle", is_flag=True, help="Let a file run code when it is loaded. Only for your own."
)
@click.option(
    "--classes", help="Class names: text, JSON or CSV file, folder of class folders, or imagenet-1k."
)
@click.option("--fix-names", is_flag=True, help="Repair names that the platform cannot carry.")
@normalization_options
@click.option("--embed-normalization", is_flag=True, help="Normalise inside the graph.")
@click.option("--no-normalization", is_flag=True, help="Leave it to the platform's upload form.")
@click.option("--input-size", nargs=3, type=int, metavar="C H W", help="Channels, height, width.")
@click.option(
    "--layout", type=click.Choice(["nchw", "nhwc"]), default="nchw", help="Order of the input's axes."
)
@click.option(
    "--activation",
    type=click.Choice(["softmax", "sigmoid", "none"]),
    help="What the graph applies to the model's outputs; found out if left out.",
)
@click.option(
    "--opset",
    type=click.IntRange(MIN_OPSET, MAX_OPSET),
    default=DEFAULT_OPSET,
    show_default=True,
    help="Of the file; the default loads on every runtime of the platform.",
)
@click.option(
    "--exporter",
    type=click.Choice(["auto", "torchscript", "dynamo"]),
    default="auto",
    show_default=True,
    help="Which of torch's exporters traces the model; auto takes the first that can.",
)
@click.option("--no-simplify", is_flag=True, help="Leave the traced graph as it is.")
@click.option("--samples", type=click.Path(path_type=Path), help="A folder of pictures to prove the file on.")
@click.option("--atol", type=float, help="Allowed difference in probability, in place of the measured one.")
@click.option("--allow-traced-branch", is_flag=True, help="Bake in a branch that depends on the pixels.")
@json_option
def command(source: str, output: Path, as_json: bool, **options: Any) -> None:
    """Turn a trained classifier into one ONNX file, proven to predict the same.

    SOURCE is timm:NAME, torchvision:NAME[:WEIGHTS], hf:ORG/NAME, hf:FOLDER, a model file or folder
    (TorchScript, torch.export, weights with --arch), path/to/file.py:callable or package.module:callable.
    """
    from edgeworthy.exporter import export
    from edgeworthy.report.artefact import Ladder, render_artefact

    refuse_inputs([output], _read_by(source, options))
    ladder = Ladder(status_console())
    with unwinding_on_sigterm(), ladder:
        artefact = export(source, output, on_stage=ladder.add, **_arguments(options))
    if as_json:
        print_json(artefact)
    else:
        output_console().print(render_artefact(artefact))


def _read_by(source: str, options: dict[str, Any]) -> list[str]:
    """The files that the options name, and the one that the source may be or begin with."""
    named = (source, source.rpartition(":")[0], *map(options.get, ("checkpoint", "arch", "classes")))
    return [*(str(name) for name in named if name), *(options.get("prompts") or ())]


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The options as `export` takes them."""
    embed, upload = options.pop("embed_normalization"), options.pop("no_normalization")
    if embed and upload:
        raise OptionError("--embed-normalization and --no-normalization exclude each other.")
    options["normalization_in"] = "graph" if embed else "upload" if upload else "file"
    options["simplify"] = not options.pop("no_simplify")
    options["scale"] = int(options["scale"]) if options["scale"] else None
    options["input_size"] = options["input_size"] or None
    return options
