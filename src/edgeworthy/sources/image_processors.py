"""Transformers' image processors as a normalisation and a Frame: derived from their settings, then tried."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from edgeworthy.contract import Normalization
from edgeworthy.errors import EdgeworthyError, first_line
from edgeworthy.frames import INTERPOLATIONS, Frame, Interpolation, ResizeRule
from edgeworthy.silence import quiet
from edgeworthy.sources.base import InputSize
from edgeworthy.sources.imagegpt import Clusters, clusters_of
from edgeworthy.sources.processor_trials import UnlikeError, try_frame, try_normalization

_KIND = re.compile(r"\w+(?:ImageProcessor|FeatureExtractor)(?:Pil|Fast)?")
_TIMM = "TimmWrapperImageProcessor"
_UNLIKE = {
    "DonutImageProcessor": "it fits the picture onto a canvas in two resizes",
    "PerceiverImageProcessor": "it crops before it resizes",
    "Siglip2ImageProcessor": "it keeps each picture's proportions, as far as whole patches allow",
    "TextNetImageProcessor": "it rounds each picture's own size to a multiple of a number",
}
_KNOWN = re.compile(
    r"(Beit|Bit|Blip|CLIP|ChineseCLIP|ConvNext|DeiT|Donut|EfficientNet|ImageGPT|Levit|MobileNetV1|MobileNetV2|MobileViT|"
    r"PPLCNet|Perceiver|PoolFormer|Pvt|Segformer|Siglip2?|TextNet|ViT)ImageProcessor"
)
_OF_TOKENS = "ImageGPTImageProcessor"
_MAX_PX = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What an image processor does to a picture; None where it cannot be said exactly.

    Attributes:
        input_size: (channels, height px, width px).
        normalization: on the 0..255 scale, in RGB order.
        frame_at: the geometry, for an input size.
        flips_channels: whether the model takes BGR; mean and std are in RGB order all the same.
        clusters: the colour of each token, where the model takes tokens; see `imagegpt.clusters_of`.
        notes: why something is None, and what else the user should know.
    """

    input_size: InputSize | None = None
    normalization: Normalization | None = None
    frame_at: Callable[[InputSize], Frame] | None = None
    flips_channels: bool = False
    clusters: Clusters = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Geometry:
    """Resize to a target by a rule of `frames.py`, then take the centre (height, width)."""

    resize: int | tuple[int, int]
    rule: ResizeRule
    crop: tuple[int, int]
    details: dict[str, Any] = field(default_factory=dict)

    def frame_at(self, size: InputSize) -> Frame:
        """For another input size the ratio of target and crop stays.

        Where the shorter side was the target, and the input has another aspect ratio, the picture is resized
        until it covers as much.
        """
        _, height, width = size
        if self.resize == self.crop:
            return Frame.stretch(height, width, **self.details)
        high, wide = height / self.crop[0], width / self.crop[1]
        resize: int | tuple[int, int]
        rule = self.rule
        if isinstance(self.resize, int) and high != wide:
            share = self.resize / min(self.crop)
            resize, rule = (round(share * height), round(share * width)), "cover-round"
        elif isinstance(self.resize, int):
            resize = round(self.resize * high)
        else:
            resize = (round(self.resize[0] * high), round(self.resize[1] * wide))
        return Frame(
            mode="crop",
            height=height,
            width=width,
            resize=resize,
            resize_rule=rule,
            centre="down",
            **self.details,
        )


