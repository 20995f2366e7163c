"""`edgeworthy evaluate`: how good ONNX files are on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeworthy.cli.shared import (
    TextsCommand,
    decoding_of,
    decoding_options,
    engine_options,
    examples,
    json_option,
    normalization_of,
    normalization_options,
    page_of,
    page_options,
    picture_progress,
    pool_option,
    print_blocks,
    print_json,
    provider_option,
    refuse_engine_options,
    status_console,
    trained_of,
    trained_options,
)
from edgeworthy.errors import OptionError
from edgeworthy.frames import MODES
from edgeworthy.results import Evaluation

EXAMPLES = examples(
    "edgeworthy evaluate cats.onnx --data validation/",
    "edgeworthy evaluate cats.onnx --data labels.csv --frame crop letterbox stretch -o report.html",
    "edgeworthy evaluate old.onnx new.onnx --data validation/ --frame letterbox --min-top1 0.9",
    "edgeworthy evaluate cats.onnx --data validation/ --against timm:resnet18 --checkpoint best.pth",
)


@click.command(cls=TextsCommand, texts="--frame", epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="FILES...", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    metavar="PLACE",
    help="Class folders, or a CSV, TSV or Parquet file of path and label.",
)
@click.option(
    "--frame",
    "frames",
    multiple=True,
    type=click.Choice(MODES),
    metavar="MODE...",
    help="crop, letterbox, stretch, or several; the file's own and letterbox if left out.",
)
@click.option("--path-column", metavar="NAME", help="The table's column of paths, if not told by its name.")
@click.option("--label-column", metavar="NAME", help="The table's column of labels, if not told by its name.")
@normalization_options
@trained_options("--against", "Run this trained model, too, and show where it disagrees.")
@click.option(
    "--min-top1",
    type=float,
    metavar="SHARE",
    help="Exit with 1 where a file's top-1 is lower in any frame; 0..1.",
)
@page_options
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Pictures at a time; 0 takes all cores.")
@pool_option
@provider_option
@engine_options
@decoding_options
@json_option
def command(files: tuple[Path, ...], data: str, as_json: bool, **options: Any) -> int:
    """Measure ONNX files on labelled pictures, as the platform will see them.

    Shows top-1 and top-5 accuracy, precision, recall, F1, log loss and calibration error with their
    intervals, for each file in each frame; which frame to choose; the worst classes and surest mistakes.

    A label is a class name, a class id from 0, or an ImageNet synset. The platform letterboxes pictures
    unless it is told otherwise, where training pipelines crop: the difference shows before you deploy.

    The exit code is 1 where pictures could not be read, or where --min-top1 is given and is missed, or not
    all pictures have a label that a class stands for.
    """
    from edgeworthy.evaluation import evaluate

    refuse_engine_options(options)
    least = options["min_top1"]
    if least is not None and not 0 <= least <= 1:
        hint = f"Did you mean {least / 100:g}?" if 1 < least <= 100 else ""
        raise OptionError(f"--min-top1 {least:g} is no share in 0..1.", hint=hint)
    with page_of(options, extra="evaluate", inputs=(*files, data)) as write_page:
        with picture_progress() as (on_start, on_picture):
            evaluation = evaluate(
                files,
                data,
                frames=options["frames"],
                normalization=normalization_of(options),
                against=trained_of(options, "--against"),
                path_column=options["path_column"],
                label_column=options["label_column"],
                jobs=options["jobs"],
                decoding=decoding_of(options),
                provider=options["provider"],
                engine=options["engine"],
                address=options["address"],
                workers=options["workers"],
                pool=options["pool"],
                on_start=on_start,
                on_picture=on_picture,
            )
        if write_page:
            from edgeworthy.report.page import evaluation_page

            write_page(evaluation_page(evaluation, column=options["path_column"]))
    _show(evaluation, as_json=as_json)
    if options["output"]:
        status_console().print(f"{options['output']}: written", soft_wrap=True)
    return _verdict(evaluation, least)


def _show(evaluation: Evaluation, *, as_json: bool) -> None:
    from edgeworthy.report.evaluation import render_evaluation

    if as_json:
        print_json(evaluation)
    else:
        print_blocks(render_evaluation(evaluation))


def _verdict(evaluation: Evaluation, least: float | None) -> int:
    missed = [run for run in evaluation.runs if least is not None and run.figures.top1.value < least]
    for run in missed:
        status_console().print(
            f"{run.file}, {run.frame.mode}: top-1 {run.figures.top1.value:.4f} is below {least:g}.",
            style="red",
            soft_wrap=True,
        )
    unmeasured = sum(evaluation.unknown.values()) if least is not None else 0
    if unmeasured:
        status_console().print(
            f"--min-top1 cannot be shown: {unmeasured} pictures have a label that no class stands for.",
            style="red",
            soft_wrap=True,
        )
    return 1 if missed or unmeasured or evaluation.unreadable else 0
