"""Rows as a folder of Parquet files: each is there whole or not at all; a run goes on behind the last."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from edgeworthy.errors import EdgeworthyError, MissingExtraError, TargetError
from edgeworthy.model import Draft
from edgeworthy.plain import shown
from edgeworthy.report.rows import long_rows, time_of
from edgeworthy.report.runs import (
    ANEW,
    Output,
    Result,
    Run,
    advanced,
    alone,
    read_run,
    refuse_other,
    settle,
    unwritable,
    write_run,
)

STATE = "_edgeworthy.json"  # readers of Parquet folders pass over names that begin so

_PICTURES = 4096  # in a part, at most
_SECONDS = 60.0  # that a part takes, or little more: what a kill costs
_ROWS = 8192  # that are held in memory
_PART = re.compile(r"part-(\d{12})\.parquet")
_HIDDEN = re.compile(r"\.(part-\d{12}\.parquet|_edgeworthy\.json)\.[0-9a-f]{8}\.part")


def refuse_missing() -> None:
    """Stop before work is done for a file that cannot be written.

    Raises:
        MissingExtraError: where pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error


class Span(NamedTuple):
    """Pictures from `first` up to, but without, `end`; how many of them could not be read."""

    first: int
    end: int
    unreadable: int


@dataclass(slots=True, kw_only=True)
class SharedParts:
    """A folder whose parts several processes write, in whatever order.

    Attributes:
        before: what an earlier call has done of the same run.
        there: the parts of that, in their order.
    """

    before: Run
    there: list[Span]

    def gaps(self, total: int) -> Iterator[tuple[int, int]]:
        """(first, end) of what has no part, up to `total`."""
        position = 0
        for first, end, _ in self.there:
            if first > position:
                yield position, first
            position = max(position, end)
        if total > position:
            yield position, total


@contextlib.contextmanager
def shared_parts(
    folder: Path, facts: Mapping[str, Any], *, total: int, resume: bool, force: bool
) -> Iterator[SharedParts]:
    """A folder of parts for other processes to write, each by `write_part`.

    Args:
        folder: that is made, or continued.
        facts: what the rows are made by.
        total: pictures, all of which have to be there in the end.
        resume: keep the parts that are there.
        force: remove those first; what edgeworthy did not write is left alone.

    Raises:
        OptionError: where the parts that are there were made otherwise.
        TargetError: where something else is there, or pictures are lacking in the end.
    """
    with _made(folder), alone(folder):
        before = _begun(folder, facts, resume=resume, force=force, contiguous=False)
        there = [_span(first, path) for first, path in _written(folder)]
        done = replace(
            before,
            pictures=sum(end - first for first, end, _ in there),
            unreadable=sum(span.unreadable for span in there),
        )
        yield SharedParts(before=done, there=there)
        spans = [_span(first, path) for first, path in _written(folder)]
        lacking = list(SharedParts(before=before, there=spans).gaps(total))
        if lacking or sum(end - first for first, end, _ in spans) != total:
            raise TargetError(
                f"The parts of {folder} do not hold each of the {total} pictures once.", hint=ANEW
            )
        unreadable = sum(span.unreadable for span in spans)
        write_run(folder / STATE, Run(facts=facts, pictures=total, unreadable=unreadable, finished=True))


def write_part(folder: Path, first: int, results: Iterable[Result]) -> Span:
    """Write the part that begins at a position; one that is there already is left as it is.

    Raises:
        TargetError: where the disk takes no more.
    """
    path = folder / f"part-{first:012}.parquet"
    if path.exists():
        return _span(first, path)
    writer = _Parts(folder, Run(facts={}, pictures=first), timed=False, split=False)
    try:
        for result in results:
            writer.write(result)
        writer.commit()
    finally:
        writer.discard()
    return writer.span(first)


