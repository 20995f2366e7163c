"""Class names from where people keep them: text, JSON, CSV, a folder of class folders, ImageNet's.

The order is always the one of the model's outputs: lines, list positions, or the ids that are given.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from edgeworthy.errors import ClassNamesError
from edgeworthy.labels import ClassNames, repeated

Classes = str | Path | Sequence[str]

BUILT_IN = {"imagenet-1k": "imagenet-1k.txt"}

MAX_BYTES = 16 * 2**20
_ID_COLUMNS = ("index", "id", "idx", "classid", "classindex", "labelid", "labelindex")
_NAME_COLUMNS = ("name", "label", "class", "classname", "labelname", "description")


def read_class_names(spec: str, *, fix: bool = False) -> ClassNames:
    """Read class names.

    Args:
        spec: `imagenet-1k`, a folder of class folders in the order of torchvision's ImageFolder, or a
            file: one name a line; a JSON list; a JSON object from index to name or from name to
            index; CSV or TSV with ids and names.
        fix: whether names that the platform cannot carry are repaired.

    Raises:
        ClassNamesError: where it cannot be read, or the names cannot be used.
    """
    names = read_listed(spec)
    try:
        return ClassNames.repaired(names) if fix else ClassNames(tuple(names))
    except ClassNamesError as error:
        raise ClassNamesError(f"{spec}: {error.message}", hint=error.hint) from error


def names_from(classes: Classes, *, fix: bool) -> ClassNames:
    """Class names from a list of them, or from a file, folder or built-in list."""
    if isinstance(classes, str | Path):
        return read_class_names(str(classes), fix=fix)
    if isinstance(classes, set | frozenset | Mapping):
        raise ClassNamesError(
            f"The class names are a {type(classes).__name__}, which has no order of its own.",
            hint="Give a list in the order of the model's outputs.",
        )
    classes = tuple(classes)
    wrong = [name for name in classes if not isinstance(name, str)]
    if wrong:
        raise ClassNamesError(f"The class name {wrong[0]!r} is {type(wrong[0]).__name__}, expected str.")
    return ClassNames.repaired(classes) if fix else ClassNames(tuple(classes))


def read_listed(spec: str) -> list[str]:
    """Class names as they stand there, whether or not the platform can carry them; see `read_class_names`."""
    if spec in BUILT_IN:
        return resources.files("edgeworthy.data").joinpath(BUILT_IN[spec]).read_text("utf-8").splitlines()
    if not spec.strip():
        raise ClassNamesError("No place of class names is given.", hint="Is a shell variable empty?")
    path = Path(spec)
    if path.is_dir():
        folders = (entry for entry in os.scandir(path) if entry.is_dir())
        names = sorted(entry.name for entry in folders if not entry.name.startswith("."))
        if not names:
            raise ClassNamesError(f"The folder {spec} has no folders in it.", hint="Expected is one a class.")
        return names
    text = _text(path)
    if path.suffix.lower() == ".json":
        return _from_json(text, spec)
    if path.suffix.lower() in {".csv", ".tsv"}:
        return _from_table(text, spec, "\t" if path.suffix.lower() == ".tsv" else ",")
    return re.split(r"\r?\n", text.rstrip("\r\n"))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ClassNamesError(f"{path} has over {MAX_BYTES >> 20} MiB; is it a list of class names?")
        content = path.read_bytes()
    except OSError as error:
        raise ClassNamesError(
            f"The class names {str(path)!r} cannot be read: {error.strerror or error}.",
            hint=f"Give a file, a folder of class folders, or one of: {', '.join(BUILT_IN)}.",
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClassNamesError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    if "\0" in text:
        raise ClassNamesError(f"{path} is binary, expected text.")
    if not text.strip():
        raise ClassNamesError(f"{path} is empty.", hint="Expected is one name for each class.")
    return text


def _from_json(text: str, spec: str) -> list[str]:
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ClassNamesError(f"{spec} is not JSON: {error}.") from error
    if isinstance(content, list):
        return [_string(value, position, spec) for position, value in enumerate(content)]
    if not isinstance(content, dict) or not content:
        raise ClassNamesError(f"{spec} holds {type(content).__name__}, expected a list or an object.")
    if all(isinstance(value, int) and not isinstance(value, bool) for value in content.values()):
        return _ordered([(value, key) for key, value in content.items()], spec)
    return _ordered(
        [(_id(key, spec), _from_object(value, key, spec)) for key, value in content.items()], spec
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, none of whose keys stands twice."""
    twice = repeated(key for key, _ in pairs)
    if twice:
        raise ValueError(f"the key {twice[0]!r} stands twice")
    return dict(pairs)


