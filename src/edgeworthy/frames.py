"""How a picture of any size becomes the model's input: the Frame, exact enough to repeat a pipeline.

A Frame describes geometry only; `images.py` carries it out. It travels in the ONNX file as JSON, so
the schema carries a version. Sizes are pixels; a resize target is one number for the shorter side or
a (height, width) pair. The rounding rules follow the libraries that they are named after:

===================  =========================================================================
`resize_rule`        size of the resized picture (h, w) for a target
===================  =========================================================================
shorter-truncate     torchvision `Resize(int)`: shorter side = target, longer = int(target * long / short)
cover-round          timm `ResizeKeepRatio(longest=0)`: ratio = min(h/th, w/tw); sides round(side / ratio)
contain-round        timm `ResizeKeepRatio(longest=1)`: ratio = max(h/th, w/tw); sides round(side / ratio)
exact                both sides as given: torchvision `Resize((h, w))`, Transformers' plain size
===================  =========================================================================

Where a crop leaves out an odd number of pixels, `centre` says what becomes of the half: `even` rounds the
offset to the even neighbour, as torchvision's and timm's `center_crop` do; `down`, as Transformers'.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from edgeworthy.errors import OptionError

SCHEMA_VERSION = 1
MAX_SIDE_PX = 16_384

Mode = Literal["crop", "letterbox", "stretch"]
ResizeRule = Literal["shorter-truncate", "cover-round", "contain-round", "exact"]
Centre = Literal["even", "down"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

MODES: tuple[Mode, ...] = get_args(Mode)
RESIZE_RULES: tuple[ResizeRule, ...] = get_args(ResizeRule)
CENTRES: tuple[Centre, ...] = get_args(Centre)
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Geometry from picture to model input.

    Attributes:
        mode: what happens to the aspect ratio: `crop` resizes and takes the centre, `letterbox` fits
            the whole picture and fills the rest, `stretch` ignores the ratio.
        height, width: the model's input in pixels.
        resize: the target of the resize before a centre crop: shorter side, or (height, width).
        resize_rule: how the target becomes a size; see the module's table.
        centre: how the offset of a centre crop is rounded.
        fill: 0..255 per channel, where a crop reaches beyond the picture or a letterbox has bars.
        interpolation: Pillow's filter of that name.
        antialias: whether the filter widens when it shrinks, as Pillow's always does.
        channel_order: order of the channels in the input tensor.

    Raises:
        OptionError: on a value outside these.
    """

    mode: Mode
    height: int
    width: int
    resize: int | tuple[int, int]
    resize_rule: ResizeRule
    centre: Centre = "even"
    fill: tuple[int, ...] = (0,)
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    channel_order: Literal["RGB", "L"] = "RGB"

    def __post_init__(self) -> None:
        _one_of("frame mode", self.mode, MODES)
        _one_of("resize rule", self.resize_rule, RESIZE_RULES)
        _one_of("centre", self.centre, CENTRES)
        _one_of("interpolation", self.interpolation, INTERPOLATIONS)
        _one_of("channel order", self.channel_order, ("RGB", "L"))
        if not self.fill or not all(isinstance(v, int) and 0 <= v <= 255 for v in self.fill):
            raise OptionError(f"The fill {self.fill} is not made of 0..255.")
        if not self.antialias:
            raise OptionError("A frame without antialiasing cannot be carried out: Pillow always does it.")
        sides = self.resize if isinstance(self.resize, tuple) else (self.resize,)
        if max(self.height, self.width, *sides) > MAX_SIDE_PX:
            raise OptionError(f"A frame of more than {MAX_SIDE_PX} px a side cannot be carried out.")
        if min(self.height, self.width, *sides) < 1:
            raise OptionError(
                f"A frame of {self.height}x{self.width} px, resized to {self.resize}, is empty."
            )
        if isinstance(self.resize, tuple) is (self.resize_rule == "shorter-truncate"):
            raise OptionError(f"The resize target {self.resize} does not go with {self.resize_rule!r}.")

    @property
    def channels(self) -> int:
        """Of the input."""
        return len(self.channel_order)

    @classmethod
    def letterbox(cls, height: int, width: int, **details: Any) -> Self:
        """What the platform does by default: the whole picture, centred on black."""
        size = (height, width)
        return cls(
            mode="letterbox", height=height, width=width, resize=size, resize_rule="contain-round", **details
        )

    @classmethod
    def stretch(cls, height: int, width: int, **details: Any) -> Self:
        """Both sides scaled to the input, whatever the aspect ratio."""
        size = (height, width)
        return cls(mode="stretch", height=height, width=width, resize=size, resize_rule="exact", **details)

    @classmethod
    def crop(cls, height: int, width: int, **details: Any) -> Self:
        """The largest centred part of the picture that has the input's aspect ratio."""
        size = (height, width)
        return cls(mode="crop", height=height, width=width, resize=size, resize_rule="cover-round", **details)

    def describe(self) -> str:
        """One line for a person."""
        if self.mode != "crop":
            return f"{self.mode} to {self.height}x{self.width}, {self.interpolation}"
        target = self.resize if isinstance(self.resize, int) else f"{self.resize[0]}x{self.resize[1]}"
        return f"resize {target} ({self.resize_rule}), crop {self.height}x{self.width}, {self.interpolation}"

    def to_json(self) -> str:
        """Compact JSON with the schema's version; keys sorted, so equal frames give equal text."""
        fields = {"schema": SCHEMA_VERSION, **asdict(self)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json` back.

        Raises:
            OptionError: where the text is not a frame of a schema that this version knows.
        """
        try:
            fields = json.loads(text)
            if fields.pop("schema") != SCHEMA_VERSION:
                raise OptionError("The frame was written by a later version.", hint="Upgrade edgeworthy.")
            fields["fill"] = tuple(fields["fill"])
            if isinstance(fields["resize"], list):
                fields["resize"] = tuple(fields["resize"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise OptionError(f"Not a frame: {text[:80]!r}.") from error


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"Unknown {what} {value!r}.", hint=f"Use one of: {', '.join(allowed)}.")
