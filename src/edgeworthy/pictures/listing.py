"""Inputs of a call, as a person names them, become a list of pictures that holds few of them at any time."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeworthy.errors import ImageError, OptionError, first_line
from edgeworthy.pictures.picture import GIVE, Picture
from edgeworthy.pictures.spool import Spool, in_order

if TYPE_CHECKING:
    from edgeworthy.pictures.parquet import Table

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga", ".ico"}
)


class Pictures:
    """Pictures in a settled order, which are gone over as often as wanted; few are in memory at any time.

    Args:
        column: of Parquet files, that holds the pictures; by its type and name where it is None.

    Attributes:
        total: how many there are.
    """

    def __init__(self, column: str | None = None) -> None:
        self.total = 0
        self._column = column
        self._paths = Spool()
        self._tables: dict[str, Table] = {}

    def __iter__(self) -> Iterator[Picture]:
        return self.since(0)

    def since(self, position: int) -> Iterator[Picture]:
        """Those from a position on."""
        for path in self._paths:
            table = self._tables.get(path)
            count = table.rows if table else 1
            if position >= count:
                position -= count
            elif table:
                yield from table.pictures(position)
                position = 0
            else:
                yield Picture(name=path, source=path)

    def add(self, path: str) -> None:
        """Put a picture behind the others, or all those of a Parquet file.

        Raises:
            EdgeworthyError: where a Parquet file cannot be read, or does not say where its pictures are.
        """
        if path.lower().endswith(".parquet"):
            if path not in self._tables:
                from edgeworthy.pictures.parquet import Table

                self._tables[path] = Table(path, self._column)
            self.total += self._tables[path].rows
        else:
            self.total += 1
        self._paths.add(path)

    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal that tells other pictures from these: by their names, and what tables hold.

        Files of pictures are not read for it.
        """
        summary = hashlib.sha256()
        for path in self._paths:
            table = self._tables.get(path)
            told = [path, table.column, table.fingerprint()] if table else [path]
            summary.update(json.dumps(told).encode("ascii") + b"\n")
        return summary.hexdigest()

    @property
    def tables(self) -> int:
        """How many Parquet files there are among them."""
        return len(self._tables)


def list_pictures(inputs: Iterable[str | Path], *, column: str | None = None) -> Pictures:
    """Pictures for files, folders (with all their subfolders) and patterns, sorted within each, or lists.

    `@FILE` stands for the paths in a text file, one a line, and `-` for those on standard input; they are
    taken in their order, relative to the working directory. A file that is named itself is taken whatever
    its suffix; hidden files in folders are left out. A Parquet file, where it is named, listed or matches a
    pattern, gives a picture for each of its rows: from the column that is asked for, or see
    `edgeworthy.pictures.parquet.Table`.

    Raises:
        ImageError: where one of the inputs gives no picture.
        OptionError: where a column cannot be had.
        MissingExtraError: where pyarrow is not installed, and there is a Parquet file.
        TargetError: where a long list finds no room in the folder of temporary files.
    """
    found = Pictures(column)
    for entry in map(str, inputs):
        if not entry.strip():
            raise ImageError("An empty name is no picture.", hint="Is a shell variable empty?")
        before = found.total
        for path in _paths(entry):
            found.add(path)
        if found.total == before:
            raise ImageError(f"{_what(entry)} no pictures: {entry}.", hint=GIVE)
    if column is not None and not found.tables:
        raise OptionError(
            f"No Parquet file is among the pictures that could have a column {column!r}.",
            hint="Leave out --column, or give a .parquet file.",
        )
    return found


def _paths(entry: str) -> Iterator[str]:
    if entry == "-" or entry.startswith("@"):
        return _listed(entry)
    if os.path.isdir(entry):  # noqa: PTH112 - Path's own raises on names that are too long
        return in_order(_within(Path(entry)), _by_parts)
    if os.path.exists(entry) or not glob.has_magic(entry):  # noqa: PTH110
        return iter([str(Path(entry))])
    matches = (str(Path(found)) for found in glob.iglob(entry, recursive=True) if _is_file(found))
    return in_order(matches, _by_parts)


def _what(entry: str) -> str:
    if entry == "-" or entry.startswith("@"):
        return "The list names"
    if os.path.isfile(entry):  # noqa: PTH113
        return "The table has"
    return "The folder holds" if os.path.isdir(entry) else "The pattern matches"  # noqa: PTH112


def _within(folder: Path) -> Iterator[str]:
    """Pictures in a folder and its subfolders; neither hidden ones, nor through links to other folders."""
    waiting = ["" if folder == Path() else os.path.join(folder, "")]  # noqa: PTH118 - with its separator
    while waiting:
        prefix = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(prefix or ".") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{prefix}{entry.name}{os.sep}")
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and _is_file(entry.path):  # noqa: PTH122
                    yield prefix + entry.name


def _by_parts(path: str) -> str:
    """What sorts paths folder by folder: no name holds a character that sorts before this separator."""
    return path.replace(os.sep, "\0")


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - 200,000 of them


def _listed(entry: str) -> Iterator[str]:
    """The lines of a file, or of standard input, that are not empty; only a line feed ends one."""
    try:
        with contextlib.ExitStack() as stack:
            lines = sys.stdin.buffer if entry == "-" else stack.enter_context(Path(entry[1:]).open("rb"))
            for number, line in enumerate(lines):
                text = line.decode("utf-8", "surrogateescape").removesuffix("\n")
                text = (text if number else text.removeprefix("\ufeff")).removesuffix("\r")
                if text.strip():
                    yield str(Path(text))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ImageError(f"The list {entry!r} cannot be read: {reason}.", hint=GIVE) from error
