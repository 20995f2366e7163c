"""`edgeworthy repair`: make a classifier's ONNX file keep the contract."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from edgeworthy.cli.shared import (
    examples,
    json_option,
    normalization_options,
    output_console,
    print_json,
    status_console,
    unwinding_on_sigterm,
)
from edgeworthy.contract import MAX_OPSET, MIN_OPSET
from edgeworthy.errors import OptionError

UNSAFE = ("bgr", "softmax-twice", "unit-scale", "numbered-classes")  # repairer.UNSAFE, unloaded

EXAMPLES = examples(
    "edgeworthy repair theirs.onnx --classes labels.txt -o ours.onnx",
    "edgeworthy repair theirs.onnx --classes labels.txt --mean 0.5 --std 0.5 --diff",
    "edgeworthy repair keras.onnx --layout nchw --classes fake,real -o ours.onnx",
    "edgeworthy repair ours.onnx --opset 12 --in-place",
    "edgeworthy repair bgr.onnx --allow bgr --allow unit-scale -o rgb.onnx",
)


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "target", type=click.Path(path_type=Path), help="The ONNX file to write.")
@click.option("--in-place", is_flag=True, help="Replace FILE itself, in one step at the very end.")
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@click.option(
    "--classes", help="Class names: text, JSON or CSV file, folder of class folders, imagenet-1k, or a,b,c."
)
@click.option("--fix-names", is_flag=True, help="Repair names that the platform cannot carry.")
@normalization_options
@click.option("--input-size", nargs=3, type=int, metavar="C H W", help="Where the file leaves it open.")
@click.option(
    "--layout", type=click.Choice(["nchw", "nhwc"]), help="Order of the input's axes; kept if left out."
)
@click.option(
    "--activation",
    type=click.Choice(["softmax", "sigmoid", "none"]),
    help="What makes probabilities of the scores; found out if left out.",
)
@click.option("--opset", type=click.IntRange(MIN_OPSET, MAX_OPSET), help="Convert to this opset, up or down.")
@click.option("--output", metavar="NAME", help="Which of the graph's outputs holds the scores.")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(UNSAFE),
    help="Make an unsafe repair; may be given several times.",
)
@click.option("--strict", is_flag=True, help="Mend what only warnings speak of, too.")
@click.option("--diff", is_flag=True, help="Show what would change in the graph; write nothing.")
@click.option("--dry-run", is_flag=True, help="Do everything, the proof included, but write nothing.")
@json_option
def command(file: Path, as_json: bool, **options: Any) -> None:
    """Make a classifier's ONNX file keep the contract, and prove that it predicts what it predicted.

    Names, shapes, types, versions and opset are mended where that leaves predictions as they are; what the
    file does not say has to be told. Repairs that can change predictions are made only when --allow names
    them. A file that conforms is left as it is, byte for byte. FILE itself is not touched without --in-place.
    """
    from edgeworthy.repairer import repair
    from edgeworthy.report.repair import render_difference, render_repair

    target = _target(options)
    diff = options["diff"]
    with unwinding_on_sigterm(), _spinner():
        repaired = repair(file, target, **_arguments(options))
    if as_json:
        print_json(repaired)
    elif diff:
        output_console().print(render_difference(repaired.difference), soft_wrap=True)
        status_console().print(render_repair(repaired), soft_wrap=True)
    else:
        output_console().print(render_repair(repaired), soft_wrap=True)


def _spinner() -> AbstractContextManager[object]:
    console = status_console()
    return console.status("Repairing, and proving it") if sys.stderr.isatty() else nullcontext()


def _target(options: dict[str, Any]) -> Path | None:
    """Where to write; None for a trial."""
    output, in_place = options.pop("target"), options.pop("in_place")
    trial = options["diff"] or options["dry_run"]
    if output and in_place:
        raise OptionError("-o and --in-place exclude each other.")
    if not trial and not output and not in_place:
        raise OptionError(
            "Nothing says where the repaired file shall go.",
            hint="Give -o FILE or --in-place; --diff and --dry-run write nothing. (--output is an output of "
            "the graph.)",
        )
    options["in_place"] = in_place
    target: Path | None = output
    return target


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The options as `repair` takes them."""
    classes = options["classes"]
    if classes and "," in classes and not Path(classes).exists():
        options["classes"] = [name.strip() for name in classes.split(",")]
    options["dry_run"] = options["dry_run"] or options["diff"]
    options["scale"] = int(options["scale"]) if options["scale"] else None
    options["input_size"] = options["input_size"] or None
    return options
