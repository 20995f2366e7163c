"""Class names for a file that lacks them, from where they may stand; none are made up unasked."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeworthy.contract import OUTPUT_PREFIX, read_output_name
from edgeworthy.errors import ClassNamesError, IrreparableError
from edgeworthy.labelfiles import names_from
from edgeworthy.labels import ClassNames, recover_entries
from edgeworthy.model import metadata_of

if TYPE_CHECKING:
    from edgeworthy.repairs.patient import Patient

# Keys under which exporters leave class names: Ultralytics `names`, Transformers `id2label`, and others.
_KEYS = ("names", "class_names", "classes", "labels", "id2label", "categories", "class_labels")


def class_names(patient: Patient, count: int) -> tuple[ClassNames, str]:
    """Names for so many scores, and where they are from.

    Raises:
        ClassNamesError: where those that are asked for cannot be used, or are too few or many.
        IrreparableError: where nobody knows them.
    """
    if patient.wishes.classes is not None:
        names = names_from(patient.wishes.classes, fix=False)
        if len(names) != count:
            raise ClassNamesError(
                f"{len(names)} class names for {count} scores.",
                hint=f"Give exactly {count} names, in the order of the model's outputs.",
            )
        return names, "as asked for"
    for found, origin in (
        (_in_the_output(patient.scores.name), "from that name"),
        *((labels, "from the labels in its graph") for labels in patient.labels),
        *((_listed(text), f"from its metadata {key!r}") for key, text in _candidates(patient)),
    ):
        if found is not None and len(found) == count:
            return ClassNames.repaired(found), origin
    if "numbered-classes" in patient.wishes.allow:
        return ClassNames(tuple(f"class {index}" for index in range(count))), "numbered"
    raise IrreparableError(
        f"The file gives {count} scores and does not say what the classes are called.",
        hint="Give --classes: a text, JSON or CSV file, a folder of class folders, or imagenet-1k.",
    )


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


def _candidates(patient: Patient) -> list[tuple[str, str]]:
    metadata = metadata_of(patient.model)
    return [(key, metadata[key]) for key in _KEYS if key in metadata]


def _listed(text: str) -> list[str] | None:
    """A list, or a mapping from index to name, in JSON or as Python writes it; or lines, or commas."""
    for read in (json.loads, ast.literal_eval):
        try:
            return _as_list(read(text))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return [part.strip() for part in (text.splitlines() if "\n" in text else text.split(","))]


def _as_list(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        indices = {int(key): name for key, name in value.items()}
        value = [indices.get(index) for index in range(len(indices))]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise TypeError("no list of names")
    return list(value)
