"""The repair of the normalisation that the platform reads from the graph's doc_string."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeworthy.contract import Normalization
from edgeworthy.errors import OptionError
from edgeworthy.evidence import PREFIX
from edgeworthy.repairs.base import Changes, repair

if TYPE_CHECKING:
    from edgeworthy.repairs.patient import Patient


@repair("normalization", "EW401", "EW402", "EW403", "EW404", "EW406", "EW407")
def normalization(patient: Patient) -> Changes:
    """The graph's doc_string carries mean and scale as the platform reads them.

    They are those that are asked for, or the file's own: of its evidence, in the model's doc_string, or none
    for a model that takes whole pixels. Text that is no normalisation moves to the model's doc_string.
    """
    channels = patient.picture_input().channels
    found = _wanted(patient, channels)
    before = patient.graph.doc_string
    if found is None:
        if before and _read(before, channels) is None:
            patient.model.doc_string = patient.model.doc_string or before
            patient.graph.doc_string = ""
            yield "The graph's doc_string held no usable normalisation; its text moves to the model's."
        return
    if patient.wishes.mean is not None and record_normalization(patient, found):
        yield f"The file's evidence says {found.upload_form()}, too, as asked for."
    after = found.to_doc_string()
    if _written(before, channels) == after:
        return
    if _written(patient.model.doc_string, channels) == after:
        patient.model.doc_string = ""
    patient.graph.doc_string = after
    yield f"The graph's doc_string says {found.upload_form()}."


def _wanted(patient: Patient, channels: int) -> Normalization | None:
    wishes, recorded = patient.wishes, patient.recorded
    if patient.raw_pixels:
        if wishes.mean is not None:
            raise OptionError(
                "The model takes whole pixels 0..255, and --mean and --std would make fractions of them.",
                hint="Leave them out.",
            )
        return Normalization.identity(channels)
    if wishes.mean is not None and wishes.std is not None:
        return Normalization.given(wishes.mean, wishes.std, scale=wishes.scale, channels=channels)
    if recorded.normalization is not None and len(recorded.normalization.mean) == channels:
        if recorded.normalization_in == "graph":
            return Normalization.identity(channels)
        if recorded.normalization_in == "file":
            return recorded.normalization
    return _read(patient.graph.doc_string, channels) or _read(patient.model.doc_string, channels)


@repair("unit-scale", "EW405", safety="unsafe")
def unit_scale(patient: Patient) -> Changes:
    """Mean and scale that look meant for pixels 0..1 are brought to 0..255.

    That they are a mistake is likely, not certain: what the platform computes changes.
    """
    channels = patient.picture_input().channels
    found = _read(patient.graph.doc_string, channels)
    if found is not None and found.looks_like_unit_scale:
        scaled = Normalization.from_unit(found.mean, found.std)
        patient.graph.doc_string = scaled.to_doc_string()
        yield f"The graph's doc_string says {scaled.upload_form()}, it said {found.upload_form()}."


def _written(text: str, channels: int) -> str:
    """The normalisation in a text as it is written now; "" without one."""
    found = _read(text, channels)
    return found.to_doc_string() if found else ""


def _read(text: str, channels: int) -> Normalization | None:
    try:
        found = Normalization.from_doc_string(text)
        found.require(channels)
    except OptionError:
        return None
    return found


def reverse_normalization(patient: Patient) -> str:
    """Turn the file's own normalisation around; says what it is then, "" where there is none to turn."""
    try:
        found = Normalization.from_doc_string(patient.graph.doc_string)
    except OptionError:
        return ""
    if patient.wishes.mean is not None or len(set(zip(found.mean, found.std, strict=True))) == 1:
        return ""
    turned = Normalization(mean=found.mean[::-1], std=found.std[::-1])
    patient.graph.doc_string = turned.to_doc_string()
    record_normalization(patient, turned)
    return turned.upload_form()


def record_normalization(patient: Patient, normalization: Normalization) -> bool:
    """Let evidence that names a normalisation name this one; whether it said something else."""
    recorded, text = patient.recorded, normalization.to_doc_string()
    if recorded.normalization is None or (
        recorded.normalization.to_doc_string() == text and recorded.normalization_in == "file"
    ):
        return False
    for entry in patient.model.metadata_props:
        if entry.key == PREFIX + "normalization":
            entry.value = text
        if entry.key == PREFIX + "normalization_in":
            entry.value = "file"
    return True