@contextlib.contextmanager
def parts(
    folder: Path, facts: Mapping[str, Any], *, resume: bool, force: bool, timed: bool = False
) -> Iterator[Output]:
    """A folder that results are written to, part by part.

    Args:
        folder: that is made, or continued.
        facts: what the rows are made by.
        resume: go on behind the parts that are there.
        force: remove those first; what edgeworthy did not write is left alone.
        timed: whether a column has the times of frames.

    Raises:
        OptionError: where the parts that are there were made otherwise.
        TargetError: where something else is there, or the disk takes no more.
    """
    with _made(folder), alone(folder):
        before = _begun(folder, facts, resume=resume, force=force)
        writer = _Parts(folder, before, timed=timed)
        try:
            yield Output(write=writer.write, before=before)
            if not before.finished:
                writer.finish()
        finally:
            writer.discard()


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, which does not stay where the call could not be carried out, and nothing was in it."""
    there = folder.exists()
    _make(folder)
    try:
        yield
    except EdgeworthyError:
        if not there and not _written(folder):
            with contextlib.suppress(OSError):
                (folder / STATE).unlink(missing_ok=True)
                folder.rmdir()
        raise


def _make(folder: Path) -> None:
    if not folder.parent.is_dir():
        raise TargetError(f"The folder {folder.parent} does not exist.", hint="Make it first, or change -o.")
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise TargetError(
            f"{folder} is a file, and a folder of Parquet files would be written.",
            hint="Move it away, or name another output with -o.",
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error


def _begun(
    folder: Path, facts: Mapping[str, Any], *, resume: bool, force: bool, contiguous: bool = True
) -> Run:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise TargetError(f"{folder} cannot be read: {error.strerror or error}.", hint=ANEW) from error
    run = read_run(folder / STATE)
    if run is None and not all(map(_HIDDEN.fullmatch, names)):
        raise TargetError(
            f"{folder} is there, and edgeworthy did not write it.", hint="Name another output with -o."
        )
    if run is not None and not (resume or force):
        raise TargetError(f"{folder} exists.", hint="Continue it with --resume, or begin anew with --force.")
    if run is not None and resume:
        refuse_other(folder, run, facts)
    try:
        for name in filter(_HIDDEN.fullmatch, names):
            (folder / name).unlink(missing_ok=True)
        if run is not None and resume:
            return run if run.finished or not contiguous else _done(folder, run)
        for _, path in reversed(_written(folder)):  # what is left after a kill can still be continued
            path.unlink()
    except TargetError:
        raise
    except OSError as error:
        raise unwritable(folder, error) from error
    begun = Run(facts=facts)
    write_run(folder / STATE, begun)
    return begun


def _written(folder: Path) -> list[tuple[int, Path]]:
    """(first position, file) of the parts, in their order."""
    found = ((_PART.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def _done(folder: Path, run: Run) -> Run:
    """The run as far as its parts have come."""
    spans = [_span(first, path) for first, path in _written(folder)]
    for before, after in itertools.pairwise([Span(0, 0, 0), *spans]):
        if after.first != before.end:
            what = "lacks" if after.first > before.end else "holds twice"
            low, high = sorted((before.end, after.first))
            raise TargetError(
                f"{folder} {what} the pictures {low} to {high - 1}.",
                hint="Was it begun with --engine ray? Continue it so. " + ANEW,
            )
    return replace(
        run, pictures=spans[-1].end if spans else 0, unreadable=sum(span.unreadable for span in spans)
    )


def _span(first: int, path: Path) -> Span:
    """What a part holds; its footer says where it ends."""
    from pyarrow.parquet import read_metadata

    try:
        facts = read_metadata(path)
        groups = [facts.row_group(group) for group in range(facts.num_row_groups)]
        positions = [_column(group, "position").statistics for group in groups]
        errors = [_column(group, "error").statistics for group in groups]
        unreadable = facts.num_rows - sum(error.null_count for error in errors)
        if positions[0].min != first:
            raise ValueError(first)
        return Span(first, positions[-1].max + 1, unreadable)
    except Exception as error:  # what a library raises on damaged files
        raise TargetError(f"{path} cannot be continued: it is damaged.", hint=ANEW) from error


def _column(group: Any, name: str) -> Any:
    columns = [group.column(index) for index in range(group.num_columns)]
    return next(column for column in columns if column.path_in_schema == name)


class _Parts:
    """Writes parts: rows go to a draft in groups, and the draft becomes a part in one step."""

    def __init__(self, folder: Path, run: Run, *, timed: bool, split: bool = True) -> None:
        import pyarrow as pa

        self._folder, self._run, self._timed, self._split = folder, run, timed, split
        self._schema = pa.schema(
            {
                "position": pa.int64(),
                "path": pa.string(),
                **({"time_s": pa.float64()} if timed else {}),
                "rank": pa.int32(),
                "class_id": pa.int32(),
                "class": pa.string(),
                "probability": pa.float32(),
                "error": pa.string(),
            }
        )
        self._rows: list[tuple[Any, ...]] = []
        self._draft: Draft | None = None
        self._writer: Any = None
        self._first = run.pictures
        self._due = 0.0

    def write(self, result: Result) -> None:
        """All rows of a picture."""
        position = self._run.pictures
        if position == self._first:
            self._due = time.monotonic() + _SECONDS
        picture = (position, shown(result.path), *((time_of(result),) if self._timed else ()))
        for rank, class_id, name, probability, error in long_rows(result):
            told = None if error is None else shown(error)
            self._rows.append((*picture, rank, class_id, name, probability, told))
        self._run = advanced(self._run, result)
        if len(self._rows) >= _ROWS:
            self._put()
        enough = self._run.pictures - self._first >= _PICTURES or time.monotonic() >= self._due
        if enough and self._split:
            self.commit()

    def finish(self) -> None:
        """The last part, and that it is the last."""
        if self._run.pictures > self._first:
            self.commit()
        write_run(self._folder / STATE, replace(self._run, finished=True))

    def discard(self) -> None:
        """Leave no draft behind."""
        with contextlib.suppress(Exception):
            if self._writer is not None:
                self._writer.close()
        if self._draft is not None:
            self._draft.path.unlink(missing_ok=True)
        self._draft = self._writer = None

    def _put(self) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        columns = zip(*self._rows, strict=True)
        table = pa.table(
            [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)],
            schema=self._schema,
        )
        try:
            if self._draft is None:
                self._draft = Draft(self._folder / f"part-{self._first:012}.parquet", force=False)
                self._writer = ParquetWriter(self._draft.path, self._schema)
            self._writer.write_table(table)
        except OSError as error:
            raise unwritable(self._folder, error) from error
        self._rows = []

    def span(self, first: int) -> Span:
        """From a position to where it has come."""
        return Span(first, self._run.pictures, self._run.unreadable)

    def commit(self) -> None:
        """What is written so far becomes a part."""
        if self._rows:
            self._put()
        if self._draft is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            raise unwritable(self._folder, error) from error
        self._draft.commit()
        self.discard()
        settle(self._folder)
        self._first = self._run.pictures
