"""`edgeworthy quantize`: a smaller and quicker file, judged by pictures before it is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeworthy.cli.shared import (
    TextsCommand,
    decoding_of,
    decoding_options,
    examples,
    json_option,
    normalization_of,
    normalization_options,
    print_blocks,
    print_json,
    status_console,
    unwinding_on_sigterm,
)
from edgeworthy.errors import AccuracyError
from edgeworthy.frames import MODES
from edgeworthy.results import Precision, Quantized, RangeMethod

if TYPE_CHECKING:
    from edgeworthy.quantizing.road import Progress

EXAMPLES = examples(
    "edgeworthy quantize cats.onnx -o cats-int8.onnx --calibration photos/",
    "edgeworthy quantize cats.onnx -o cats-int8.onnx --calibration photos/ --judge labels.csv --max-drop 1",
    "edgeworthy quantize cats.onnx -o cats-int8.onnx --calibration photos/ --reduce-range",
    "edgeworthy quantize cats.onnx -o cats-fp16.onnx --calibration photos/ --precision float16",
)

# options that `quantize` takes by the same name
_TAKEN = ["judge", "max_drop", "min_agreement", "precision", "ranges", "activations", "reduce_range", "keep"]
_TAKEN += ["pictures", "frame", "path_column", "label_column", "jobs", "force"]


@click.command(cls=TextsCommand, texts=("--calibration", "--keep-float"), epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write.",
)
@click.option(
    "--calibration",
    "calibration",
    multiple=True,
    required=True,
    metavar="PLACE...",
    help="Pictures like the camera's: folders, files, patterns, @LIST, or a table; 100 or more.",
)
@click.option(
    "--judge",
    metavar="PLACE",
    help="Other pictures, that the file is judged by: class folders, a table of path and label, or any. If "
    "left out, every second picture of --calibration is kept for it.",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Points of top-1 that may be lost; 0.5 if left out, where there are labels.",
)
@click.option(
    "--min-agreement",
    type=float,
    metavar="SHARE",
    help="Share of the pictures whose best class has to stay, 0..1; 0.97 if left out, without labels.",
)
@click.option(
    "--precision",
    default="int8",
    show_default=True,
    type=click.Choice(get_args(Precision)),
    help="8-bit integers, or half precision; input and output stay float32.",
)
@click.option(
    "--ranges",
    default="mse",
    show_default=True,
    type=click.Choice(get_args(RangeMethod)),
    help="How the bounds of 8-bit values are chosen at first.",
)
@click.option(
    "--activations",
    default="uint8",
    show_default=True,
    type=click.Choice(["uint8", "int8"]),
    help="Unsigned with a zero point; or signed and symmetric, as GPUs and some accelerators need it.",
)
@click.option(
    "--reduce-range", is_flag=True, help="Weights of 7 bits, for x86 processors without VNNI (before 2019)."
)
@click.option(
    "--keep-float", "keep", multiple=True, metavar="NODE...", help="Layers that stay in float32, by name."
)
@click.option(
    "--pictures",
    default=512,
    show_default=True,
    type=click.IntRange(min=1),
    help="Pictures to calibrate with, at most.",
)
@click.option("--frame", type=click.Choice(MODES), help="How pictures meet the input; as the file says.")
@click.option("--path-column", metavar="NAME", help="A table's column of paths, if not told by its name.")
@click.option("--label-column", metavar="NAME", help="A table's column of labels, if not told by its name.")
@normalization_options
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Pictures at a time; 0 takes all cores.")
@decoding_options
@click.option("--force", is_flag=True, help="Overwrite what -o finds.")
@json_option
def command(file: Path, output: Path, as_json: bool, **options: Any) -> int:
    """Make a classifier's file smaller and quicker, and write it only if it keeps its accuracy.

    Weights and activations become 8-bit integers, calibrated with your pictures. The file is then judged by
    other pictures: with labels, by what it loses of top-1; without, by how often its best class is that of
    the original. Where the plain recipe misses the gate, biases are corrected, layers equalised, other
    ranges tried, and the layers to blame left in float32, in that order; each step is shown.

    The exit code is 1 where nothing holds the gate: no file is written then, and the layers are listed by
    what they cost.
    """
    from edgeworthy.quantization import quantize

    try:
        with unwinding_on_sigterm(), _progress() as progress:
            found = quantize(
                file,
                output,
                calibration=list(options["calibration"]),
                normalization=normalization_of(options),
                decoding=decoding_of(options),
                progress=progress,
                **{name: options[name] for name in _TAKEN},
            )
    except AccuracyError as error:
        if isinstance(error.outcome, Quantized):
            _show(error.outcome, as_json=as_json)
        raise
    _show(found, as_json=as_json)
    return 0


def _show(found: Quantized, *, as_json: bool) -> None:
    from edgeworthy.report.quantization import render_quantized

    if as_json:
        print_json(found)
    else:
        print_blocks(render_quantized(found))


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar for each stage, where stderr is a terminal."""
    if not status_console().is_terminal:
        yield None
        return
    from edgeworthy.cli.progress import stages_bar
    from edgeworthy.quantizing.road import Progress

    with stages_bar() as bar:
        task = bar.add_task("", total=None)
        yield Progress(
            on_start=lambda what, total: bar.reset(task, description=what, total=total),
            on_step=lambda: bar.advance(task),
        )
