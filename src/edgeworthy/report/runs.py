"""What a run of predictions is made by, as JSON beside its rows: it is continued as the same, or refused."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeworthy._version import __version__
from edgeworthy.errors import OptionError, TargetError
from edgeworthy.model import draft
from edgeworthy.pictures import Pictures
from edgeworthy.plain import plain
from edgeworthy.results import Prediction, Unreadable

Result = Prediction | Unreadable

_FULL = {errno.ENOSPC, errno.EDQUOT}

ANEW = "Begin anew with --force, or name another output with -o."


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run, as far as it has come.

    Attributes:
        facts: what it is made by: version, model, options and pictures, as JSON values.
        pictures: how many of them have their rows on the disk.
        unreadable: how many of these could not be read.
        size_bytes: of the rows, where they are text.
        finished: whether these are all.
    """

    facts: Mapping[str, Any]
    pictures: int = 0
    unreadable: int = 0
    size_bytes: int = 0
    finished: bool = False


@dataclass(slots=True, kw_only=True)
class Output:
    """Where the results of a call go.

    Attributes:
        write: takes the next result.
        before: what an earlier call has done of the same run.
    """

    write: Callable[[Result], None]
    before: Run = field(default_factory=lambda: Run(facts={}))


def facts_for(model: Path, settings: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    """What decides on a run's rows, as JSON values."""
    with model.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    facts = {
        "edgeworthy": __version__,
        "model": digest,
        "options": plain({**settings, "every": pictures.every}),
        "pictures": {"count": pictures.total, "sha256": pictures.fingerprint()},
    }
    same: dict[str, Any] = json.loads(json.dumps(facts))  # as it is read back
    return same


def read_run(path: Path) -> Run | None:
    """What a run has left behind, or None where there is nothing.

    Raises:
        TargetError: where something else is there.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        done = {name: int(found.pop(name)) for name in ("pictures_done", "unreadable", "size_bytes")}
        finished = bool(found.pop("finished"))
        if found.keys() != {"edgeworthy", "model", "options", "pictures"}:
            raise ValueError("other keys")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TargetError(
            f"{path} does not say how the rows were made.",
            hint="Move it away, or name another output with -o.",
        ) from error
    pictures = done.pop("pictures_done")
    return Run(facts=found, pictures=pictures, finished=finished, **done)


def write_run(path: Path, run: Run) -> None:
    """Put a run's state in place of the one before, in one step.

    Raises:
        TargetError: where the disk does not take it.
    """
    state = {
        **run.facts,
        "pictures_done": run.pictures,
        "unreadable": run.unreadable,
        "size_bytes": run.size_bytes,
        "finished": run.finished,
    }
    with draft(path, force=True) as file:
        with file.text() as stream:
            json.dump(state, stream, indent=1)
        file.commit()
    settle(path.parent)


def refuse_other(output: Path, before: Run, facts: Mapping[str, Any]) -> None:
    """Stop where a run would be continued as another one.

    Raises:
        OptionError: with all that differs.
    """
    differences = list(_differences(before.facts, facts))
    if differences:
        raise OptionError(
            f"{output} was begun otherwise: {'; '.join(differences)}.",
            hint="Give what it was begun with, begin anew with --force, or name another output.",
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before["edgeworthy"] != now["edgeworthy"]:
        yield f"edgeworthy is {now['edgeworthy']}, it was {before['edgeworthy']}"
    if before["model"] != now["model"]:
        yield f"the model's SHA-256 is {now['model'][:12]}…, it was {str(before['model'])[:12]}…"
    old, new = dict(before["options"]), dict(now["options"])
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} is {json.dumps(new.get(name))}, it was {json.dumps(old.get(name))}"
    if before["pictures"] != now["pictures"]:
        counts = now["pictures"]["count"], dict(before["pictures"]).get("count")
        yield "the pictures are others" + (
            f" ({counts[0]}, they were {counts[1]})" if len({*counts}) > 1 else ""
        )


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """While no other process writes there; a lock that ends with the process, however it ends.

    Raises:
        TargetError: where one does.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TargetError(
                f"{path} is being written by another process.", hint="Wait for it, or name another output."
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def unwritable(target: Path, error: OSError) -> TargetError:
    """What is told of a place that takes no more, or nothing."""
    room = (
        "Make room, then continue with --resume; or" if error.errno in _FULL else "May you write there? Else"
    )
    return TargetError(
        f"{target} cannot be written: {error.strerror or error}.",
        hint=f"{room} choose another place with -o.",
    )


def settle(folder: Path) -> None:
    """Bring new names in a folder down to the disk, where that can be asked for."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_drafts(target: Path) -> None:
    """Remove what a process that was killed has left of a file's drafts."""
    mine = re.compile(re.escape(f".{target.name[:80]}.") + r"[0-9a-f]{8}\.part")
    for path in target.parent.iterdir():
        if mine.fullmatch(path.name):
            path.unlink(missing_ok=True)


def advanced(run: Run, result: Result) -> Run:
    """The run with one picture more."""
    return replace(run, pictures=run.pictures + 1, unreadable=run.unreadable + isinstance(result, Unreadable))
