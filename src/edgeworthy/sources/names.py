"""Class names as a library lists them, made fit for the platform, with a word on what was changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeworthy.labels import ClassNames, name_defect, repeated

_SHOWN = 5


def mended(names: Sequence[str]) -> tuple[ClassNames, tuple[str, ...]]:
    """The names, those that the platform cannot carry mended, and notes for the user."""
    twice, bad = repeated(names), [name for name in names if name_defect(name)]
    notes = []
    if twice:
        notes.append(f"Repeated class names are told apart: {listed(map(_quoted, twice))}.")
    if bad:
        notes.append(f"Class names that the platform cannot carry are mended: {listed(map(_quoted, bad))}.")
    return ClassNames.repaired(names), tuple(notes)


def listed(texts: Iterable[str]) -> str:
    """The first few of them, and how many more there are."""
    texts = list(texts)
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _quoted(name: str) -> str:
    return repr(name[:60])