def pipeline_of(source: str | Path, *, channels: int = 3, takes_tokens: bool = False) -> Pipeline:
    """What the image processor saved in a folder does to an upright 8-bit picture.

    The settings are read from the processor that Transformers itself makes of `preprocessor_config.json`,
    of `image_processor` in `processor_config.json`, or of timm's `config.json`. What they give is compared
    with the processor on made-up pictures, to one grey level: what differs is None.

    Args:
        source: the folder.
        channels: that the model takes, 1 or 3.
        takes_tokens: whether the model takes a colour token for each pixel.
    """
    try:
        with quiet():
            processor = _processor(str(source))
            if type(processor).__name__ == _TIMM:
                return _timm_pipeline(processor.data_config, channels)
            if _kind(processor) == _OF_TOKENS:
                return _pipeline_of_tokens(processor, channels, takes_tokens=takes_tokens)
            return _pipeline(processor, channels)
    except EdgeworthyError as error:
        return _without(error.message)
    except UnlikeError as error:
        return _without(str(error))
    except Exception as error:  # a library's answer to settings that anybody wrote
        return _without(f"{type(error).__name__}: {first_line(error)}")


def _without(reason: str) -> Pipeline:
    return Pipeline(notes=(f"No preprocessing is taken from an image processor: {reason}",))


def _processor(source: str) -> Any:
    """Transformers' own object; its class is named by a file, so that only processors are let through."""
    from transformers import AutoImageProcessor
    from transformers.models.auto.image_processing_auto import get_image_processor_config

    settings = get_image_processor_config(source, local_files_only=True)
    if settings.get("auto_map"):
        raise UnlikeError("it asks for code of its own, which never runs.")
    if not settings and not _is_timm(Path(source)):
        raise UnlikeError("its settings are not there.")
    for key in ("image_processor_type", "feature_extractor_type"):
        named = settings.get(key)
        if named is not None and not (isinstance(named, str) and _KIND.fullmatch(named)):
            raise UnlikeError(f"{key} is {str(named)[:60]!r}.")
    return AutoImageProcessor.from_pretrained(
        source, local_files_only=True, trust_remote_code=False, backend="pil"
    )


def _is_timm(folder: Path) -> bool:
    from transformers.utils.generic import is_timm_local_checkpoint

    return bool(is_timm_local_checkpoint(str(folder)))


def _kind(processor: Any) -> str:
    return type(processor).__name__.removesuffix("Pil").removesuffix("Fast")


def _pipeline(processor: Any, channels: int) -> Pipeline:
    kind = _kind(processor)
    found = Pipeline(flips_channels=_flips(processor, kind))
    geometry: _Geometry | None = None
    try:
        geometry = _geometry(processor, kind, channels)
        size: InputSize | None = (channels, *geometry.crop)
    except (UnlikeError, EdgeworthyError) as error:
        size = _size_of(processor, kind, channels)
        found = _noted(found, f"Framing is not taken from {kind}: {error}")
    found = replace(found, input_size=size)
    try:
        normalization = _normalization(processor, kind, channels)
        if geometry is not None:
            try_normalization(processor, normalization, channels, flips=found.flips_channels)
        elif not _KNOWN.fullmatch(kind):
            raise UnlikeError("it cannot be tried without a framing.")
        found = replace(found, normalization=normalization)
    except (UnlikeError, EdgeworthyError) as error:
        return _noted(found, f"Normalisation is not taken from {kind}: {error}")
    if geometry is None:
        return found
    return _framed(found, processor, kind, geometry, normalization)


def _pipeline_of_tokens(processor: Any, channels: int, *, takes_tokens: bool) -> Pipeline:
    """What it does to pixels before it makes tokens of them."""
    if not takes_tokens:
        raise UnlikeError(f"{_OF_TOKENS} makes colour tokens.")
    processor.do_color_quantize = False  # so that it can be tried
    return replace(_pipeline(processor, channels), clusters=clusters_of(processor))


def _noted(found: Pipeline, note: str) -> Pipeline:
    return replace(found, notes=(*found.notes, note))


def _framed(
    found: Pipeline, processor: Any, kind: str, geometry: _Geometry, normalization: Normalization
) -> Pipeline:
    try:
        frame = geometry.frame_at((len(normalization.mean), *geometry.crop))
        try_frame(processor, frame, normalization, flips=found.flips_channels)
    except (UnlikeError, EdgeworthyError) as error:
        return _noted(found, f"Framing is not taken from {kind}: {error}")
    return replace(found, frame_at=geometry.frame_at)


