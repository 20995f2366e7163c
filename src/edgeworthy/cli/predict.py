"""`edgeworthy predict`: classify pictures with an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeworthy.cli.shared import (
    examples,
    json_option,
    normalization_options,
    output_console,
    print_json_line,
    status_console,
)
from edgeworthy.contract import Normalization
from edgeworthy.errors import OptionError
from edgeworthy.frames import MODES
from edgeworthy.report.drawings import SHEET_HOLDS, Drawings
from edgeworthy.results import Prediction, Unreadable

if TYPE_CHECKING:
    from edgeworthy.predictor import Predictor

EXAMPLES = examples(
    "edgeworthy predict cats.onnx photo.jpg",
    "edgeworthy predict cats.onnx photos/ --top-k 3 --sheet sheet.png",
    "edgeworthy predict cats.onnx 'photos/*.jpg' --frame letterbox --json > scores.jsonl",
)

Result = Prediction | Unreadable


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES...")
@click.option(
    "-k", "--top-k", default=5, show_default=True, type=click.IntRange(min=1), help="Classes to show."
)
@click.option(
    "--frame", type=click.Choice(MODES), help="How pictures meet the input, in place of the default above."
)
@normalization_options
@click.option(
    "--annotate",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write pictures with the scores drawn in.",
)
@click.option(
    "--sheet",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Write a contact sheet of the first {SHEET_HOLDS} pictures.",
)
@click.option("--force", is_flag=True, help="Overwrite what --annotate and --sheet find.")
@click.option("--threads", default=0, type=click.IntRange(min=0), help="For one picture; 0 takes all cores.")
@json_option
def command(file: Path, pictures: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Classify pictures with an ONNX file alone: files, folders with their subfolders, patterns.

    A picture is framed as the file's evidence says, as in the training; where the file has none, it is
    letterboxed, as the platform does. The output says which. With --json, a line for each picture.

    A picture that cannot be read is reported, the others are done, and the exit code is 1.
    """
    from edgeworthy.images import list_pictures
    from edgeworthy.predictor import Predictor

    predictor = Predictor(
        file,
        frame=options["frame"],
        normalization=_normalization(options),
        top_k=options["top_k"],
        threads=options["threads"],
    )
    paths = list_pictures(pictures)
    drawings = Drawings(paths, folder=options["annotate"], sheet=options["sheet"], force=options["force"])
    show = _json_printer(predictor) if as_json else _text_printer(predictor)
    failed, odd = 0, False
    for result in _with_progress(predictor.predict(paths), len(paths)):
        show(result)
        drawings.add(result)
        failed += isinstance(result, Unreadable)
        odd = odd or not _are_probabilities(result)
    drawings.finish()
    if odd:
        note = f"note: these scores are no probabilities in 0..1; see: edgeworthy check {file}"
        status_console().print(note, style="yellow", soft_wrap=True)
    if failed and not as_json:
        status_console().print(f"{failed} of {len(paths)} pictures could not be read.", style="red")
    return 1 if failed else 0


def _are_probabilities(result: Result) -> bool:
    scores = () if isinstance(result, Unreadable) else result.scores
    return all(-1e-5 <= score.probability <= 1 + 1e-5 for score in scores)


def _normalization(options: dict[str, Any]) -> Normalization | None:
    mean, std, scale = options["mean"], options["std"], options["scale"]
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise OptionError("--mean and --std go together.", hint="Give both, one value a channel.")
    return Normalization.guess_scale(mean, std, int(scale) if scale else None)


def _json_printer(predictor: Predictor) -> Callable[[Result], None]:
    frame = {"frame": predictor.frame.mode, "frame_source": predictor.frame_source}

    def show(result: Result) -> None:
        if isinstance(result, Unreadable):
            print_json_line({"path": result.path, "error": result.message})
        else:
            print_json_line({"path": result.path, **frame, "scores": result.scores})

    return show


def _text_printer(predictor: Predictor) -> Callable[[Result], None]:
    from edgeworthy.report.predictions import render_prediction

    console = output_console()
    console.print(
        f"Frame: {predictor.frame.describe()} ({predictor.frame_source})", style="dim", soft_wrap=True
    )
    return lambda result: console.print(render_prediction(result), soft_wrap=True)


def _with_progress(results: Iterable[Result], total: int) -> Iterator[Result]:
    """The same results, with a bar on stderr where that is a terminal and stdout is not one, too."""
    if not status_console().is_terminal or output_console().is_terminal:
        yield from results
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), TimeRemainingColumn())
    with Progress(*columns, console=status_console(), transient=True) as progress:
        yield from progress.track(results, total=total)