def _from_object(value: Any, key: str, spec: str) -> str:
    """The name of an entry; Keras writes `["n01440764", "tench"]`."""
    if isinstance(value, list) and value:
        value = value[-1]
    return _string(value, key, spec)


def _from_table(text: str, spec: str, delimiter: str) -> list[str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise ClassNamesError(f"{spec} is not a table: {error}.") from error
    header = [re.sub("[^a-z]", "", cell.lower()) for cell in rows[0]]
    headed = any(cell in (*_ID_COLUMNS, *_NAME_COLUMNS) for cell in header)
    body = rows[1:] if headed else rows
    if len(rows[0]) == 1:
        return _rows(body, 0, None, spec)
    numbered = [column for column in range(len(rows[0])) if _are_ids(body, column)]
    ids = [column for column, cell in enumerate(header) if cell in _ID_COLUMNS] or numbered
    names = [column for column, cell in enumerate(header) if cell in _NAME_COLUMNS and column not in ids]
    if not headed and len(rows[0]) == 2 and len(ids) == 1:
        names = [1 - ids[0]]
    if len(names) == 1 and len(ids) <= 1:
        return _rows(body, names[0], ids[0] if ids else None, spec)
    raise ClassNamesError(
        f"{spec} has the columns {', '.join(rows[0][:6])}; which are ids and names?",
        hint=f"Head one with {_ID_COLUMNS[0]}, one with {_NAME_COLUMNS[0]}, and no others with such words.",
    )


def _are_ids(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Whether a column numbers the classes: 0, 1, 2 and so on, in whatever order, or only whole numbers."""
    cells = [row[column].strip() for row in rows if len(row) > column]
    return len(cells) == len(rows) and all(cell.isascii() and cell.isdecimal() for cell in cells)


def _rows(rows: Sequence[Sequence[str]], name: int, ident: int | None, spec: str) -> list[str]:
    for row in rows:
        if len(row) <= max(name, ident or 0):
            raise ClassNamesError(f"{spec}: the row {', '.join(row)[:60]!r} is too short.")
    if ident is None:
        return [row[name].strip() for row in rows]
    return _ordered([(_id(row[ident].strip(), spec), row[name].strip()) for row in rows], spec)


def _ordered(pairs: Sequence[tuple[int, str]], spec: str) -> list[str]:
    by_id: Mapping[int, str] = dict(pairs)
    missing = [ident for ident in range(len(pairs)) if ident not in by_id]
    if missing:
        raise ClassNamesError(
            f"{spec}: the id {missing[0]} is missing; expected is each of 0..{len(pairs) - 1} once.",
            hint="Number the classes as the model's outputs, from 0.",
        )
    return [by_id[ident] for ident in range(len(pairs))]


def _id(text: str, spec: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ClassNamesError(f"{spec}: {text[:60]!r} is no class id, expected is 0, 1, 2 and so on.")
    return int(text)


def _string(value: Any, position: Any, spec: str) -> str:
    if not isinstance(value, str):
        raise ClassNamesError(f"{spec}: the entry {position} is {str(value)[:60]!r}, expected a text.")
    return value
