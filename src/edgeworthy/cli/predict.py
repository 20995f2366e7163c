"""`edgeworthy predict`: classify pictures with an ONNX file."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from edgeworthy.cli.progress import pictures_bar
from edgeworthy.cli.shared import (
    decoding_of,
    decoding_options,
    engine_options,
    examples,
    json_option,
    normalization_of,
    normalization_options,
    output_console,
    pool_option,
    print_json_line,
    provider_option,
    refuse_engine_options,
    refuse_inputs,
    status_console,
    unwinding_on_sigterm,
)
from edgeworthy.errors import OptionError
from edgeworthy.frames import MODES
from edgeworthy.model import draft
from edgeworthy.pictures import EVERY
from edgeworthy.report.drawings import SHEET_HOLDS, Drawings
from edgeworthy.report.tables import counted, printable
from edgeworthy.results import Prediction, Unreadable

if TYPE_CHECKING:
    from edgeworthy.pictures import Pictures
    from edgeworthy.predictor import Predictor
    from edgeworthy.report.runs import Output, Run

EXAMPLES = examples(
    "edgeworthy predict cats.onnx photo.jpg",
    "edgeworthy predict cats.onnx photos/ --top-k 3 --sheet sheet.png",
    "edgeworthy predict cats.onnx 'photos/*.jpg' --frame letterbox --json > scores.jsonl",
    "edgeworthy predict cats.onnx data/test-*.parquet --column image -o scores.csv",
    "edgeworthy predict cats.onnx garden.mp4 --every 10 --json",
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
    help="Write rows to FILE.jsonl or FILE.csv, or to a folder of parts FILE.parquet, in place of stdout.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where an earlier call with the same -o ended; begin if there is none.",
)
@click.option("--column", metavar="NAME", help="Of a Parquet file, with pictures as bytes, or their paths.")
@click.option(
    "--every",
    default=EVERY,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of a video, take one frame in so many.",
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
@click.option("--force", is_flag=True, help="Overwrite what -o, --annotate and --sheet find.")
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Pictures at a time; 0 takes all cores.")
@click.option(
    "--threads", default=0, type=click.IntRange(min=0), help="For one picture; 0 takes what --jobs leaves."
)
@pool_option
@provider_option
@engine_options
@decoding_options
@json_option
def command(file: Path, pictures: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Classify pictures with an ONNX file alone.

    PICTURES are files, folders with their subfolders, patterns, @FILE for a list of paths, one a line,
    or - for such a list on standard input; addresses such as s3://bucket/photos/ are opened by fsspec. A
    .parquet file that is named, listed or matched gives a picture for each row, from a column of bytes or of
    paths; a relative path is looked for in the working directory, then beside the file. A video that is
    named, listed or matched (.mp4, .mkv, .avi, .mov, .webm, .m4v, .ts, .mpg, .mpeg) gives one frame in 30, or
    in --every.

    A picture is framed as the file's evidence says, as in the training; where the file has none, it is
    letterboxed, as the platform does. The output says which. With --json, a line for each picture.

    A picture that cannot be read is reported, the others are done, and the exit code is 1.
    """
    from edgeworthy.pictures import list_pictures
    from edgeworthy.predictor import Predictor, at_a_time

    _refuse_mixtures(options | {"as_json": as_json})
    refuse_inputs((options["output"], options["sheet"]), (file, *pictures))
    found = list_pictures(pictures, column=options["column"], every=options["every"])
    settings = {
        "frame": options["frame"],
        "normalization": normalization_of(options),
        "top_k": None if options["scores"] == "all" else options["top_k"],
        "threshold": options["threshold"],
        "decoding": decoding_of(options),
        "provider": options["provider"],
    }
    jobs = options["jobs"] or (0 if found.total is None else at_a_time(found.total, options["threads"]))
    predictor = Predictor(file, **settings, jobs=jobs, threads=options["threads"], pool=options["pool"])
    if options["engine"] == "ray":
        return _on_cluster(file, predictor, found, settings, options)
    drawings = Drawings(found, folder=options["annotate"], sheet=options["sheet"], force=options["force"])
    failures, odd, done = Failures(), False, 0
    with _shown(file, predictor, found, as_json=as_json, **options) as output:
        before = output.before
        failures.add_earlier(before.unreadable)
        rest = () if before.finished else drawings.follow(found.since(before.pictures))
        left = None if found.total is None else found.total - before.pictures
        for result in _with_progress(predictor.predict(rest), left, to_file=bool(options["output"])):
            output.write(result)
            drawings.add(result)
            done += 1
            if isinstance(result, Unreadable):
                failures.add(result)
            odd = odd or not _are_probabilities(result)
    drawings.finish()
    if odd:
        note = f"note: these scores are no probabilities in 0..1; see: edgeworthy check {file}"
        status_console().print(note, style="yellow", soft_wrap=True)
    total = before.pictures + done
    if options["output"]:
        pictures_read = total - failures.total
        _say_what_was_written(options["output"], pictures_read, before, left=not before.finished)
    if failures.total and (options["output"] or not as_json):
        status_console().print(failures.summary(total), style="red", soft_wrap=True)
    return 1 if failures.total else 0


