"""Pictures with their true classes: class folders, or tables of path and label.

A label is text: a class name, an index, or a WordNet synset such as `n01440764`. What it stands for depends
on the model, whose class names `resolve` compares it with.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgeworthy.errors import MissingExtraError, OptionError, first_line
from edgeworthy.labelfiles import read_listed
from edgeworthy.pictures import list_pictures
from edgeworthy.pictures.addresses import is_address
from edgeworthy.pictures.parquet import holds_bytes

Scheme = Literal["name", "index", "synset"]

_PATH_COLUMN = re.compile("path|(file|image|img|picture)(s|path|name|names)?")
_LABEL_COLUMN = re.compile("(label|class|category|target)(id|name|index)?|synset|wnid")

_SYNSET = re.compile(r"n\d{8}")
_TABLES = {".csv": ",", ".tsv": "\t"}


class Labelled(NamedTuple):
    """A picture's file and the label of what it shows."""

    path: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the labels stand for in one model.

    Attributes:
        scheme: how they were read.
        ids: class ids of the labels that the model knows.
        unknown: labels that it does not, in order.
        absent: class names of the model that no label stands for, in the model's order.
    """

    scheme: Scheme
    ids: Mapping[str, int]
    unknown: tuple[str, ...]
    absent: tuple[str, ...]


def read_labelled(
    data: str | Path, *, path_column: str | None = None, label_column: str | None = None
) -> list[Labelled]:
    """Pictures and labels of a folder of class folders, or of a table.

    Args:
        data: a folder, in which each folder holds the pictures of the class that it is named after, in
            subfolders too, as torchvision's ImageFolder reads it; or a CSV, TSV or Parquet file with a column
            of paths, relative to the file, and one of labels. A Parquet file may hold the pictures
            themselves, as Hugging Face's datasets do.
        path_column: its name, where it is none of the usual ones.
        label_column: its name, likewise.

    Raises:
        OptionError: where it is neither, or names no picture.
    """
    place = Path(data)
    if place.is_dir():
        return _from_folders(place)
    kind = place.suffix.lower()
    if kind not in {*_TABLES, ".parquet"}:
        what = "is no table of labelled pictures" if place.exists() else "is not there"
        raise OptionError(
            f"{str(data)!r} {what}.",
            hint="Give a folder of class folders, or a CSV, TSV or Parquet file of paths and labels.",
        )
    if kind == ".parquet":
        found = _from_parquet(place, path_column, label_column)
    else:
        found = _from_table(place, path_column, label_column)
    if not found:
        raise OptionError(f"{place} has no rows.", hint="Expected is one for each picture.")
    return found


def resolve(labels: Iterable[str], class_names: Sequence[str], *, who: str) -> Resolution:
    """Find the classes that labels stand for: as names, ids or synsets, whichever explains most of them.

    A name may differ in case, and in what separates its words.

    Args:
        labels: each of them once.
        class_names: of the model, in the order of its outputs.
        who: the model, for messages.

    Raises:
        OptionError: where the model knows none of the labels.
    """
    labels = sorted(set(labels))
    readings: dict[Scheme, dict[str, int]] = {
        "name": _by_name(labels, class_names),
        "synset": _by_synset(labels, class_names),
        "index": {label: int(float(label)) for label in labels if _is_id(label, len(class_names))},
    }
    scheme = max(readings, key=lambda scheme: len(readings[scheme]))
    ids = readings[scheme]
    if not ids:
        raise OptionError(
            f"{who} knows none of the {len(labels)} labels: {_some(labels)}; its classes are "
            f"{_some(class_names)}.",
            hint="The file names no classes: let edgeworthy repair write them in, with --classes."
            if all(name == str(ident) for ident, name in enumerate(class_names))
            else "Labels are class names, ids from 0, or ImageNet's synsets.",
        )
    named = set(ids.values())
    return Resolution(
        scheme=scheme,
        ids=ids,
        unknown=tuple(label for label in labels if label not in ids),
        absent=tuple(name for ident, name in enumerate(class_names) if ident not in named),
    )


def _from_folders(place: Path) -> list[Labelled]:
    found = []
    for name in sorted(e.name for e in os.scandir(place) if e.is_dir() and not e.name.startswith(".")):
        pictures = list_pictures([place / name], allow_none=True)
        found += [Labelled(picture.name, name) for picture in pictures]
    if not found:
        raise OptionError(
            f"The folder {place} has no folders of pictures in it.",
            hint="Expected is a folder for each class, named after it; or give a table of paths and labels.",
        )
    return found


def _from_table(place: Path, path_column: str | None, label_column: str | None) -> list[Labelled]:
    try:
        with place.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = _TABLES[place.suffix.lower()]
            first = stream.readline()
            if delimiter not in first and ";" in first:  # as spreadsheets write it where commas are decimal
                delimiter = ";"
            stream.seek(0)
            rows = [row for row in csv.reader(stream, delimiter=delimiter) if row]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OptionError(f"The table {place} cannot be read: {reason}.") from error
    if not rows:
        raise OptionError(f"{place} is empty.", hint="Expected are a header, and a row for each picture.")
    header = rows[0]
    path_at = header.index(_column(header, path_column, _PATH_COLUMN, "path", place))
    label_at = header.index(_column(header, label_column, _LABEL_COLUMN, "label", place))
    found = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) > len(header):
            told = f"row {number} has {len(row)} fields, the header {len(header)}"
            raise OptionError(
                f"{place}: {told}: {', '.join(row)[:60]!r}.",
                hint=f"Put fields that hold {delimiter!r} in quotation marks.",
            )
        path, label = ("" if len(row) <= at else row[at].strip() for at in (path_at, label_at))
        if not path or not label:
            raise OptionError(f"{place}: row {number} has no path or no label: {', '.join(row)[:60]!r}.")
        found.append(Labelled(_beside(place, path), label))
    return found


def _from_parquet(place: Path, path_column: str | None, label_column: str | None) -> list[Labelled]:
    """Paths and labels, or labels of pictures that are bytes in the table itself."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    try:
        file = pq.ParquetFile(place)
    except (OSError, ValueError) as error:
        raise OptionError(f"The table {place} cannot be read: {first_line(error)}.") from error
    schema = file.schema_arrow
    path_at = _column(schema.names, path_column, _PATH_COLUMN, "path", place)
    label_at = _column(schema.names, label_column, _LABEL_COLUMN, "label", place)
    embedded = holds_bytes(schema.field(path_at).type)
    names = _features(schema, label_at)
    found: list[Labelled] = []
    for batch in file.iter_batches(columns=[label_at] if embedded else [label_at, path_at]):
        labels = batch.column(label_at).to_pylist()
        paths = [""] * len(labels) if embedded else batch.column(path_at).to_pylist()
        for label, path in zip(labels, paths, strict=True):
            if label is None or (not embedded and not path):
                raise OptionError(f"{place}: row {len(found)}, counted from 0, has no path or no label.")
            told = names[label] if isinstance(label, int) and 0 <= label < len(names) else str(label).strip()
            row = f"{place}:{len(found)}"
            found.append(Labelled(row if embedded else _beside(place, str(path).strip()), told))
    return found