def _flips(processor: Any, kind: str) -> bool:
    return kind == "PPLCNetImageProcessor" or bool(getattr(processor, "do_flip_channel_order", False))


def _normalization(processor: Any, kind: str, channels: int) -> Normalization:
    """(pixel - mean) / std on the 0..255 scale, of (pixel * factor - offset - mean) / std."""
    factor = _number(processor, "rescale_factor") if _is_on(processor, "do_rescale") else 1.0
    offset = 1.0 if _is_on(processor, "do_rescale") and _is_on(processor, "rescale_offset") else 0.0
    mean, std = [0.0] * channels, [1.0] * channels
    if _is_on(processor, "do_normalize") and kind != "MobileViTImageProcessor":  # which never does it
        mean, std = (
            _per_channel(processor, "image_mean", channels),
            _per_channel(processor, "image_std", channels),
        )
    if kind == "EfficientNetImageProcessor" and _is_on(processor, "include_top"):  # divides once more
        once_more = _per_channel(processor, "image_std", channels)
        std = [one * other for one, other in zip(std, once_more, strict=True)]
    if not factor > 0:
        raise UnlikeError(f"rescale_factor is {factor}.")
    return Normalization(
        mean=tuple((value + offset) / factor for value in mean), std=tuple(value / factor for value in std)
    )


def _is_on(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, None))


def _number(processor: Any, name: str) -> float:
    value = getattr(processor, name, None)
    if not _is_number(value):
        raise UnlikeError(f"{name} is {str(value)[:60]!r}, expected a number.")
    return float(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _per_channel(processor: Any, name: str, channels: int) -> list[float]:
    values = getattr(processor, name, None)
    listed = [values] * channels if _is_number(values) else values
    if (
        not isinstance(listed, Sequence)
        or len(listed) != channels
        or not all(_is_number(value) for value in listed)
    ):
        raise UnlikeError(f"{name} is {str(values)[:60]!r}, expected {channels} numbers.")
    return [float(value) for value in listed]


def _geometry(processor: Any, kind: str, channels: int) -> _Geometry:
    if kind in _UNLIKE:
        raise UnlikeError(f"{_UNLIKE[kind]}.")
    if not _is_on(processor, "do_resize"):
        raise UnlikeError("it does not resize.")
    if _pads(processor):
        raise UnlikeError("it pads to a size, or to multiples of a number.")
    resize, rule, crop = _target(processor, kind)
    if crop is None and isinstance(resize, int):
        raise UnlikeError("it keeps each picture's ratio, and the file's input has one size.")
    details = {
        "interpolation": _interpolation(processor),
        "channel_order": "L" if channels == 1 else "RGB",
    }
    own = resize if crop is None and not isinstance(resize, int) else crop
    if own is None:
        raise UnlikeError("it does not say its size.")
    geometry = _Geometry(resize=resize, rule=rule, crop=own, details=details)
    frame = geometry.frame_at((channels, *own))  # which refuses sides beyond its bounds
    sides = frame.resize if isinstance(frame.resize, tuple) else (frame.resize, frame.resize)
    if max(math.prod(sides), math.prod(own)) > _MAX_PX:
        raise UnlikeError(f"it resizes to {'x'.join(map(str, sides))} px, more than is tried.")
    return geometry


def _pads(processor: Any) -> bool:
    pads = _is_on(processor, "do_pad") and getattr(processor, "pad_size", None) is not None
    return pads or getattr(processor, "size_divisor", None) not in {None, 1}


def _target(processor: Any, kind: str) -> tuple[int | tuple[int, int], ResizeRule, tuple[int, int] | None]:
    """What it resizes to, by which rule, and what it then crops; classes with rules of their own first."""
    size = _sides(processor, "size")
    shorter = size.get("shortest_edge")
    crop = _pair(_sides(processor, "crop_size")) if _is_on(processor, "do_center_crop") else None
    if kind == "ConvNextImageProcessor" and shorter:
        if shorter >= 384:  # the class's own bound
            return (shorter, shorter), "exact", None
        return int(shorter / _number(processor, "crop_pct")), "shorter-truncate", (shorter, shorter)
    if kind == "PoolFormerImageProcessor" and getattr(processor, "crop_pct", None) is not None:
        return *_scaled(size, _number(processor, "crop_pct")), crop
    if kind == "LevitImageProcessor" and shorter:
        return int((256 / 224) * shorter), "shorter-truncate", crop
    if kind == "PPLCNetImageProcessor" and getattr(processor, "resize_short", None) is not None:
        side = int(_number(processor, "resize_short"))
        return (side, side), "cover-round", crop
    return *_scaled(size), crop


def _scaled(size: Mapping[str, int], crop_pct: float = 1.0) -> tuple[int | tuple[int, int], ResizeRule]:
    """The target of a size; divided by `crop_pct`, a square one is meant for the shorter side."""
    if set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"] / crop_pct), "shorter-truncate"
    pair = _pair(size)
    if pair is None:
        raise UnlikeError(f"its size is {dict(size)}.")
    if crop_pct != 1.0 and pair[0] == pair[1]:
        return int(pair[0] / crop_pct), "shorter-truncate"
    return (int(pair[0] / crop_pct), int(pair[1] / crop_pct)), "exact"


def _sides(processor: Any, name: str) -> dict[str, int]:
    value = getattr(processor, name, None)
    sides = {} if value is None else {key: side for key, side in dict(value).items() if side is not None}
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides.values()):
        raise UnlikeError(f"{name} is {str(sides)[:80]}, expected pixels.")
    return sides