def _on_cluster(
    file: Path, predictor: Predictor, pictures: Pictures, settings: dict[str, Any], options: dict[str, Any]
) -> int:
    """The same rows, in parts that the workers write."""
    from edgeworthy.cluster import cluster
    from edgeworthy.distributed import predict_parts, total_of
    from edgeworthy.report.parts import shared_parts
    from edgeworthy.report.runs import facts_for

    output, total = options["output"], total_of(pictures)
    facts = facts_for(file, predictor.settings, pictures)
    resume, force = options["resume"], options["force"]
    with (
        unwinding_on_sigterm(),
        shared_parts(output, facts, total=total, resume=resume, force=force) as parts,
    ):
        before, failed = parts.before, parts.before.unreadable
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(pictures_bar()) if status_console().is_terminal else None
            task = bar.add_task("", total=total, completed=before.pictures) if bar else None
            if before.pictures < total:
                ready = stack.enter_context(cluster(options["address"], options["workers"]))
                spans = predict_parts(ready, file, pictures, folder=output, parts=parts, settings=settings)
                for span in spans:
                    failed += span.unreadable
                    if bar and task is not None:
                        bar.advance(task, span.end - span.first)
    _say_what_was_written(output, total - failed, before, left=before.pictures < total)
    if failed:
        told = f"{failed} of {total} pictures could not be read; their rows say why."
        status_console().print(told, style="red", soft_wrap=True)
    return 1 if failed else 0


def _say_what_was_written(output: Path, pictures: int, before: Run, *, left: bool) -> None:
    told = "" if left else ", all of them from before: nothing was left to do"
    told = told or (f", {before.pictures} of them from before" if before.pictures else "")
    status_console().print(f"{output}: {counted(pictures, 'picture')}{told}", soft_wrap=True)


def _refuse_mixtures(options: dict[str, Any]) -> None:
    """Stop before work is done for what cannot be."""
    from edgeworthy.report.rows import refuse_suffix

    output = options["output"]
    refuse_engine_options(options)
    if options["engine"] == "ray":
        if output is None or output.suffix.lower() != ".parquet":
            raise OptionError(
                "On a cluster, the workers write parts, and -o names no folder for them.",
                hint="Give -o scores.parquet, in a place that all of them see.",
            )
        for name in ("annotate", "sheet", "as_json", "jobs", "threads"):
            if options.get(name):
                raise OptionError(
                    f"--{name.removeprefix('as_')} and --engine ray exclude each other.",
                    hint="A worker is one process on one core, and writes rows alone.",
                )
    if output:
        refuse_suffix(output)
        if output.suffix.lower() == ".parquet":
            from edgeworthy.report.parts import refuse_missing

            refuse_missing()
    if not options["resume"]:
        return
    if not output:
        raise OptionError("--resume goes on with a file of rows.", hint="Name it with -o, say scores.csv.")
    if options["force"]:
        raise OptionError("--resume and --force exclude each other.", hint="Give --force to begin anew.")
    if options["annotate"] or options["sheet"]:
        raise OptionError(
            "--resume goes on with rows, not with drawings.", hint="Leave out --annotate and --sheet."
        )


class Failures:
    """How many pictures could not be read, and why; a few of the reasons, however many there are."""

    def __init__(self) -> None:
        self.total = self._earlier = 0
        self._reasons = Counter[str]()

    def add_earlier(self, count: int) -> None:
        """Count those of an earlier call."""
        self.total += count
        self._earlier += count

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
            at_least = "at least " if self._reasons.total() < self.total - self._earlier else ""
            told.append(f"{at_least}{len(self._reasons) - _REASONS} more reasons.")
        if self._earlier:
            told.append(f"{self._earlier} by then; their rows say why.")
        return "\n  ".join([f"{self.total} of {total} pictures could not be read:", *map(printable, told)])


@contextlib.contextmanager
def _shown(
    file: Path,
    predictor: Predictor,
    pictures: Pictures,
    *,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> Iterator[Output]:
    """What shows each result: on stdout, in a file that is there when all of them are, or part by part."""
    from edgeworthy.report.rows import json_row, writer_for
    from edgeworthy.report.runs import Output, facts_for

    frame = (predictor.frame, predictor.frame_source)
    resume, force, timed = options["resume"], options["force"], pictures.every is not None
    if output is None:
        as_text = None if as_json else _text_printer(predictor)
        yield Output(write=as_text or (lambda result: print_json_line(json_row(result, *frame))))
        return
    with unwinding_on_sigterm():
        if output.suffix.lower() == ".parquet":
            from edgeworthy.report.parts import parts

            facts = facts_for(file, predictor.settings, pictures)
            with (
                parts(output, facts, resume=resume, force=force, timed=timed) as folder,
                _continuable(output),
            ):
                yield folder
        elif resume:
            from edgeworthy.report.partial import resumable

            facts = facts_for(file, predictor.settings, pictures)

            def writer(stream: TextIO, begin: bool) -> Callable[[Result], None]:
                return writer_for(output, stream, *frame, begin=begin, timed=timed)

            with resumable(output, facts, writer) as rows, _continuable(output):
                yield rows
        else:
            from edgeworthy.report.partial import forget

            with draft(output, force=force) as whole:
                forget(output, force=force)
                with whole.text() as stream:
                    yield Output(write=writer_for(output, stream, *frame, timed=timed))
                whole.commit()


@contextlib.contextmanager
def _continuable(output: Path) -> Iterator[None]:
    """Says what becomes of the rows when somebody ends the program."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        status_console().print(f"{output}: --resume goes on from here", soft_wrap=True)
        raise


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


def _with_progress(results: Iterable[Result], total: int | None, *, to_file: bool) -> Iterator[Result]:
    """The same results, with a bar on stderr where that is a terminal and the results go elsewhere."""
    if not status_console().is_terminal or (output_console().is_terminal and not to_file):
        yield from results
        return
    with pictures_bar() as progress:
        yield from progress.track(results, total=total)
