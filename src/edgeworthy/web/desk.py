"""What is done to a model file in a child process: the functions of the command line, as JSON values.

A file is called by the name that its sender or owner gave it; nobody is told where it lies on this machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeworthy.inspector import inspect
from edgeworthy.linter import check
from edgeworthy.plain import plain
from edgeworthy.repairer import repair
from edgeworthy.report.findings import next_step
from edgeworthy.results import LintReport
from edgeworthy.web.places import without_places


def card(path: str, name: str) -> dict[str, Any]:
    """What a file says of itself."""
    facts = inspect(path)
    frame = facts.frame
    values = plain(facts) | {
        "file": name,
        "inputs": [_port(port) for port in facts.inputs],
        "outputs": [_port(port) for port in facts.outputs],
        "frame": None
        if frame is None
        else {"mode": frame.mode, "description": frame.describe(), "source": "the file's evidence"},
    }
    del values["path"], values["domains"]
    named: dict[str, Any] = _without_place(values, path, name)
    return named


def report(path: str, name: str) -> dict[str, Any]:
    """What the rules say of a file, and the command that mends it."""
    return _report(check(path), path, name)


def mended(path: str, name: str, target: str, wishes: dict[str, Any]) -> dict[str, Any]:
    """A file repaired into another: what was changed, and the proof."""
    done = repair(path, target, force=True, **wishes)
    return {
        "changes": _without_place(plain(done.changes), path, name),
        "parity": plain(done.parity),
        "check": _report(done.after, target, name),
        "size_bytes": done.size_bytes,
    }


def _report(found: LintReport, path: str, name: str) -> dict[str, Any]:
    named = replace(found, path=name)
    values = plain(named) | {"conforms": named.conforms, "repair": next_step(named) or None}
    del values["path"]
    nameless: dict[str, Any] = _without_place(values, path, name)
    return nameless


def _port(port: tuple[str, str, tuple[int | str, ...]]) -> dict[str, Any]:
    name, dtype, shape = port
    return {"name": name, "dtype": dtype, "shape": shape}


def _without_place(value: Any, path: str, name: str) -> Any:
    """The same without the places of this machine."""
    if isinstance(value, str):
        return without_places(value, path, name)
    if isinstance(value, dict):
        return {key: _without_place(entry, path, name) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_place(entry, path, name) for entry in value]
    return value