def _pair(sides: Mapping[str, int]) -> tuple[int, int] | None:
    return (sides["height"], sides["width"]) if set(sides) == {"height", "width"} else None


def _size_of(processor: Any, kind: str, channels: int) -> InputSize | None:
    """The input's size where its framing cannot be said, but every picture comes out alike."""
    try:
        if kind == "Siglip2ImageProcessor":
            side = math.isqrt(processor.max_num_patches) * processor.patch_size
            return channels, side, side
        if kind not in _UNLIKE and _pads(processor):
            return None
        if kind not in _UNLIKE:
            _, _, crop = _target(processor, kind)
            size = crop or _pair(_sides(processor, "size"))
        else:
            size = _pair(_sides(processor, "size"))
    except UnlikeError:
        return None
    return None if size is None else (channels, *size)


def _interpolation(processor: Any) -> Interpolation:
    """Pillow's number for a filter, or torchvision's enumeration, as a name."""
    from PIL.Image import Resampling

    value = getattr(processor, "resample", None)
    name = getattr(value, "value", value)
    if isinstance(name, int) and not isinstance(name, bool):
        name = Resampling(name).name.lower()
    if name is None:
        return "bilinear"
    if name not in INTERPOLATIONS:
        raise UnlikeError(f"resample is {str(value)[:60]!r}.")
    return name


def _timm_pipeline(data: Mapping[str, Any], channels: int) -> Pipeline:
    """Timm's own transform, for the models that Transformers wraps."""
    from edgeworthy.sources.timm_library import frame_of

    size: InputSize = (channels, *data["input_size"][1:])
    mean, std = data["mean"], data["std"]
    if len(mean) != channels or len(std) != channels:
        raise UnlikeError(f"its mean {mean} and std {std} are not for {channels} channels.")
    return Pipeline(
        input_size=size,
        normalization=Normalization.from_unit(mean, std),
        frame_at=lambda wanted: frame_of({**data, "input_size": wanted}),
    )
