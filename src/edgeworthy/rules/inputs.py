"""Rules 2xx: the input."""

from __future__ import annotations

from edgeworthy.contract import (
    CHANNELS,
    INPUT_NAME,
    INPUT_NAME_WITHOUT_DASH,
    MASK_INPUT,
    NMS_INPUT,
    OPTIONAL_INPUTS,
    picture_size,
)
from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject

_WEIGHTS_APART = 4  # the IR version from which initialisers need not be inputs


def _sizes(subject: Subject) -> tuple[int | None, ...]:
    sizes = subject.picture.sizes
    if len(sizes) != 4:
        raise NotApplicableError("the input is not of rank 4 (EW205)")
    return sizes


@rule("EW201", "not-one-input", "error", 6, 11, mending="safe")
def not_one_input(subject: Subject) -> Findings:
    """There is one input, the picture.

    The platform feeds a picture, and knows two optional inputs by name; nothing feeds any other. Old
    exporters list their weights as inputs: those do not count here. A repair drops what no operator reads;
    an input that is read has to become a constant where the model is exported.

    Example: A model that takes a picture and a table of values; one that takes the picture alone instead.
    """
    pictures = [value.name for value in subject.inputs if value.name not in OPTIONAL_INPUTS]
    if len(pictures) != 1:
        listed = ", ".join(repr(name[:40]) for name in pictures[:4]) or "none"
        yield f"{len(pictures)} inputs that would have to be the picture: {listed}.", "input"


@rule("EW202", "input-name", "error", 6, mending="safe")
def input_name(subject: Subject) -> Findings:
    """The input carries the platform's name.

    The platform finds the picture's input by its name; under another it feeds nothing.

    Example: `input.1`, as torch names an input that nobody named; `image-` instead.
    """
    name = subject.picture.name
    if name not in {INPUT_NAME, INPUT_NAME_WITHOUT_DASH}:
        yield f"The input is named {name[:60]!r}, expected is {INPUT_NAME!r}.", "input"


@rule("EW203", "input-name-without-dash", "warning", 6, mending="safe")
def input_name_without_dash(subject: Subject) -> Findings:
    """The input's name ends with a dash.

    One page of the platform prints it without; its guide and every sample file write the dash.

    Example: `image`; `image-` instead.
    """
    if subject.picture.name == INPUT_NAME_WITHOUT_DASH:
        yield f"The input is named {INPUT_NAME_WITHOUT_DASH!r}, usual is {INPUT_NAME!r}.", "input"


@rule("EW204", "input-dtype", "error", 7, 19, mending="safe")
def input_dtype(subject: Subject) -> Findings:
    """The input is float32.

    The platform has no code for float16, and its reference runtime ends the process on one.

    Example: A float16 model whose input is float16; float32 at the border, with a Cast behind it, instead.
    """
    if subject.picture.dtype != "float32":
        yield f"The input's type is {subject.picture.dtype}, expected is float32.", "input"


@rule("EW205", "input-rank", "error", 7, mending="no")
def input_rank(subject: Subject) -> Findings:
    """The input has four dimensions.

    The platform feeds [1, C, H, W] or [1, H, W, C].

    Example: The shape [3, 224, 224]; [1, 3, 224, 224] instead.
    """
    shape = subject.picture.shape
    if shape is None or len(shape) != 4:
        yield (
            f"The input's shape is {'unknown' if shape is None else list(shape)}, expected [1, C, H, W].",
            "input",
        )


@rule("EW206", "input-channels", "error", 7, mending="no")
def input_channels(subject: Subject) -> Findings:
    """The picture has 1 or 3 channels.

    The platform sends grayscale or RGB.

    Example: The shape [1, 4, 224, 224] of a model for RGB and depth; [1, 3, 224, 224] instead.
    """
    sizes = _sizes(subject)
    known = sizes[1] is not None and sizes[3] is not None
    if known and sizes[1] not in CHANNELS and sizes[3] not in CHANNELS:
        yield (
            f"The input's shape {list(subject.picture.shape or ())} has no axis of 1 or 3 channels.",
            "input",
        )


