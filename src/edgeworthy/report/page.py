"""Results as HTML pages that need no network: pictures and drawings are inside."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeworthy.errors import EdgeworthyError
from edgeworthy.images import open_picture
from edgeworthy.pictures.parquet import pictures_of
from edgeworthy.report.comparison import facts, only, parting_lines
from edgeworthy.report.evaluation import HEADINGS, figures_of, headline, remarks, short_name, worst_classes
from edgeworthy.report.tables import printable
from edgeworthy.report.templates import template
from edgeworthy.results import Comparison, Confusion, Evaluation, Run

_TILE_PX = 168
_CLASSES = 24  # in the matrix; of more, those that are taken for each other most often
_WORST = 12
_SHOWN = 24  # pictures in each gallery
_PICTURED = 1000  # disagreements that are shown with their picture


class Cell(NamedTuple):
    """One field of the matrix: share of the row in 0..1."""

    truth: str
    predicted: str
    pictures: int
    share: float


def evaluation_page(evaluation: Evaluation, *, column: str | None = None) -> str:
    """The page's HTML.

    Args:
        evaluation: what it shows.
        column: of Parquet files that hold the pictures, where it is none of the usual ones.

    Raises:
        MissingExtraError: without Jinja2.
    """
    thumbnails = _Thumbnails(column)
    return template("evaluation.html", extra="evaluate").render(
        evaluation=evaluation,
        headline=headline(evaluation),
        headings=HEADINGS,
        runs=[_run(run, short_name(evaluation, run.file)) for run in evaluation.runs],
        remarks=list(remarks(evaluation)),
        thumbnail=thumbnails.of,
        shown=_SHOWN,
        pictured=_PICTURED,
    )


def comparison_page(comparison: Comparison) -> str:
    """The page's HTML.

    Raises:
        MissingExtraError: without Jinja2.
    """
    thumbnails = _Thumbnails(None)
    return template("comparison.html", extra="evaluate").render(
        comparison=comparison,
        facts=list(facts(comparison)),
        only=list(only(comparison)),
        parting=list(parting_lines(comparison.parting)) if comparison.parting else [],
        thumbnail=thumbnails.of,
        pictured=_PICTURED,
    )


def _run(run: Run, name: str) -> dict[str, Any]:
    names, rows = matrix(run.confusions)
    return {
        "name": printable(name),
        "mode": run.frame.mode,
        "frame": run.frame.describe(),
        "source": run.frame_source,
        "cells": figures_of(run),
        "top1": run.figures.top1,
        "worst": worst_classes(run)[:_WORST],
        "mistakes": run.mistakes[:_SHOWN],
        "reliability": run.reliability,
        "names": names,
        "rows": rows,
        "classes": len(run.classes),
    }


def matrix(confusions: Sequence[Confusion], limit: int = _CLASSES) -> tuple[list[str], list[list[Cell]]]:
    """Class names and rows of the confusion matrix, for the classes that are confused most often.

    A row is the true class; its shares are of all its pictures, those of classes left out included.
    """
    pictures = Counter[str]()
    for one in confusions:
        pictures[one.truth] += one.pictures
    chosen: dict[str, None] = {}
    for one in sorted(confusions, key=lambda one: -one.pictures):
        pair = {} if one.truth == one.predicted else dict.fromkeys((one.truth, one.predicted))
        if len(chosen | pair) <= limit:
            chosen |= pair
    if len(pictures) <= limit:
        chosen |= dict.fromkeys(pictures)
    names = sorted(chosen)
    counts = {(one.truth, one.predicted): one.pictures for one in confusions}
    rows = []
    for truth in names:
        total = max(1, pictures[truth])
        row = (counts.get((truth, predicted), 0) for predicted in names)
        rows.append([Cell(truth, name, count, count / total) for name, count in zip(names, row, strict=True)])
    return names, rows


class _Thumbnails:
    """Small pictures as data URIs, each made once."""

    def __init__(self, column: str | None) -> None:
        self._column = column
        self._made: dict[str, str] = {}

    def of(self, path: str) -> str:
        if path not in self._made:
            self._made[path] = _data_uri(path, self._column)
        return self._made[path]


def _data_uri(path: str, column: str | None) -> str:
    try:
        picture = open_picture(next(pictures_of([path], column)))
    except EdgeworthyError:  # it was read a moment ago, and is gone
        return ""
    picture.thumbnail((_TILE_PX, _TILE_PX))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
