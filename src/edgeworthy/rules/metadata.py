"""Rules 4xx: the normalisation that the file carries."""

from __future__ import annotations

import json
import math
from typing import Any

from edgeworthy.contract import Normalization, read_lists
from edgeworthy.errors import OptionError
from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject


def _text(subject: Subject) -> str:
    text: str = subject.model.graph.doc_string
    if not text.strip():
        raise NotApplicableError("the graph's doc_string is empty (EW401)")
    return text


def _lists(subject: Subject) -> tuple[list[float], list[float]]:
    try:
        return read_lists(_text(subject))
    except OptionError as error:
        raise NotApplicableError("the doc_string has no two lists of numbers (EW402)") from error


@rule("EW401", "no-normalization", "warning", 22, mending="asks")
def no_normalization(subject: Subject) -> Findings:
    """The graph's doc_string carries mean and scale.

    Without them somebody has to type the values into the upload form, and right.

    Example: An empty doc_string; JSON with the means 123.675, 116.28, 103.53 and the vars 58.395, 57.12,
    57.375 instead.
    """
    if not subject.model.graph.doc_string.strip():
        yield "The graph's doc_string is empty: the values must be typed at upload.", "doc_string"


@rule("EW402", "unreadable-normalization", "error", 22, mending="asks")
def unreadable_normalization(subject: Subject) -> Findings:
    """The graph's doc_string is JSON with two lists of numbers.

    Anything else there is taken for a broken normalisation.

    Example: `Exported by torch`; JSON with `means` and `vars` instead.
    """
    try:
        read_lists(_text(subject))
    except OptionError as error:
        yield error.message, "doc_string"


@rule("EW403", "normalization-length", "error", 23, mending="asks")
def normalization_length(subject: Subject) -> Findings:
    """There is one mean and one scale for each channel.

    The platform computes channel by channel.

    Example: The means `[127.5]` for three channels; `[127.5, 127.5, 127.5]` instead.
    """
    means, stds = _lists(subject)
    channels = subject.picture_size[0]
    if (len(means), len(stds)) != (channels, channels):
        yield f"{len(means)} means and {len(stds)} scales for {channels} channels.", "doc_string"


@rule("EW404", "normalization-zero", "error", 23, mending="asks")
def normalization_zero(subject: Subject) -> Findings:
    """Every scale is above zero, every value finite.

    The platform divides by the scale.

    Example: The vars `[0, 0, 0]`; `[255, 255, 255]` for pixels that shall merely be scaled to 0..1 instead.
    """
    means, stds = _lists(subject)
    if not all(map(math.isfinite, [*means, *stds])) or any(std <= 0 for std in stds):
        yield (
            f"Means {means[:4]} and scales {stds[:4]} are not all finite with scales above zero.",
            "doc_string",
        )


@rule("EW405", "normalization-unit-scale", "warning", 21, 22, mending="unsafe")
def normalization_unit_scale(subject: Subject) -> Findings:
    """Mean and scale are meant for pixels 0..255.

    Training libraries write them for 0..1; the platform's pixels reach 255, and every picture then
    looks white to the model.

    Example: The means `[0.485, 0.456, 0.406]`; `[123.675, 116.28, 103.53]` instead.
    """
    normalization = subject.normalization
    if normalization.looks_like_unit_scale:
        yield f"{normalization.upload_form()} look like values for pixels 0..1: times 255?", "doc_string"


@rule("EW406", "normalization-misplaced", "warning", 22, mending="safe")
def normalization_misplaced(subject: Subject) -> Findings:
    """The normalisation stands on the graph, not on the model.

    ONNX has a doc_string on both; the platform reads the graph's.

    Example: The values in `ModelProto.doc_string`; in `GraphProto.doc_string` instead.
    """
    if not subject.model.graph.doc_string.strip() and _is_normalization(subject.model.doc_string):
        yield (
            "The model's doc_string carries the normalisation; the platform reads the graph's.",
            "doc_string",
        )


@rule("EW407", "normalization-not-the-trainings", "error", 22, 24, mending="safe")
def normalization_not_the_trainings(subject: Subject) -> Findings:
    """The normalisation is the one that the file's evidence records.

    Evidence says what the model was trained with, and whether the graph does it by itself. Other values
    in the doc_string, or none after a tool has erased it, give other predictions than the proven ones.

    Example: A file that OnnxSlim has simplified: its doc_string is gone, its evidence still there.
    """
    recorded = subject.recorded
    if recorded.normalization is None or recorded.normalization_in not in {"file", "graph"}:
        raise NotApplicableError("the file's evidence names no normalisation to find in it")
    expected = recorded.normalization
    if recorded.normalization_in == "graph":
        expected = Normalization.identity(len(expected.mean))
    try:
        found = Normalization.from_doc_string(subject.model.graph.doc_string)
    except OptionError:
        yield f"The file says nothing usable, its evidence {expected.upload_form()}.", "doc_string"
        return
    if found.to_doc_string() != expected.to_doc_string():
        yield (
            f"The file says {found.upload_form()}, its evidence {expected.upload_form()}.",
            "doc_string",
        )


def _is_normalization(text: Any) -> bool:
    try:
        json.loads(text)
        Normalization.from_doc_string(text)
    except (ValueError, RecursionError, OptionError):
        return False
    return True


RULES = (
    no_normalization,
    unreadable_normalization,
    normalization_length,
    normalization_zero,
    normalization_unit_scale,
    normalization_misplaced,
    normalization_not_the_trainings,
)