@rule("EW207", "dynamic-size", "error", 8, mending="asks")
def dynamic_size(subject: Subject) -> Findings:
    """Channels, height and width are fixed.

    The platform resizes pictures to what the file says; a dynamic side says nothing.

    Example: The shape [1, 3, height, width]; [1, 3, 224, 224] instead.
    """
    if None in _sizes(subject)[1:]:
        yield f"The input's shape {list(subject.picture.shape or ())} is dynamic.", "input"


@rule("EW208", "batch-not-one", "error", 8, mending="safe")
def batch_not_one(subject: Subject) -> Findings:
    """The batch is fixed at 1.

    The platform feeds one picture at a time, and takes the shape literally.

    Example: The shape [batch, 3, 224, 224]; [1, 3, 224, 224] instead.
    """
    if _sizes(subject)[0] != 1:
        batch = (subject.picture.shape or ("?",))[0]
        yield f"The batch dimension is {batch!r}, expected is 1.", "input"


@rule("EW209", "ambiguous-layout", "warning", 9, mending="no")
def ambiguous_layout(subject: Subject) -> Findings:
    """It is clear which axis holds the channels.

    Accelerators guess the layout from the shape, some from the second axis, some from the last.

    Example: The shape [1, 3, 224, 3] of pictures three pixels wide; sides of more than 3 pixels instead.
    """
    sizes = _sizes(subject)
    if sizes[1] in CHANNELS and sizes[3] in CHANNELS:
        yield f"The shape {list(subject.picture.shape or ())} may be either layout.", "input"
    elif sizes[1] == 2 and sizes[3] in CHANNELS:
        yield f"The second axis of {list(subject.picture.shape or ())} may be taken for channels.", "input"


@rule("EW210", "transposed-size", "error", 10, mending="no")
def transposed_size(subject: Subject) -> Findings:
    """Height stands before width.

    The guide's own script writes width before height: harmless for squares, a transposed model for
    anything else. Only the file's evidence can tell.

    Example: The shape [1, 3, 320, 240] of a model that was trained on pictures 320 wide and 240 high; [1, 3,
    240, 320] instead.
    """
    frame = subject.recorded.frame
    if frame is None:
        raise NotApplicableError("the file's evidence names no frame")
    _, height, width = picture_size(_sizes(subject))
    if (height, width) != (frame.height, frame.width):
        yield f"The input is {height}x{width} px, the training's frame {frame.height}x{frame.width}.", "input"


@rule("EW211", "optional-input", "warning", 11, mending="no")
def optional_input(subject: Subject) -> Findings:
    """The platform's optional inputs have their type and shape.

    They are float32 [1] for the sensitivity, and BOOL [height, width] for the mask.

    Example: `mask-` of shape [1, 224, 224]; BOOL [224, 224] instead.
    """
    _, height, width = subject.picture_size
    expected = {NMS_INPUT: ("float32", (1,)), MASK_INPUT: ("bool", (height, width))}
    for value in subject.inputs:
        if value.name in expected and (value.dtype, value.sizes) != expected[value.name]:
            dtype, sizes = expected[value.name]
            yield (
                f"{value.name!r} is {value.dtype} {list(value.shape or ())}, expected {dtype} {list(sizes)}.",
                "input",
            )


@rule("EW212", "weights-as-inputs", "warning", 6, mending="safe")
def weights_as_inputs(subject: Subject) -> Findings:
    """No weight is also an input.

    Exporters of old listed every weight among the graph's inputs. ONNX Runtime then takes it for a value
    that a caller may replace and folds nothing into it, and tools that count inputs see more than one.

    Example: The inputs `image-`, `conv1.weight` and `conv1.bias`; `image-` alone instead.
    """
    if subject.model.ir_version < _WEIGHTS_APART:
        raise NotApplicableError(f"below IR version {_WEIGHTS_APART} weights have to be inputs (EW105)")
    fixed = {tensor.name for tensor in subject.model.graph.initializer}
    listed = [value.name for value in subject.model.graph.input if value.name in fixed]
    if listed:
        yield f"{len(listed)} of the inputs are the graph's own weights, first {listed[0][:60]!r}.", "input"


RULES = (
    not_one_input,
    input_name,
    input_name_without_dash,
    input_dtype,
    input_rank,
    input_channels,
    dynamic_size,
    batch_not_one,
    ambiguous_layout,
    transposed_size,
    optional_input,
    weights_as_inputs,
)