def _features(schema: Any, column: str) -> Sequence[str]:
    """Class names of a column of ids, where Hugging Face's datasets have written them into the table."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in told["info"]["features"][column]["names"]]
    except (KeyError, ValueError, TypeError):
        return ()


def _beside(place: Path, path: str) -> str:
    return path if is_address(path) else str(place.parent / path)


def _column(header: list[str], asked: str | None, known: re.Pattern[str], what: str, place: Path) -> str:
    if asked is not None:
        if header.count(asked) > 1:
            raise OptionError(f"{place} has several columns {asked!r}.", hint="Give each a name of its own.")
        if asked not in header:
            raise OptionError(f"{place} has no column {asked!r}; it has {', '.join(header)[:120]}.")
        return asked
    plain = [re.sub("[^a-z]", "", cell.lower()) for cell in header]
    at = [column for column, cell in enumerate(plain) if known.fullmatch(cell)]
    if len(at) != 1 and plain.count(what) == 1:
        at = [plain.index(what)]
    if len(at) == 1:
        return header[at[0]]
    which = "several columns" if at else "no column"
    raise OptionError(
        f"{place} has {which} of {what}s; its columns are {', '.join(header)[:120]}.",
        hint=f"Name it with --{what}-column, or head one with {what!r}.",
    )


def _by_name(labels: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    exact = {name: ident for ident, name in enumerate(class_names)}
    times = Counter(map(_bare, class_names))
    loose = {_bare(name): ident for ident, name in enumerate(class_names) if times[_bare(name)] == 1}
    found = ((label, exact.get(label, loose.get(_bare(label)))) for label in labels)
    return {label: ident for label, ident in found if ident is not None}


def _by_synset(labels: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """ImageNet numbers its classes in the order of their synsets."""
    if not any(map(_SYNSET.fullmatch, labels)):
        return {}
    data = resources.files("edgeworthy.data")
    synsets = data.joinpath("imagenet-1k-synsets.txt").read_text("ascii").splitlines()
    if len(class_names) == len(synsets):
        places = {synset: ident for ident, synset in enumerate(synsets)}
        return {label: places[label] for label in labels if label in places}
    names = dict(zip(synsets, read_listed("imagenet-1k"), strict=True))
    ids = _by_name([names[label] for label in labels if label in names], class_names)
    return {label: ids[names[label]] for label in labels if names.get(label) in ids}


def _bare(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.casefold().replace("_", " ")))


def _is_id(label: str, classes: int) -> bool:
    """Whole numbers, and those that a table with gaps has made 3.0 of."""
    return bool(re.fullmatch(r"[0-9]{1,9}(\.0+)?", label)) and int(float(label)) < classes


def _some(names: Sequence[str], limit: int = 4) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
