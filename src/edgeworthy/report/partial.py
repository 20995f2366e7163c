"""Rows of text that survive their process: a visible part beside the target, and how far it is whole."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from edgeworthy.errors import TargetError
from edgeworthy.model import link
from edgeworthy.report.runs import (
    ANEW,
    Output,
    Result,
    Run,
    advanced,
    alone,
    read_run,
    refuse_other,
    remove_drafts,
    settle,
    unwritable,
    write_run,
)

_EVERY_S = 1.0  # the rows are brought down to the disk, and the state beside them


def partial_of(target: Path) -> Path:
    """Where the rows are until they are all there."""
    return target.with_name(f"{target.name}.partial")


def state_of(target: Path) -> Path:
    """Where it says what the rows are made by, and how many of them are whole."""
    return target.with_name(f"{target.name}.run.json")


@contextlib.contextmanager
def resumable(
    target: Path, facts: Mapping[str, Any], writer: Callable[[TextIO, bool], Callable[[Result], None]]
) -> Iterator[Output]:
    """Rows that go on where an earlier process has ended, or begin; the target is there when all of them are.

    Args:
        target: the file of rows.
        facts: what they are made by.
        writer: gives what writes results to a stream, from its beginning or not.

    Raises:
        OptionError: where an earlier process wrote them otherwise.
        TargetError: where something else is there, or the disk takes no more.
    """
    target = target.resolve() if target.is_symlink() else target
    if not target.parent.is_dir():
        raise TargetError(f"The folder {target.parent} does not exist.", hint="Make it first, or change -o.")
    state, partial = state_of(target), partial_of(target)
    before = _come_to(target, facts)
    if before.finished and not partial.exists():
        yield Output(write=_refuse, before=before)
        return
    with _told(target):
        file = partial.open("ab")
    with _closed(file, target), alone(partial):
        before = _come_to(target, facts)  # nobody changes it from here on
        with _told(target):
            if before.finished:
                if not target.exists():
                    link(partial, target)
                partial.unlink(missing_ok=True)  # without hard links, it is the target by now
            else:
                remove_drafts(state)
                write_run(state, before)
                file.truncate(before.size_bytes)
                file.seek(before.size_bytes)
        rows = _Rows(file, target, before, writer)
        yield Output(write=_refuse if before.finished else rows.write, before=before)
        if not before.finished:
            rows.finish()


def forget(target: Path, *, force: bool) -> None:
    """Remove what would be taken for the run of a file that is about to be written whole.

    Raises:
        TargetError: where that run was interrupted, and its rows are not given up.
    """
    state, partial = state_of(target), partial_of(target)
    try:
        run = read_run(state)
    except TargetError:  # somebody else's file
        return
    if run is None:
        return
    if partial.exists() and not force:
        raise TargetError(
            f"{partial} holds an interrupted run.",
            hint="Continue it with --resume, or begin anew with --force.",
        )
    with _told(target):
        partial.unlink(missing_ok=True)
        state.unlink()


def _come_to(target: Path, facts: Mapping[str, Any]) -> Run:
    """How far the rows are whole: not at all, where nothing is there to be continued."""
    run, partial = read_run(state_of(target)), partial_of(target)
    there, begun = _size(target), _size(partial)
    if run is None and there is not None:
        raise TargetError(f"{target} exists, and nothing says how it was made.", hint=ANEW)
    if run is None and begun:
        raise TargetError(f"{partial} exists, and nothing says how it was made.", hint="Move it away.")
    if run is None or (there is None and not begun):
        return Run(facts=facts)
    refuse_other(target, run, facts)
    if run.finished and run.size_bytes == (begun if there is None else there):
        return run
    if there is not None:
        raise TargetError(f"{target} is not what its run wrote.", hint=ANEW)
    if begun is None or begun < run.size_bytes:
        raise TargetError(f"{partial} is shorter than it was: {begun} of {run.size_bytes} bytes.", hint=ANEW)
    return replace(run, finished=False)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _refuse(result: Result) -> None:
    raise AssertionError("a finished run takes no results")


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except TargetError:
        raise
    except FileExistsError as error:
        raise TargetError(f"{target} appeared meanwhile.", hint=ANEW) from error
    except OSError as error:
        raise unwritable(target, error) from error


@contextlib.contextmanager
def _closed(file: io.BufferedWriter, target: Path) -> Iterator[None]:
    """As `with file`, but what the disk does not take in the end is told."""
    try:
        yield
    finally:
        with _told(target):
            file.close()


class _Rows:
    """Writes rows, and from time to time how many of them are on the disk."""

    def __init__(
        self,
        file: io.BufferedWriter,
        target: Path,
        run: Run,
        writer: Callable[[TextIO, bool], Callable[[Result], None]],
    ) -> None:
        self._file, self._target, self._run = file, target, run
        # each row goes to the file's buffer at once, so that the end of one is known
        self._stream = io.TextIOWrapper(
            file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )
        with _told(target):
            self._put = writer(self._stream, run.size_bytes == 0)
        self._due = time.monotonic() + _EVERY_S

    def write(self, result: Result) -> None:
        """All rows of a picture."""
        with _told(self._target):
            self._put(result)
            self._run = advanced(self._run, result)
            if time.monotonic() >= self._due:
                self._commit()
                self._due = time.monotonic() + _EVERY_S

    def finish(self) -> None:
        """The target is there, or an earlier step that the next call goes on from."""
        with _told(self._target):
            self._run = replace(self._run, finished=True)
            self._commit()
            link(partial_of(self._target), self._target)
            partial_of(self._target).unlink(missing_ok=True)
            settle(self._target.parent)

    def _commit(self) -> None:
        self._stream.flush()
        os.fsync(self._file.fileno())
        self._run = replace(self._run, size_bytes=self._file.tell())
        write_run(state_of(self._target), self._run)
