"""`edgeworthy predict`: classify pictures with an ONNX file."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeworthy.cli.shared import (
    decoding_of,
    decoding_options,
    examples,
    json_option,
    normalization_of,
    normalization_options,
    output_console,
    print_json_line,
    status_console,
    unwinding_on_sigterm,
)
from edgeworthy.frames import MODES
from edgeworthy.model import draft
from edgeworthy.report.drawings import SHEET_HOLDS, Drawings
from edgeworthy.report.tables import printable
from edgeworthy.results import Prediction, Unreadable

if TYPE_CHECKING:
    from edgeworthy.predictor import Predictor

EXAMPLES = examples(
    "edgeworthy predict cats.onnx photo.jpg",
    "edgeworthy predict cats.onnx photos/ --top-k 3 --sheet sheet.png",
    "edgeworthy predict cats.onnx 'photos/*.jpg' --frame letterbox --json > scores.jsonl",
    "edgeworthy predict cats.onnx data/test-*.parquet --column image -o scores.csv",
    "find /archive -name '*.jpg' | edgeworthy predict cats.onnx - -o scores.csv --threshold 0.5",
)

_REASONS = 5
_REASONS_KEPT = 1000

Result = Prediction | Unreadable


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES...")
@click.option(
    "-k", "--top-k", default=5, show_default=True, type=click.IntRange(min=1), help="Classes to show."
)
@click.option(
    "--scores", default="top", show_default=True, type=click.Choice(["top", "all"]), help="Of which classes."
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Leave out classes with a smaller probability."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write rows to FILE.jsonl or FILE.csv, in place of stdout.",
)
@click.option("--column", metavar="NAME", help="Of a Parquet file, with pictures as bytes, or their paths.")
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
@click.option("--force", is_flag=True, help="Overwrite what -o, --annotate and --sheet find.")
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Pictures at a time; 0 takes all cores.")
@click.option(
    "--threads", default=0, type=click.IntRange(min=0), help="For one picture; 0 takes what --jobs leaves."
)
@decoding_options
@json_option
def command(file: Path, pictures: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Classify pictures with an ONNX file alone.

    PICTURES are files, folders with their subfolders, patterns, @FILE for a list of paths, one a line,
    or - for such a list on standard input. A .parquet file that is named, listed or matched gives a picture
    for each row, from a column of bytes or of paths; a relative path is looked for in the working directory,
    then beside the file.

    A picture is framed as the file's evidence says, as in the training; where the file has none, it is
    letterboxed, as the platform does. The output says which. With --json, a line for each picture.

    A picture that cannot be read is reported, the others are done, and the exit code is 1.
    """
    from edgeworthy.pictures import list_pictures
    from edgeworthy.predictor import Predictor, at_a_time
    from edgeworthy.report.rows import refuse_suffix

    if options["output"]:
        refuse_suffix(options["output"])
    found = list_pictures(pictures, column=options["column"])
    predictor = Predictor(
        file,
        frame=options["frame"],
        normalization=normalization_of(options),
        top_k=None if options["scores"] == "all" else options["top_k"],
        threshold=options["threshold"],
        jobs=options["jobs"] or at_a_time(found.total, options["threads"]),
        threads=options["threads"],
        decoding=decoding_of(options),
    )
    drawings = Drawings(found, folder=options["annotate"], sheet=options["sheet"], force=options["force"])
    failures, odd = Failures(), False
    with _shown(predictor, options["output"], as_json=as_json, force=options["force"]) as show:
        results = predictor.predict(drawings.follow(found))
        for result in _with_progress(results, found.total, to_file=bool(options["output"])):
            show(result)
            drawings.add(result)
            if isinstance(result, Unreadable):
                failures.add(result)
            odd = odd or not _are_probabilities(result)
    drawings.finish()
    if odd:
        note = f"note: these scores are no probabilities in 0..1; see: edgeworthy check {file}"
        status_console().print(note, style="yellow", soft_wrap=True)
    if options["output"]:
        read = found.total - failures.total
        status_console().print(f"{options['output']}: {read} pictures", soft_wrap=True)
    if failures.total and (options["output"] or not as_json):
        status_console().print(failures.summary(found.total), style="red", soft_wrap=True)
    return 1 if failures.total else 0


class Failures:
    """How many pictures could not be read, and why; a few of the reasons, however many there are."""

    def __init__(self) -> None:
        self.total = 0
        self._reasons = Counter[str]()

    def add(self, result: Unreadable) -> None:
        """Count one."""
        self.total += 1
        reason = result.message.removeprefix(result.path).strip()
        if reason in self._reasons or len(self._reasons) < _REASONS_KEPT:
            self._reasons[reason] += 1

    def summary(self, total: int) -> str:
        """How many of the pictures failed, and for which reasons, most frequent first."""
        told = [f"{count} {reason}" for reason, count in self._reasons.most_common(_REASONS)]
        if len(self._reasons) > _REASONS:
            at_least = "at least " if self._reasons.total() < self.total else ""
            told.append(f"{at_least}{len(self._reasons) - _REASONS} more reasons.")
        return "\n  ".join([f"{self.total} of {total} pictures could not be read:", *map(printable, told)])


@contextlib.contextmanager
def _shown(
    predictor: Predictor, output: Path | None, *, as_json: bool, force: bool
) -> Iterator[Callable[[Result], None]]:
    """What shows each result: on stdout, or in a file that is there when all of them are."""
    from edgeworthy.report.rows import json_row, writer_for

    frame = (predictor.frame, predictor.frame_source)
    if output is None:
        yield (
            (lambda result: print_json_line(json_row(result, *frame)))
            if as_json
            else _text_printer(predictor)
        )
        return
    with unwinding_on_sigterm(), draft(output, force=force) as file:
        with file.text() as stream:
            yield writer_for(output, stream, *frame)
        file.commit()


def _are_probabilities(result: Result) -> bool:
    scores = () if isinstance(result, Unreadable) else result.scores
    return all(-1e-5 <= score.probability <= 1 + 1e-5 for score in scores)


def _text_printer(predictor: Predictor) -> Callable[[Result], None]:
    from edgeworthy.report.predictions import render_prediction

    console = output_console()
    console.print(
        f"Frame: {predictor.frame.describe()} ({predictor.frame_source})", style="dim", soft_wrap=True
    )
    return lambda result: console.print(render_prediction(result), soft_wrap=True)


def _with_progress(results: Iterable[Result], total: int, *, to_file: bool) -> Iterator[Result]:
    """The same results, with a bar on stderr where that is a terminal and the results go elsewhere."""
    if not status_console().is_terminal or (output_console().is_terminal and not to_file):
        yield from results
        return
    from edgeworthy.cli.progress import pictures_bar

    with pictures_bar() as progress:
        yield from progress.track(results, total=total)
