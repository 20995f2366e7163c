"""Class names as a library lists them, made fit for the platform, with a word on what was changed."""

from __future__ import annotations

from collections.abc import Sequence

from edgeworthy.labels import ClassNames, name_defect, repeated

_SHOWN = 5


def mended(names: Sequence[str]) -> tuple[ClassNames, tuple[str, ...]]:
    """The names, those that the platform cannot carry mended, and notes for the user."""
    twice, bad = repeated(names), [name for name in names if name_defect(name)]
    notes = []
    if twice:
        notes.append(f"Repeated class names are told apart: {_listed(twice)}.")
    if bad:
        notes.append(f"Class names that the platform cannot carry are mended: {_listed(bad)}.")
    return ClassNames.repaired(names), tuple(notes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name[:60]) for name in names[:_SHOWN]) + more
