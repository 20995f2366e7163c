"""Predictions as rows for machines: JSON lines, and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from edgeworthy.errors import OptionError
from edgeworthy.frames import Frame
from edgeworthy.plain import json_line
from edgeworthy.results import Prediction, Unreadable

Result = Prediction | Unreadable
Writer = Callable[[Result], None]

COLUMNS = ("path", "rank", "class_id", "class", "probability", "error")


def json_row(result: Result, frame: Frame, source: str) -> dict[str, Any]:
    """One picture for JSON: its scores with the frame they were got by, or the error."""
    if isinstance(result, Unreadable):
        return {"path": result.path, "error": result.message}
    return {"path": result.path, "frame": frame.mode, "frame_source": source, "scores": result.scores}


def writer_for(path: Path, stream: TextIO, frame: Frame, source: str) -> Writer:
    """What writes each result to the stream, in the format that the path's suffix names.

    CSV has a line for each class of a picture, best first, numbered from 1; one line with the error for a
    picture that cannot be read, and one without a class for a picture that has none above the threshold.

    Raises:
        OptionError: on another suffix.
    """
    refuse_suffix(path)
    if path.suffix.lower() == ".csv":
        return _csv_writer(stream)

    def write(result: Result) -> None:
        stream.write(json_line(json_row(result, frame, source)) + "\n")

    return write


def refuse_suffix(path: Path) -> None:
    """Stop before work is done for a file whose format is not known.

    Raises:
        OptionError: where the suffix names none.
    """
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise OptionError(
            f"{path} does not say its format: {path.suffix or 'no suffix'!r}.",
            hint="Name it results.jsonl or results.csv.",
        )


def _csv_writer(stream: TextIO) -> Writer:
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)

    def write(result: Result) -> None:
        if isinstance(result, Unreadable):
            rows.writerow((result.path, "", "", "", "", result.message))
            return
        if not result.scores:
            rows.writerow((result.path, "", "", "", "", ""))
        for rank, score in enumerate(result.scores, 1):
            rows.writerow((result.path, rank, score.class_id, score.name, f"{score.probability:.9g}", ""))

    return write
