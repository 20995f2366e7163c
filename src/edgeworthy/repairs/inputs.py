"""Repairs of the input: one picture, of a fixed size, as float32, under the platform's name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.contract import INPUT_NAME, OPTIONAL_INPUTS, layout_of
from edgeworthy.errors import IrreparableError
from edgeworthy.evidence import repairs_of
from edgeworthy.graph import attribute_value, constant, readers, redirect
from edgeworthy.model import dtype_name, metadata_of, tensor_shape
from edgeworthy.repairs.base import Changes, repair
from edgeworthy.repairs.metadata import reverse_normalization

if TYPE_CHECKING:
    from onnx import NodeProto

    from edgeworthy.repairs.border import Array
    from edgeworthy.repairs.patient import Patient

# Sides of usual input sizes in px; tried where the graph alone decides, the commonest first.
_USUAL_SIDES = (
    224,
    256,
    32,
    28,
    64,
    96,
    112,
    128,
    160,
    192,
    240,
    260,
    288,
    299,
    300,
    320,
    331,
    380,
    384,
    448,
    512,
)
_TO_PLANES, _TO_PIXELS = [0, 3, 1, 2], [0, 2, 3, 1]


@repair("unread-inputs", "EW201")
def unread_inputs(patient: Patient) -> Changes:
    """Inputs that no operator reads are dropped.

    Nothing feeds them on the platform.
    """
    unread = [
        value
        for value in patient.inputs
        if value.name not in OPTIONAL_INPUTS and not readers(patient.graph, value.name)
    ]
    if len(unread) < len(patient.inputs):
        for value in unread:
            patient.graph.input.remove(value)
            yield f"The input {value.name[:40]!r}, which nothing reads, is dropped."


@repair("dynamic-size", "EW207", "EW208")
def dynamic_size(patient: Patient) -> Changes:
    """Batch, channels, height and width are fixed.

    The batch is 1. Height and width are those that are asked for, those of the file's evidence, or the only
    usual ones on which the graph runs.
    """
    before = tensor_shape(patient.picture)
    batch = patient.sizes[0]
    _set_size(patient, *_wanted_size(patient))
    if batch is not None and batch > 1:
        _split_off(patient, batch)
    if tensor_shape(patient.picture) != before:
        del patient.graph.value_info[:]
        patient.changed()
        yield f"The input's shape is {patient.sizes and list(patient.sizes)}, it was {list(before or ())}."


def _wanted_size(patient: Patient) -> tuple[int, int | None, int | None]:
    picture, wished = patient.picture_input(), patient.wishes.input_size
    found = (picture.channels, picture.height, picture.width)
    frame = patient.recorded.frame
    known = wished or (frame and (frame.channels, frame.height, frame.width)) or (None, None, None)
    for has, want in zip(found, known, strict=True):
        if has is not None and want is not None and has != want:
            if wished is None:
                return found
            raise IrreparableError(
                f"The input takes {_sides(found)}, asked for was {_sides(wished)}; a fixed size stays.",
                hint="Leave --input-size out, or export the model again.",
            )
    return picture.channels, picture.height or known[1], picture.width or known[2]


def _sides(size: tuple[int | None, ...]) -> str:
    return "x".join("?" if side is None else str(side) for side in size)


def _set_size(patient: Patient, channels: int, height: int | None, width: int | None) -> None:
    layout = patient.picture_input().layout
    if height and width:
        open_ended = patient.sizes[1:] == (None, None, None)
        _declare(patient, layout, channels, height, width)
        if open_ended and not patient.runs():  # then the channels may be last
            _declare(patient, "nhwc", channels, height, width)
        return
    fitting: list[tuple[int, int]] = []
    for side in _USUAL_SIDES:
        size = (height or side, width or side)
        _declare(patient, layout, channels, *size)
        if patient.runs():
            fitting.append(size)
        if len(fitting) > 1:
            break
    if len(fitting) != 1:
        which = f"{' and '.join(map(_sides, fitting))} px, among others" if fitting else "no usual one"
        raise IrreparableError(
            f"The input's size is dynamic, and the graph runs on {which}.",
            hint="Give the size that the model was trained with: --input-size C H W.",
        )
    _declare(patient, layout, channels, *fitting[0])


def _declare(patient: Patient, layout: str, channels: int, height: int, width: int) -> None:
    shape = (1, channels, height, width) if layout == "nchw" else (1, height, width, channels)
    dims = patient.picture.type.tensor_type.shape.dim
    for dim, size in zip(dims, shape, strict=True):
        dim.Clear()
        dim.dim_value = size
    patient.changed()


def _split_off(patient: Patient, batch: int) -> None:
    """Let the graph work on one picture where it was made for a fixed batch."""
    from onnx import numpy_helper

    patient.batch = batch
    for node in [node for node in patient.graph.node if node.op_type == "Reshape"]:
        shape = constant(patient.graph, node.input[1])
        of_weights = constant(patient.graph, node.input[0]) is not None
        if shape is not None and shape.size and shape[0] == batch and not of_weights:
            name = patient.name("one_picture")
            one = np.concatenate([[1], shape[1:]]).astype(np.int64)
            patient.graph.initializer.append(numpy_helper.from_array(one, name))
            node.input[1] = name
    patient.border.inward(lambda pictures: np.repeat(pictures, batch, axis=1))
    patient.border.outward(lambda answers: answers[:, :1])


@repair("input-type", "EW204")
def input_type(patient: Patient) -> Changes:
    """The input is float32; a Cast makes of it what the graph was made for.

    Where that is whole numbers, pixels 0..255 arrive as they are: the normalisation is then none.
    """
    from onnx import TensorProto, helper

    value = patient.picture
    code, name = value.type.tensor_type.elem_type, dtype_name(value)
    if code == TensorProto.FLOAT:
        return
    if code not in _CASTABLE:
        raise IrreparableError(f"The input's type is {name}, which no picture can be turned into.")
    before: Any = helper.tensor_dtype_to_np_dtype(code)
    if np.issubdtype(before, np.integer):
        if np.iinfo(before).min > 0 or np.iinfo(before).max < 255:
            raise IrreparableError(
                f"The input's type is {name}, which pixels 0..255 do not fit into.",
                hint="The file does not say how pixels become such numbers: export it with float32.",
            )
        patient.raw_pixels = True
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    result = patient.name("typed_image")
    patient.put_before([helper.make_node("Cast", [value.name], [result], to=code)], result)
    patient.border.inward(lambda pictures: pictures.astype(before), rounds=before == np.float16)
    patient.border.exact = False
    yield f"The input is float32, it was {name}; a Cast follows."


_CASTABLE = (2, 3, 4, 5, 6, 7, 10, 11, 12, 13)  # TensorProto's whole numbers, float16 and double


@repair("layout")
def layout(patient: Patient) -> Changes:
    """The order of the input's axes is the one that is asked for.

    A Transpose is put in front, or taken away where the graph begins with one.
    """
    picture, wanted = patient.picture_input(), patient.wishes.layout
    if wanted is None or wanted == picture.layout:
        return
    height, width = picture.height or 0, picture.width or 0
    back = _TO_PIXELS if wanted == "nchw" else _TO_PLANES
    if not _begins_with(patient, back):
        _transpose_first(patient, back)
    _declare(patient, wanted, picture.channels, height, width)
    if layout_of(patient.sizes) != wanted:
        raise IrreparableError(
            f"As {wanted}, the shape {list(patient.sizes)} would be taken for the other layout."
        )
    permutation = [0, *(axis + 1 for axis in back)]
    patient.border.inward(lambda pictures: np.ascontiguousarray(pictures.transpose(permutation)))
    patient.border.exact = False
    yield f"The input is {wanted}, it was {picture.layout}."


def _begins_with(patient: Patient, back: list[int]) -> bool:
    """Take away the Transposes that undo what would be put in front of them."""
    undoing = _TO_PLANES if back == _TO_PIXELS else _TO_PIXELS
    first = readers(patient.graph, patient.picture.name)
    if not first or any(
        node.op_type != "Transpose"
        or attribute_value(node, "perm") != undoing
        or node not in patient.graph.node
        for node in first
    ):
        return False
    for node in first:
        patient.graph.node.remove(node)
        redirect(patient.graph, node.output[0], patient.picture.name)
    patient.changed()
    return True


def _transpose_first(patient: Patient, permutation: list[int]) -> None:
    from onnx import helper

    result = patient.name("laid_out_image")
    node = helper.make_node("Transpose", [patient.picture.name], [result], perm=permutation)
    patient.put_before([node], result)


@repair("bgr", safety="unsafe")
def bgr(patient: Patient) -> Changes:
    """A model that was trained on BGR pictures takes RGB.

    The weights of its first convolutions are permuted, or the channels where it begins with something else.
    No file says in which order it was trained: on the word of the user only. A normalisation that the file
    carries is turned around with it; one that is asked for is in the order RGB.
    """
    if any("bgr" in record["repairs"] for record in repairs_of(metadata_of(patient.model))):
        raise IrreparableError("The file's evidence says that it was turned from BGR to RGB already.")
    picture = patient.picture_input()
    if picture.channels != 3:
        raise IrreparableError(f"The input has {picture.channels} channels, BGR has 3.")
    if picture.layout == "nchw" and _permuted(patient, list(_first_convolutions(patient))):
        how = "the weights of its first convolution are permuted"
    else:
        _gather_first(patient, 1 if picture.layout == "nchw" else 3)
        how = "its channels are turned around first"
    axis = 2 if picture.layout == "nchw" else 4
    patient.border.inward(lambda pictures: np.ascontiguousarray(np.flip(pictures, axis)))
    patient.border.exact = False
    yield f"The model takes RGB: {how}."
    turned = reverse_normalization(patient)
    if turned:
        yield f"The graph's doc_string was in the order BGR, too; it says {turned}."


def _first_convolutions(patient: Patient) -> Iterator[tuple[NodeProto, Array]]:
    """The convolutions that read the picture with constant weights of their own; nothing where others do."""
    first = readers(patient.graph, patient.picture.name)
    found = []
    for node in first:
        weight = constant(patient.graph, node.input[1]) if node.op_type == "Conv" else None
        group = attribute_value(node, "group", 1)
        if weight is None or group != 1 or len(readers(patient.graph, node.input[1])) > 1:
            return
        found.append((node, weight))
    yield from found


def _permuted(patient: Patient, convolutions: list[tuple[NodeProto, Array]]) -> bool:
    from onnx import numpy_helper

    for node, weight in convolutions:
        name = patient.name("rgb_weight")
        values = np.ascontiguousarray(weight[:, ::-1])
        patient.graph.initializer.append(numpy_helper.from_array(values, name))
        node.input[1] = name
    return bool(convolutions)


def _gather_first(patient: Patient, axis: int) -> None:
    from onnx import helper, numpy_helper

    order, result = patient.name("rgb_order"), patient.name("rgb_image")
    patient.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), order))
    node = helper.make_node("Gather", [patient.picture.name, order], [result], axis=axis)
    patient.put_before([node], result)


@repair("input-name", "EW202", "EW203")
def input_name(patient: Patient) -> Changes:
    """The input has the name by which the platform finds it."""
    before = patient.picture.name
    if before != INPUT_NAME:
        patient.rename(before, INPUT_NAME)
        yield f"The input is named {INPUT_NAME!r}, it was {before[:60]!r}."
