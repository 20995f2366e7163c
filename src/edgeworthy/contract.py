"""The platform's contract: the only home of its names, keys and bounds.

Numbers in brackets are rows of docs/contract.md, where each requirement stands with its source.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from edgeworthy.errors import ClassNamesError, OptionError
from edgeworthy.labels import ClassNames, join_entries, split_entries

INPUT_NAME = "image-"  # [6]
INPUT_NAME_WITHOUT_DASH = "image"  # [6] printed by one page of the platform's documentation
OUTPUT_PREFIX = "scores-"  # [12]
MASK_INPUT = "mask-"  # [11] BOOL [H, W]
NMS_INPUT = "nms_sensitivity-"  # [11] float32 [1]
OPTIONAL_INPUTS = (NMS_INPUT, MASK_INPUT)
ALARM_PREFIX = "alarm-"  # [20] BOOL [1, C]
BOXES_PREFIX = "bboxes-format:xyxysc;"  # [20] float32 [N, 6]

MAX_OPSET = 17  # [1]
MIN_OPSET = 12  # [1] the oldest that the vendor's checker accepts
DEFAULT_OPSET = 16  # [2] the newest that every published runtime of the platform loads
MAX_IR_VERSION = 10  # [2]
MIN_IR_VERSION = 7  # [2]
DEFAULT_IR_VERSION = 8  # [2]
MAX_FILE_BYTES = 2**31 - 1  # [4] protobuf's own limit for one message
CHANNELS = (1, 3)  # [7] grayscale, RGB
SUM_TOLERANCE = 1e-3  # [14] the probabilities of one picture sum to 1 within this

_MEANS_KEY = "means"  # [22]
_STDS_KEY = "vars"  # [22] the platform's word; the values are standard deviations

Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """`(pixel - mean) / std` per channel, in RGB order, pixels 0..255 [21].

    Attributes:
        mean, std: on the 0..255 scale, one value a channel.

    Raises:
        OptionError: on lists of different length, and on a zero, negative or non-finite std [23].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise OptionError(
                f"{len(self.mean)} means and {len(self.std)} stds.", hint="Give one of each a channel."
            )
        if not all(map(math.isfinite, self.mean)):
            raise OptionError(f"The mean {list(self.mean)} is not finite.")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise OptionError(f"The std {list(self.std)} is not above zero and finite throughout.")

    @classmethod
    def from_unit(cls, mean: Sequence[float], std: Sequence[float]) -> Self:
        """From values on the 0..1 scale, as the training libraries write them."""
        return cls(mean=tuple(255 * float(v) for v in mean), std=tuple(255 * float(v) for v in std))

    @classmethod
    def guess_scale(cls, mean: Sequence[float], std: Sequence[float], scale: int | None = None) -> Self:
        """From values on either scale.

        Any value over 2 means 0..255; all means in [0, 1] with all stds in (0, 1) mean 0..1; anything
        else is not settled by the numbers (0 and 1, say; or means of one scale with stds of the other) and
        needs `scale`, 1 or 255.

        Raises:
            OptionError: where the scale cannot be told and is not given.
        """
        values = [*mean, *std]
        if not all(value > 0 for value in std):
            raise OptionError(f"The std {list(std)} is not above zero throughout.")
        if scale == 1 and any(value > 2 for value in values):
            raise OptionError(f"Mean {list(mean)} and std {list(std)} cannot be meant for pixels 0..1.")
        if scale is None and any(value > 2 for value in values) and not _are_mixed(mean, std):
            scale = 255
        if scale is None and all(0 <= v <= 1 for v in mean) and all(0 < v < 1 for v in std):
            scale = 1
        if scale == 255:
            return cls(mean=tuple(map(float, mean)), std=tuple(map(float, std)))
        if scale == 1:
            return cls.from_unit(mean, std)
        raise OptionError(
            f"Mean {list(mean)} and std {list(std)} may be meant for pixels 0..1 or 0..255.",
            hint="Say which: --scale 1 or --scale 255.",
        )

    @classmethod
    def given(
        cls, mean: Sequence[float] | float, std: Sequence[float] | float, *, scale: int | None, channels: int
    ) -> Self:
        """From what a user gives: one value for all channels or one each, on either scale.

        Raises:
            OptionError: where the scale cannot be told, or there is not one value a channel.
        """
        normalization = cls.guess_scale(_per_channel(mean, channels), _per_channel(std, channels), scale)
        normalization.require(channels)
        return normalization

    def require(self, channels: int) -> None:
        """Stop where there is not one value a channel [23].

        Raises:
            OptionError: in that case.
        """
        if len(self.mean) != channels:
            raise OptionError(
                f"{len(self.mean)} values of mean and std for {channels} channels.",
                hint="Give one value a channel with --mean and --std.",
            )

    @classmethod
    def identity(cls, channels: int) -> Self:
        """What a file carves whose graph normalises by itself: means 0, stds 1 [24]."""
        return cls(mean=(0.0,) * channels, std=(1.0,) * channels)

    @property
    def is_identity(self) -> bool:
        """Whether nothing is left for the platform to do."""
        return not any(self.mean) and all(value == 1 for value in self.std)

    @property
    def looks_like_unit_scale(self) -> bool:
        """Whether the values look as if 0..1 was meant: all at most 1, but for 0 and 1 themselves."""
        return not self.is_identity and all(0 <= v <= 1 for v in self.mean) and max(self.std) <= 1

    def to_doc_string(self) -> str:
        """The JSON text that the platform reads from the graph's doc_string [22]."""
        return json.dumps({_MEANS_KEY: _tidy(self.mean), _STDS_KEY: _tidy(self.std)})

    @classmethod
    def from_doc_string(cls, text: str) -> Self:
        """Read `to_doc_string` back.

        Raises:
            OptionError: on anything but JSON with the two lists of numbers, or on values out of range.
        """
        means, stds = read_lists(text)
        return cls(mean=tuple(means), std=tuple(stds))

    def upload_form(self) -> str:
        """What to type into the platform's upload form [22]."""
        return f"means {', '.join(map(_short, self.mean))} · vars {', '.join(map(_short, self.std))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a file promises the platform.

    Attributes:
        class_names: in the order of the scores.
        channels, height_px, width_px: of the input picture.
        layout: order of the input's axes behind the batch.
        normalization: what the platform shall do to pixels, or None where it is typed at upload.
        opset, ir_version: of the file.
    """

    class_names: ClassNames
    channels: int
    height_px: int
    width_px: int
    layout: Layout = "nchw"
    normalization: Normalization | None
    opset: int = DEFAULT_OPSET
    ir_version: int = DEFAULT_IR_VERSION

    @property
    def input_name(self) -> str:
        """The one input's name [6]."""
        return INPUT_NAME

    @property
    def output_name(self) -> str:
        """The one output's name, which carries the classes [12]."""
        return output_name(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Static, batch 1, height before width [7, 8, 10]."""
        if self.layout == "nhwc":
            return (1, self.height_px, self.width_px, self.channels)
        return (1, self.channels, self.height_px, self.width_px)


def output_name(names: ClassNames) -> str:
    """The output's name for these classes: `scores-0:Cat;1:Dog` [12]."""
    return OUTPUT_PREFIX + join_entries(names)


def read_output_name(name: str) -> list[tuple[int, str]]:
    """Ids and names out of an output's name.

    Raises:
        ClassNamesError: where it is no such name.
    """
    if not name.startswith(OUTPUT_PREFIX):
        raise ClassNamesError(f'The output\'s name {name[:60]!r} does not begin with "{OUTPUT_PREFIX}".')
    return split_entries(name.removeprefix(OUTPUT_PREFIX))


def read_lists(text: str) -> tuple[list[float], list[float]]:
    """Means and scales out of a graph's doc_string, of whatever length and value [22].

    Raises:
        OptionError: on anything but JSON with the two lists of numbers.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"The graph's doc_string is not JSON: {text[:60]!r}.") from error
    lists = [fields.get(key) if isinstance(fields, dict) else None for key in (_MEANS_KEY, _STDS_KEY)]
    if not all(_is_numbers(values) for values in lists):
        raise OptionError(
            f"The graph's doc_string lacks number lists {_MEANS_KEY!r} and {_STDS_KEY!r}: {text[:60]!r}."
        )
    try:
        means, stds = ([float(value) for value in values or ()] for values in lists)
    except OverflowError as error:
        raise OptionError("The graph's doc_string holds a number beyond any float.") from error
    return means, stds


def picture_input(names: Sequence[str]) -> int | None:
    """Which of the inputs takes the picture: the only one that is not optional on the platform [11]."""
    candidates = [index for index, name in enumerate(names) if name not in OPTIONAL_INPUTS]
    return candidates[0] if len(candidates) == 1 else None


def scores_output(names: Sequence[str]) -> int | None:
    """Which of the outputs carries the classes: the first with such a name [12]."""
    return next((index for index, name in enumerate(names) if name.startswith(OUTPUT_PREFIX)), None)


def layout_of(shape: Sequence[int | None]) -> Layout | None:
    """The layout of a rank-4 input; the channels of NCHW win, as in the platform's toolchains [9]."""
    if len(shape) != 4:
        return None
    if shape[1] in CHANNELS:
        return "nchw"
    return "nhwc" if shape[3] in CHANNELS else None


def picture_size(shape: Sequence[int | None]) -> tuple[int | None, int | None, int | None]:
    """(channels, height, width) of a rank-4 input in either layout; NCHW where neither fits."""
    if layout_of(shape) == "nhwc":
        return shape[3], shape[1], shape[2]
    return shape[1], shape[2], shape[3]


def _are_mixed(mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether one of them must be meant for pixels 0..255, and the other one looks like 0..1."""
    unit_std = max(std) < 1 and max(mean) > 2
    unit_mean = max(std) > 2 and 0 < max(mean) <= 1 and min(mean) >= 0
    return unit_std or unit_mean


def _per_channel(values: Sequence[float] | float, channels: int) -> Sequence[float]:
    listed = [values] if isinstance(values, int | float) else list(values)
    return listed * channels if len(listed) == 1 else listed


def _is_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _tidy(values: Sequence[float]) -> list[float | int]:
    rounded = (round(value, 6) for value in values)
    return [int(value) if value == int(value) else value for value in rounded]


def _short(value: float) -> str:
    return f"{value:.6g}"
