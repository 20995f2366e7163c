"""Inputs of a call, as a person names them, become a list of pictures that holds few of them at any time."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import heapq
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeworthy.errors import ImageError, OptionError, first_line
from edgeworthy.pictures.addresses import addresses_at, is_address
from edgeworthy.pictures.picture import GIVE, Picture
from edgeworthy.pictures.spool import Spool, in_order

if TYPE_CHECKING:
    from edgeworthy.pictures.parquet import Table
    from edgeworthy.pictures.video import Video

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga", ".ico"}
)


VIDEOS = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mpg", ".mpeg")
EVERY = 30  # frames of a video: about one a second


class Pictures:
    """Pictures in a settled order, which are gone over as often as wanted; few are in memory at any time.

    Args:
        column: of Parquet files, that holds the pictures; by its type and name where it is None.
        every: one frame of a video in so many is a picture.
    """

    def __init__(self, column: str | None = None, every: int = EVERY) -> None:
        self._column, self._every = column, every
        self._known = 0
        self._paths = Spool()
        self._tables: dict[str, Table] = {}
        self._videos = False

    @property
    def total(self) -> int | None:
        """How many there are; None where there are videos, which nobody knows the frames of."""
        return None if self._videos else self._known

    @property
    def every(self) -> int | None:
        """One frame of a video in so many is a picture; None where there is none."""
        return self._every if self._videos else None

    @property
    def tables(self) -> int:
        """How many Parquet files there are among them."""
        return len(self._tables)

    def __iter__(self) -> Iterator[Picture]:
        return self.since(0)

    def since(self, position: int) -> Iterator[Picture]:
        """Those from a position on."""
        for path in self._paths:
            table = self._tables.get(path)
            if path.lower().endswith(VIDEOS):
                for picture in self._video(path).pictures(position):
                    if picture is not None:
                        yield picture
                    else:
                        position -= 1
                continue
            count = table.rows if table else 1
            if position >= count:
                position -= count
            elif table:
                yield from table.pictures(position)
                position = 0
            else:
                yield Picture(name=path, source=path)

    def files(self) -> Iterator[Picture]:
        """The files that they come from, unopened."""
        return (Picture(name=path, source=path) for path in self._paths)

    def add(self, path: str) -> int:
        """Put a picture behind the others, or all those of a Parquet file or video; gives how many are known.

        Raises:
            EdgeworthyError: where a Parquet file cannot be read, or does not say where its pictures are.
        """
        known = 1
        if is_address(path) and path.lower().endswith((".parquet", *VIDEOS)):
            raise ImageError(
                f"{path} is no picture; tables and videos are read from files only.",
                hint="Bring it to this machine first.",
            )
        if path.lower().endswith(".parquet"):
            if path not in self._tables:
                from edgeworthy.pictures.parquet import Table

                self._tables[path] = Table(path, self._column)
            known = self._tables[path].rows
        elif path.lower().endswith(VIDEOS):
            self._video(path)
            self._videos = True
        self._paths.add(path)
        self._known += known
        return known

    def _video(self, path: str) -> Video:
        from edgeworthy.pictures.video import Video

        return Video(path, self._every)

    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal that tells other pictures from these: by their names, and what tables hold.

        Files of pictures are not read for it.
        """
        summary = hashlib.sha256()
        for path in self._paths:
            table = self._tables.get(path)
            told = [path, table.column, table.fingerprint()] if table else [path]
            if path.lower().endswith(VIDEOS):
                told.append(self._video(path).fingerprint())
            summary.update(json.dumps(told).encode("ascii") + b"\n")
        return summary.hexdigest()


def list_pictures(
    inputs: Iterable[str | Path],
    *,
    column: str | None = None,
    every: int = EVERY,
    allow_none: bool = False,
) -> Pictures:
    """Pictures for files, folders (with all their subfolders) and patterns, sorted within each, or lists.

    `@FILE` stands for the paths in a text file, one a line, and `-` for those on standard input; they are
    taken in their order, relative to the working directory. A file that is named itself is taken whatever
    its suffix; hidden files in folders are left out. Addresses such as `s3://bucket/photos/` are files,
    folders or patterns, too, for fsspec. A Parquet file, where it is named, listed or matches a
    pattern, gives a picture for each of its rows: from the column that is asked for, or see
    `edgeworthy.pictures.parquet.Table`. A video gives one frame in `every`, from the first on.

    Raises:
        ImageError: where one of the inputs gives no picture, unless `allow_none`, or a folder cannot be read.
        OptionError: where a column cannot be had.
        MissingExtraError: where pyarrow or PyAV is not installed, and there is a Parquet file or a video.
        TargetError: where a long list finds no room in the folder of temporary files.
    """
    if every < 1:
        raise OptionError(f"One frame in {every} cannot be taken.", hint="Give 1 or more.")
    found = Pictures(column, every)
    for entry in map(str, inputs):
        if not entry.strip():
            raise ImageError("An empty name is no picture.", hint="Is a shell variable empty?")
        if not sum(map(found.add, _paths(entry))) and not allow_none:
            raise ImageError(f"{_what(entry)} no pictures: {entry}.", hint=GIVE)
    if column is not None and not found.tables:
        raise OptionError(
            f"No Parquet file is among the pictures that could have a column {column!r}.",
            hint="Leave out --column, or give a .parquet file.",
        )
    return found


def _paths(entry: str) -> Iterator[str]:
    if is_address(entry):
        return addresses_at(entry, SUFFIXES)
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
    """Pictures in a folder and its subfolders, each of which is read once; hidden ones are left out.

    Links to folders are followed when those that are no links have been read, or a loop would have no end.
    """
    waiting = ["" if folder == Path() else os.path.join(folder, "")]  # noqa: PTH118 - with its separator
    links: list[str] = []
    seen: set[tuple[int, int]] = set()
    while waiting or links:
        prefix = waiting.pop() if waiting else heapq.heappop(links)
        try:
            found = os.stat(prefix or ".")  # noqa: PTH116
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            with os.scandir(prefix or ".") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{prefix}{entry.name}{os.sep}")
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112 - a loop is none
                        heapq.heappush(links, f"{prefix}{entry.name}{os.sep}")
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and _is_file(entry.path):  # noqa: PTH122
                        yield prefix + entry.name
        except OSError as error:  # what is in it would be missing, and nobody would know
            raise ImageError(
                f"The folder {prefix or '.'} cannot be read: {error.strerror or error}.",
                hint="Make it readable, or give the others by themselves.",
            ) from error


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
                if "\0" in text:
                    raise ImageError(
                        f"The list {entry!r} is no text in UTF-8: line {number + 1} holds a zero byte.",
                        hint=GIVE,
                    )
                if text.strip():
                    yield text if is_address(text) else str(Path(text))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ImageError(f"The list {entry!r} cannot be read: {reason}.", hint=GIVE) from error
