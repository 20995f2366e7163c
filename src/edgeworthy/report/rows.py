"""Predictions as rows for machines: JSON lines, and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from edgeworthy.errors import OptionError
from edgeworthy.frames import Frame
from edgeworthy.plain import json_line
from edgeworthy.results import Prediction, Unreadable

Result = Prediction | Unreadable
Writer = Callable[[Result], None]
Row = tuple[int | None, int | None, str | None, float | None, str | None]

COLUMNS = ("path", "rank", "class_id", "class", "probability", "error")


def json_row(result: Result, frame: Frame, source: str) -> dict[str, Any]:
    """One picture for JSON: its scores with the frame they were got by, or the error."""
    if isinstance(result, Unreadable):
        return {"path": result.path, "error": result.message}
    time = {} if result.time_s is None else {"time_s": result.time_s}
    return {"path": result.path, **time, "frame": frame.mode, "frame_source": source, "scores": result.scores}


def writer_for(
    path: Path, stream: TextIO, frame: Frame, source: str, *, begin: bool = True, timed: bool = False
) -> Writer:
    """What writes each result to the stream, in the format of text that the path's suffix names.

    CSV has a line for each class of a picture, best first, numbered from 1; one line with the error for a
    picture that cannot be read, and one without a class for a picture that has none above the threshold.
    Its first line is written where the stream begins. Where there are videos, a column has the frames' times.
    """
    if path.suffix.lower() == ".csv":
        return _csv_writer(stream, begin=begin, timed=timed)

    def write(result: Result) -> None:
        stream.write(json_line(json_row(result, frame, source)) + "\n")

    return write


def refuse_suffix(path: Path) -> None:
    """Stop before work is done for a file whose format is not known.

    Raises:
        OptionError: where the suffix names none.
    """
    if path.suffix.lower() not in {".csv", ".jsonl", ".parquet"}:
        raise OptionError(
            f"{path} does not say its format: {path.suffix or 'no suffix'!r}.",
            hint="Name it results.jsonl or results.csv, or results.parquet for a folder of Parquet files.",
        )


def long_rows(result: Result) -> Iterator[Row]:
    """(rank, class id, class, probability, error): a row for each class, or one that has none."""
    if isinstance(result, Unreadable):
        yield None, None, None, None, result.message
    elif not result.scores:
        yield None, None, None, None, None
    else:
        for rank, score in enumerate(result.scores, 1):
            yield rank, score.class_id, score.name, score.probability, None


def time_of(result: Result) -> float | None:
    """Of a frame, in seconds since the beginning of its video."""
    return None if isinstance(result, Unreadable) else result.time_s


def _csv_writer(stream: TextIO, *, begin: bool, timed: bool) -> Writer:
    rows = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)  # for what else ends a line
    if begin:
        rows.writerow((COLUMNS[0], "time_s", *COLUMNS[1:]) if timed else COLUMNS)

    def write(result: Result) -> None:
        for rank, class_id, name, probability, error in long_rows(result):
            told = None if probability is None else f"{probability:.9g}"
            time = (time_of(result),) if timed else ()
            row = (result.path, *time, rank, class_id, name, told, error)
            odd = any(isinstance(cell, str) and "\r" in cell for cell in row)
            (quoted if odd else rows).writerow(row)

    return write
