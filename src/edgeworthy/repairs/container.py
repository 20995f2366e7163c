"""Repairs of the file itself: where its weights are, its versions, what is not of the standard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.contract import (
    DEFAULT_IR_VERSION,
    DEFAULT_OPSET,
    MAX_FILE_BYTES,
    MAX_OPSET,
    MIN_IR_VERSION,
    MIN_OPSET,
)
from edgeworthy.errors import IrreparableError
from edgeworthy.model import nodes_of, opset_of, tensors_of
from edgeworthy.opset import ValueFacts, convert
from edgeworthy.repairs.base import Changes, repair

if TYPE_CHECKING:
    from edgeworthy.repairs.patient import Patient

STANDARD = {"", "ai.onnx"}
MACHINE_LEARNING = "ai.onnx.ml"
EXTERNAL = 1  # TensorProto.DataLocation


@repair("custom-operators", "EW106")
def custom_operators(patient: Patient) -> Changes:
    """Functions that the model itself defines are replaced by what they are made of.

    The standard's own domain is written as the checker wants it, without its name. What is left of other
    domains has no definition in the file, and cannot be mended.
    """
    spelled = [node for node in nodes_of(patient.model) if node.domain == "ai.onnx"]
    for entry in (*spelled, *patient.model.opset_import):
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    if spelled:
        yield f"{len(spelled)} nodes name the standard's domain in full, and no longer do."
    if patient.model.functions:
        count = len(patient.model.functions)
        patient.inlined()
        yield f"{count} functions of the model's own are replaced by what they are made of."
    for node in nodes_of(patient.model):
        if node.domain not in {*STANDARD, MACHINE_LEARNING}:
            raise IrreparableError(
                f"The operator {node.domain}.{node.op_type} (node {node.name[:40]!r}) is not of the ONNX "
                "standard, and the file does not define it.",
                hint="Export the model without it, or without the optimisations of one runtime.",
            )


@repair("external-data", "EW108")
def external_data(patient: Patient) -> Changes:
    """Weights that lie in other files are taken into the file.

    Only files beside the model are read, at the places and of the lengths that the model names.
    """
    external = [tensor for tensor in tensors_of(patient.model) if tensor.data_location == EXTERNAL]
    total = patient.model.ByteSize() + sum(map(_length, external))
    if external and total > MAX_FILE_BYTES:
        raise IrreparableError(
            f"With its weights inside, the file would have {total} bytes, it ends at {MAX_FILE_BYTES}."
        )
    for tensor in external:
        tensor.raw_data = _content(patient.folder, tensor)
        tensor.data_location = 0
        del tensor.external_data[:]
    if external:
        yield f"{len(external)} tensors are taken in from other files."


def _length(tensor: Any) -> int:
    from onnx import helper

    try:
        size: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError as error:
        raise IrreparableError(f"The tensor {tensor.name[:60]!r} has an unknown type.") from error
    return size * math.prod(map(int, tensor.dims))


def _content(folder: Path, tensor: Any) -> bytes:
    """A tensor's bytes from the file that it names, which must lie in the model's folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    name, path = f"The tensor {tensor.name[:60]!r}", Path(location)
    if not location or path.is_absolute() or ".." in path.parts:
        raise IrreparableError(
            f"{name} points outside the model's folder: {location[:80]!r}.",
            hint="Export the model again, with its weights beside it.",
        )
    path = folder / path
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # no file can have such a name
        raise IrreparableError(f"{name} lies in {location[:80]!r}, which is no name of a file.") from error
    if not there:
        raise IrreparableError(
            f"The weights are missing: {name.lower()} lies in {location[:80]!r}, which is not there.",
            hint="Put that file beside the model, or export the model again.",
        )
    length = _length(tensor)
    try:
        stated = int(entries.get("length") or length)
        with path.open("rb") as stream:
            stream.seek(int(entries.get("offset") or 0))
            content: bytes = stream.read(length)
    except (OSError, ValueError) as error:
        raise IrreparableError(f"{name} cannot be read from {location[:80]!r}: {error}.") from error
    if len(content) != length or stated != length:
        raise IrreparableError(f"{name} needs {length} bytes of {location[:80]!r}, which has not as many.")
    return content


@repair("weights-as-inputs", "EW212")
def weights_as_inputs(patient: Patient) -> Changes:
    """Initialisers are no longer listed as inputs.

    Files before IR version 4 had to list them; nobody feeds them, and ONNX Runtime then computes with
    them as if they might change.
    """
    fixed = {tensor.name for tensor in patient.graph.initializer}
    listed = [value for value in patient.graph.input if value.name in fixed]
    for value in listed:
        patient.graph.input.remove(value)
    if listed:
        patient.border.exact = False  # what is constant, the runtime lays out and computes otherwise
        yield f"{len(listed)} weights are no longer listed as inputs."


@repair("ir-version", "EW103", "EW104", "EW105")
def ir_version(patient: Patient) -> Changes:
    """The IR version is one that every runtime of the platform loads.

    The number says how the file is written, not what it computes; what newer versions add is not used at
    opset 17 and below.
    """
    before = patient.model.ir_version
    if not MIN_IR_VERSION <= before <= DEFAULT_IR_VERSION:
        patient.model.ir_version = DEFAULT_IR_VERSION
        for node in nodes_of(patient.model):
            del node.metadata_props[:]
        yield f"The IR version is {DEFAULT_IR_VERSION}, it was {before}."


@repair("opset", "EW101", "EW102", "EW113", "EW601")
def opset(patient: Patient) -> Changes:
    """The graph is converted to an opset that the platform takes.

    Operator by operator, exactly; opset 16 if it was above 17, 12 if it was below, or the one that is
    asked for. Opset 17 stays unless another is asked for, or --strict is: a few old runtimes lack it.
    """
    before = opset_of(patient.model)
    if before is None:
        raise IrreparableError("The file names no opset: its operators have no meaning.")
    target = patient.wishes.opset or _nearest(before, strict=patient.strict)
    if target == before:
        return
    facts = {name: ValueFacts(dtype=dtype, shape=shape) for name, (dtype, shape) in patient.facts.items()}
    patient.replace_model(convert(patient.model, target, facts))
    del patient.graph.value_info[:]
    patient.border.exact = False
    yield f"The opset is {target}, it was {before}."


def _nearest(opset: int, *, strict: bool) -> int:
    if opset > (DEFAULT_OPSET if strict else MAX_OPSET):
        return DEFAULT_OPSET
    return max(opset, MIN_OPSET)
