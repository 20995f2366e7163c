"""Ordered class names: what the platform can carry, and how they are written into a tensor's name.

The platform reads the classes from the output's name, `scores-0:Cat;1:Dog`: entries are joined by
";", and ":" parts the id from the name. No escape is documented (docs/contract.md, row 16), results
travel as a map keyed by name (row 17), so names are unique, not empty, and free of both separators.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgeworthy.errors import ClassNamesError

ENTRY_SEPARATOR = ";"
ID_SEPARATOR = ":"
MAX_CLASSES = 200_000  # several times the largest label set in use; a hostile name holds millions
MAX_NAME_BYTES = 1024  # the SDK's C example cuts longer keys: docs/contract.md, row 17

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a character: cannot be written as UTF-8
_CUT_BYTES = MAX_NAME_BYTES - 16  # leaves room for the " (<id>)" of a repeated name
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Class names in the order of the model's outputs; position is the class id.

    Raises:
        ClassNamesError: on an empty list, or on names that the platform cannot carry.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ClassNamesError("The list of class names is empty.", hint="Give one name per output.")
        defects = list(_defects(self.names))
        if defects:
            shown = "; ".join(defects[:_SHOWN])
            more = f"; and {len(defects) - _SHOWN} more" if len(defects) > _SHOWN else ""
            raise ClassNamesError(
                f"{len(defects)} of {len(self.names)} class names cannot be used: {shown}{more}.",
                hint="Correct the list, or let --fix-names do it (rules: docs/contract.md, class names).",
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, index: int) -> str:
        return self.names[index]

    @classmethod
    def repaired(cls, names: Iterable[str]) -> ClassNames:
        """Mend names that the platform cannot carry, and leave all others as they are.

        The rules, in order: ";" becomes ","; ":" becomes "-"; control characters become spaces, runs
        of white space one space, none at the ends; more than 1024 bytes are cut at a whole character;
        an empty name becomes "class <id>"; a second use of a name gets " (<id>)" behind it.
        """
        mended: list[str] = []
        used: set[str] = set()
        for index, name in enumerate(names):
            clean = _clean(name) or f"class {index}"
            while clean in used:
                clean = f"{_cut(clean, _CUT_BYTES)} ({index})"
            used.add(clean)
            mended.append(clean)
        return cls(tuple(mended))


def name_defect(name: str) -> str | None:
    """Say what keeps one name from being carried, or None."""
    if not name.strip():
        return "is empty"
    if ENTRY_SEPARATOR in name or ID_SEPARATOR in name:
        return f'contains "{ENTRY_SEPARATOR if ENTRY_SEPARATOR in name else ID_SEPARATOR}"'
    if has_control(name):
        return "contains a control character"
    if _SURROGATE.search(name):
        return "is not valid Unicode"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def has_control(name: str) -> bool:
    """Whether a name holds a control character, NUL and line ends included."""
    return bool(_CONTROL.search(name))


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, in order of first occurrence."""
    return [name for name, count in Counter(names).items() if count > 1]


def join_entries(names: ClassNames) -> str:
    """Write names as the platform reads them: `0:Cat;1:Dog`."""
    return ENTRY_SEPARATOR.join(f"{index}{ID_SEPARATOR}{name}" for index, name in enumerate(names))


def split_entries(text: str) -> list[tuple[int, str]]:
    """Read `0:Cat;1:Dog` back into ids and names; a name may hold ":" here, for a rule to find.

    Raises:
        ClassNamesError: where an entry is not `id:name` with a decimal id, or there are too many.
    """
    count = text.count(ENTRY_SEPARATOR) + 1
    if count > MAX_CLASSES:
        raise ClassNamesError(f"{count} entries are more than the {MAX_CLASSES} classes that are read.")
    entries: list[tuple[int, str]] = []
    for entry in text.split(ENTRY_SEPARATOR):
        ident, separator, name = entry.partition(ID_SEPARATOR)
        if not separator or not (ident.isascii() and ident.isdigit()):
            raise ClassNamesError(f'The entry "{entry[:60]}" is not of the form id{ID_SEPARATOR}name.')
        entries.append((int(ident[:9]), name))
    return entries


def recover_entries(text: str) -> list[tuple[int, str]]:
    """Read entries whose names hold ";": the next entry begins only where the next id does.

    `0:cat;dog;1:horse` gives (0, "cat;dog") and (1, "horse"); empty where it does not begin with `0:`.
    """
    entries: list[tuple[int, str]] = []
    rest = ENTRY_SEPARATOR + text
    while rest.startswith(f"{ENTRY_SEPARATOR}{len(entries)}{ID_SEPARATOR}"):
        ident = len(entries)
        rest = rest[len(f"{ENTRY_SEPARATOR}{ident}{ID_SEPARATOR}") :]
        end = rest.find(f"{ENTRY_SEPARATOR}{ident + 1}{ID_SEPARATOR}")
        name, rest = (rest, "") if end < 0 else (rest[:end], rest[end:])
        entries.append((ident, name))
    return entries


def _clean(name: str) -> str:
    text = name.replace(ENTRY_SEPARATOR, ",").replace(ID_SEPARATOR, "-")
    text = " ".join(_SURROGATE.sub("", _CONTROL.sub(" ", text)).split())
    return _cut(text, _CUT_BYTES) if len(text.encode()) > MAX_NAME_BYTES else text


def _cut(text: str, size: int) -> str:
    """At most so many bytes of it, at a whole character."""
    return text.encode()[:size].decode(errors="ignore").rstrip()


def _defects(names: tuple[str, ...]) -> Iterator[str]:
    for index, name in enumerate(names):
        defect = name_defect(name)
        if defect:
            yield f"{index} {name[:60]!r} {defect}"
    for name in repeated(names):
        if name.strip():
            places = [str(index) for index, other in enumerate(names) if other == name]
            yield f"{name[:60]!r} stands at {', '.join(places[:6])}"
