"""Pictures out of a Parquet file: bytes in one of its columns, or paths; read a few rows at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeworthy.errors import ImageError, MissingExtraError, OptionError, first_line
from edgeworthy.pictures.picture import GIVE, Picture

_BYTES = frozenset("image img picture photo image_bytes bytes jpg jpeg png".split())  # noqa: SIM905
_PATHS = frozenset("path file file_name filename file_path filepath image_path image img".split())  # noqa: SIM905
_ROW = re.compile(r"(.+\.parquet):(\d{1,18})", re.IGNORECASE | re.DOTALL)
_ROWS = 16  # that are read together: a picture may have some megabytes
_BUFFER_BYTES = 2**20  # in place of a whole row group
_FOOTER_BYTES = 2**16


class Table:
    """A Parquet file whose rows are pictures.

    The column is the one that is asked for; or the one that holds bytes (Hugging Face's struct of `bytes`
    and `path`, too) and is named as pictures are; or the one of text that is named as paths are; or the only
    one that holds bytes.

    Args:
        path: of the file.
        column: that holds the pictures, or None.

    Attributes:
        rows: how many there are.
        column: that holds the pictures.

    Raises:
        MissingExtraError: where pyarrow is not installed.
        ImageError: where it is no Parquet file.
        OptionError: where no column, or more than one, may hold the pictures.
    """

    def __init__(self, path: str, column: str | None = None) -> None:
        self._path = path
        with self._opened() as file:
            schema = file.schema_arrow
            self.rows: int = file.metadata.num_rows
            self._starts = [0]
            for group in range(file.num_row_groups):
                self._starts.append(self._starts[-1] + file.metadata.row_group(group).num_rows)
        self.column = _chosen(path, schema, column)

    def pictures(self, start: int = 0) -> Iterator[Picture]:
        """A picture for each row from `start` on; rows that cannot be read are pictures that say so."""
        with self._opened() as file:
            for group, (first, end) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
                if end > start:
                    yield from self._group(file, group, range(first, end), start)

    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over the file's length and its end, which says what is where in it."""
        with contextlib.suppress(OSError), Path(self._path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _FOOTER_BYTES))
            return hashlib.sha256(f"{size} ".encode() + file.read()).hexdigest()
        return ""  # gone since it was listed; the rows will say so

    def _group(self, file: Any, group: int, rows: range, start: int) -> Iterator[Picture]:
        row = rows.start
        reason = "the file ends before it"
        try:
            batches = file.iter_batches(_ROWS, row_groups=[group], columns=[self.column], use_threads=False)
            for batch in batches:
                for value in batch.column(0):
                    if start <= row < rows.stop:
                        yield self._picture(row, value.as_py())
                    row += 1
        except Exception as error:  # what a library raises on damaged files
            reason = first_line(error)
        for lost in range(max(row, start), rows.stop):
            name = f"{self._path}:{lost}"
            yield Picture(name=name, source=ImageError(f"{name} cannot be read: {reason}."))

    def _picture(self, row: int, value: Any) -> Picture:
        name = f"{self._path}:{row}"
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return Picture(name=name, source=value)
        if isinstance(value, str) and value:
            path = self._found(value)
            return Picture(name=path, source=path)
        return Picture(name=name, source=ImageError(f"{name} is empty."))

    def _found(self, path: str) -> str:
        """From the working directory, as in any list; where nothing is there, from the table's folder."""
        beside = os.path.join(os.path.dirname(self._path), path)  # noqa: PTH118, PTH120
        return str(Path(path if os.path.lexists(path) or not os.path.lexists(beside) else beside))

    def _opened(self) -> Any:
        try:
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtraError("pyarrow", "parquet") from error
        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):  # noqa: PTH116
                raise ImageError(f"{self._path} is no regular file.", hint=GIVE)
            return ParquetFile(self._path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except FileNotFoundError as error:
            raise ImageError(f"{self._path} is not there.", hint=GIVE) from error
        except ImageError:
            raise
        except Exception as error:  # what a library raises on damaged files
            raise ImageError(
                f"{self._path} cannot be read as a Parquet file: {first_line(error).rstrip('.')}.", hint=GIVE
            ) from error


def is_row(name: str) -> bool:
    """Whether it is the name of a picture that is bytes in a table, as `Table.pictures` gives them."""
    return bool(_ROW.fullmatch(name)) and not os.path.lexists(name)


def pictures_of(names: Iterable[str], column: str | None = None) -> Iterator[Picture]:
    """The pictures of these names: files, or rows of tables; those that follow each other are read once.

    Args:
        names: of files, addresses, or rows.
        column: of the tables; see `Table`.

    Raises:
        EdgeworthyError: where a table cannot be read.
    """
    path, following = "", 0
    rows: Iterator[Picture] = iter(())
    for name in names:
        match = _ROW.fullmatch(name)
        if not match or os.path.lexists(name):
            yield Picture(name=name, source=name)
            continue
        if (match[1], int(match[2])) != (path, following):
            path, following = match[1], int(match[2])
            rows = Table(path, column).pictures(following)
        following += 1
        yield next(rows, Picture(name=name, source=ImageError(f"{name} is not there.")))


def _chosen(path: str, schema: Any, asked: str | None) -> str:
    pictures = [field.name for field in schema if holds_bytes(field.type)]
    texts = [
        field.name for field in schema if _plain(field.type) in {"string", "large_string", "string_view"}
    ]
    if asked is not None:
        if asked not in schema.names:
            raise _refusal(path, schema, f"has no column {asked!r}")
        if [*pictures, *texts].count(asked) != 1:
            raise _refusal(path, schema, f"has no bytes and no paths in its column {asked!r}")
        return asked
    for names in (_named(pictures, _BYTES), _named(texts, _PATHS), pictures):
        if len(names) == 1:
            return names[0]
        if names:
            raise _refusal(path, schema, f"may have its pictures in {' or '.join(map(repr, names))}")
    raise _refusal(path, schema, "does not say which column holds its pictures")


def holds_bytes(kind: Any) -> bool:
    """Whether a column of that type holds pictures as bytes."""
    if str(kind).startswith("struct<"):  # as Hugging Face's datasets write pictures
        return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
    return _plain(kind) in {"binary", "large_binary", "binary_view"}


def _plain(kind: Any) -> str:
    """Name of the type, or of the values of a dictionary."""
    return str(getattr(kind, "value_type", kind) if str(kind).startswith("dictionary<") else kind)


def _named(names: Sequence[str], known: frozenset[str]) -> list[str]:
    return [name for name in names if name.casefold() in known]


def _refusal(path: str, schema: Any, what: str) -> OptionError:
    columns = [f"{field.name} ({field.type})" for field in schema]
    told = ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
    return OptionError(
        f"{path} {what}; its columns are: {told or 'none'}.",
        hint="Name the column of bytes, or of paths, with --column.",
    )
