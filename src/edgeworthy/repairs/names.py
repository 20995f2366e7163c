"""Class names for a file that lacks them, from where they may stand; none are made up unasked."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeworthy.contract import OUTPUT_PREFIX, read_output_name
from edgeworthy.errors import ClassNamesError, IrreparableError
from edgeworthy.labelfiles import names_from
from edgeworthy.labels import ClassNames, recover_entries
from edgeworthy.model import metadata_of

if TYPE_CHECKING:
    from edgeworthy.repairs.patient import Patient

NUMBERED = "numbered-classes"

# Keys under which exporters leave class names: Ultralytics `names`, Transformers `id2label`, and others.
_KEYS = ("names", "class_names", "classes", "labels", "id2label", "label2id", "categories", "class_labels")
_INDEXED = re.compile(r"(\d+)[\s:=,]+(\S.*)")

Found = tuple[list[str], str]  # names, and where they are from


def class_names(patient: Patient, count: int) -> tuple[ClassNames, str]:
    """Names for so many scores, and where they are from.

    Raises:
        ClassNamesError: where those that are asked for cannot be used, or are too few or many.
        IrreparableError: where nobody knows them, or the file contradicts itself.
    """
    if patient.wishes.classes is not None:
        names = names_from(patient.wishes.classes, fix=patient.wishes.fix_names)
        if len(names) != count:
            raise ClassNamesError(
                f"{len(names)} class names for {'one score' if patient.single else f'{count} scores'}.",
                hint=f"Give exactly {count} names, "
                + (
                    "the one that the score is for last." if patient.single else "in the order of the scores."
                ),
            )
        return names, "as asked for"
    own = _in_the_output(patient.scores.name)
    if own is not None and len(own) == count:
        return ClassNames.repaired(own), "from that name"
    found = [entry for entry in _said_elsewhere(patient) if len(entry[0]) == count]
    if found:
        return _agreed(found)
    if NUMBERED in patient.wishes.allow:
        return ClassNames(tuple(f"class {index}" for index in range(count))), "numbered"
    scores = "one score, for two classes," if patient.single else f"{count} scores"
    raise IrreparableError(
        f"The file gives {scores} and does not say what the classes are called.",
        hint="Give --classes: a text, JSON or CSV file, a folder of class folders, imagenet-1k, or a,b,c.",
    )


def _agreed(found: Sequence[Found]) -> tuple[ClassNames, str]:
    names, origin = found[0]
    for others, where in found[1:]:
        if others != names:
            raise IrreparableError(
                f"The file names its classes twice: {', '.join(names[:3])}, … ({origin}), and "
                f"{', '.join(others[:3])}, … ({where}).",
                hint="Say which are right: --classes.",
            )
    return ClassNames.repaired(names), origin


def _in_the_output(name: str) -> list[str] | None:
    if not name.startswith(OUTPUT_PREFIX):
        return None
    try:
        entries = read_output_name(name)
    except ClassNamesError:
        entries = recover_entries(name.removeprefix(OUTPUT_PREFIX))
    if sorted(ident for ident, _ in entries) == list(range(len(entries))):
        entries = sorted(entries, key=lambda entry: entry[0])
    return [text for _, text in entries]


def _said_elsewhere(patient: Patient) -> Iterator[Found]:
    """In the map that stood at the end, which knows best, or else in the graph and the metadata."""
    keys = patient.map_keys
    if keys and isinstance(keys[0], str):
        yield [str(key) for key in keys], "from the labels of its ZipMap"
        return
    yield from ((labels, "from the labels in its graph") for labels in patient.labels)
    metadata = metadata_of(patient.model)
    for key in _KEYS:
        names = _in_order(_parsed(metadata.get(key, "")), keys)
        if names:
            yield names, f"from its metadata {key!r}"


def _in_order(found: Mapping[int, str] | None, keys: Sequence[int | str]) -> list[str]:
    """Names by index in the order of the scores: that of the map's keys, or else of the indices."""
    if not found:
        return []
    order = [int(key) for key in keys] or sorted(found)
    return [found[index] for index in order] if all(index in found for index in order) else []


def _parsed(text: str) -> Mapping[int, str] | None:
    """Names by index, from a list or mapping in JSON or as Python writes it, or from lines, or commas."""
    for read in (json.loads, ast.literal_eval):
        try:
            return _by_index(read(text))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    if text.lstrip().startswith(("[", "{", "(")):
        return None
    parts = [part.strip() for part in (text.splitlines() if "\n" in text else text.split(","))]
    indexed = [_INDEXED.fullmatch(part) for part in parts]
    if all(indexed):
        numbered = {int(match[1]): match[2] for match in indexed if match}
        return numbered if _is_counted(numbered) else None
    return dict(enumerate(parts))


def _by_index(value: Any) -> Mapping[int, str] | None:
    """None for what is written like names and holds none."""
    if isinstance(value, list | tuple):
        return dict(enumerate(value)) if all(isinstance(name, str) for name in value) else None
    if not isinstance(value, Mapping):
        raise TypeError("neither a list nor a mapping")
    if all(isinstance(index, int) for index in value.values()):  # from name to index
        value = {index: name for name, index in value.items()}
    named = all(isinstance(name, str) for name in value.values())
    numbered = all(str(index).isdecimal() for index in value)
    indices = {int(index): name for index, name in value.items()} if named and numbered else {}
    return indices if len(indices) == len(value) and _is_counted(indices) else None


def _is_counted(indices: Mapping[int, str]) -> bool:
    """Whether the indices run from 0 or from 1 upwards."""
    return sorted(indices) in (list(range(len(indices))), list(range(1, len(indices) + 1)))
