"""`edgeworthy compare`: two files, or a file and the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeworthy.cli.shared import (
    TextsCommand,
    examples,
    json_option,
    names_weights,
    output_console,
    page_of,
    page_options,
    picture_progress,
    print_blocks,
    print_json,
    source_of,
    status_console,
    weights_options,
)
from edgeworthy.frames import MODES
from edgeworthy.results import Comparison

EXAMPLES = examples(
    "edgeworthy compare old.onnx new.onnx",
    "edgeworthy compare old.onnx new.onnx --data photos/ --locate -o report.html",
    "edgeworthy compare cats.onnx timm:resnet18 --checkpoint best.pth --locate",
    "edgeworthy compare cats.onnx best.safetensors --arch timm:resnet18",
)


@click.command(cls=TextsCommand, texts="--data", epilog=EXAMPLES)
@click.argument("first", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("second", metavar="OTHER")
@click.option(
    "--data", multiple=True, metavar="PICTURES...", help="Pictures as predict takes them; without labels."
)
@click.option(
    "--frame", type=click.Choice(MODES), help="How pictures meet both, in place of what each file says."
)
@click.option(
    "--tolerance",
    type=float,
    metavar="P",
    help="Allowed difference in probability, in place of the measured one.",
)
@click.option("--locate", "locating", is_flag=True, help="Look inside for the first node where they part.")
@click.option("--diff", is_flag=True, help="Show the difference of both graphs, line by line.")
@weights_options
@page_options
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Pictures at a time; 0 takes all cores.")
@json_option
def command(first: Path, second: str, as_json: bool, **options: Any) -> int:
    """Say whether two classifiers predict the same, what is different, and where they part.

    OTHER is another ONNX file, or a trained model as export takes it. Both are asked about the same probes,
    and with --data about pictures, each framed and normalised as its file says. Of two files the formats,
    operators, contracts and rule findings are compared, too.

    The exit code is 0 where they predict the same, 1 where they do not, where that cannot be told or a
    picture could not be read, and 2 where they cannot be compared.
    """
    from edgeworthy.comparison import compare

    with page_of(options, extra="evaluate", inputs=(first, second)) as write_page:
        with picture_progress() as (on_start, on_picture):
            comparison = compare(
                first,
                source_of(second, options) if names_weights(options) else second,
                data=options["data"],
                frame=options["frame"],
                tolerance=options["tolerance"],
                locating=options["locating"],
                diff=options["diff"],
                jobs=options["jobs"],
                on_start=on_start,
                on_picture=on_picture,
            )
        if write_page:
            from edgeworthy.report.page import comparison_page

            write_page(comparison_page(comparison))
    _show(comparison, as_json=as_json, diff=options["diff"])
    if options["output"]:
        status_console().print(f"{options['output']}: written", soft_wrap=True)
    unread = comparison.agreement is not None and comparison.agreement.unreadable
    return 0 if comparison.verdict == "same" and not unread else 1


def _show(comparison: Comparison, *, as_json: bool, diff: bool) -> None:
    from edgeworthy.report.comparison import render_comparison
    from edgeworthy.report.repair import render_difference

    if as_json:
        print_json(comparison)
        return
    print_blocks(render_comparison(comparison))
    if diff:
        output_console().print(render_difference(comparison.difference), soft_wrap=True)
