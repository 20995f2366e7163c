"""From a picture file to the model's input: decode, turn upright, frame, normalise.

A crop is, byte for byte, what timm's and torchvision's evaluation transforms give for an upright 8-bit
RGB picture: the same Pillow resize, the same rounding, the same offsets.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from edgeworthy.contract import Layout, Normalization
from edgeworthy.decoding import STRICT, Decoding, leniently, shrink, strictly
from edgeworthy.errors import ImageError, first_line
from edgeworthy.frames import Frame
from edgeworthy.pictures import GIVE, Picture
from edgeworthy.pictures.addresses import is_address, read_address

Pixels = npt.NDArray[np.uint8]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_ONE_AT_A_TIME = threading.Lock()  # the pictures of a caller, who may hand one over several times
_DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


def open_picture(
    picture: str | Path | Picture,
    channel_order: Literal["RGB", "L"] = "RGB",
    *,
    decoding: Decoding = STRICT,
    frames: Collection[Frame] = (),
) -> Image.Image:
    """Decode a picture completely, turn it upright, and bring it to 8 bits a channel.

    EXIF orientation is applied; transparent parts are laid over black; 16-bit values are scaled.

    Args:
        picture: a file, or what is opened.
        channel_order: RGB, or L for grey.
        decoding: where less than that will do.
        frames: that it is meant for, if it may be decoded smaller.

    Raises:
        ImageError: where it is missing, no picture, cut off, or too large to decode safely.
    """
    picture = Picture.of(picture)
    name = picture.name
    try:
        try:
            with strictly():
                return _decoded(picture, channel_order, decoding, frames)
        except (OSError, SyntaxError) as error:
            if decoding.truncated == "skip" or getattr(error, "errno", None) is not None:
                raise
        with leniently():
            return _decoded(picture, channel_order, decoding, frames)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to decode safely: {first_line(error)}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} is not there.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is no picture that can be read.") from error
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror or first_line(error)}.") from error
    except Exception as error:  # decoders raise anything on damaged files
        raise ImageError(f"{name} cannot be decoded: {type(error).__name__}: {first_line(error)}.") from error


def _decoded(
    picture: Picture, channel_order: Literal["RGB", "L"], decoding: Decoding, frames: Collection[Frame]
) -> Image.Image:
    with _opened(picture) as image:
        _refuse_bomb(image, decoding.limit)
        if picture.decoded:
            with _ONE_AT_A_TIME:
                image.load()
        elif decoding.fast and frames:
            sizes = [_resized(_upright_size(image), frame) for frame in frames]
            width, height = (max(sides) for sides in zip(*sizes, strict=True))
            shrink(image, (height, width) if _lies(image) else (width, height))
        image.load()
        return _converted(_eight_bits(_upright(image), image.format, picture.name), channel_order)


@contextlib.contextmanager
def _opened(picture: Picture) -> Iterator[Image.Image]:
    source = picture.source
    if isinstance(source, ImageError):
        raise source
    if isinstance(source, Image.Image):
        yield source  # its owner closes it
        return
    if isinstance(source, str) and is_address(source):
        source = read_address(source)
    if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):  # noqa: PTH116
        raise ImageError(f"{picture.name} is no regular file.", hint=GIVE)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        yield image


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; a copy only where it turns."""
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _lies(image: Image.Image) -> bool:
    """Whether the EXIF orientation turns it by a quarter."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) in {5, 6, 7, 8}


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _lies(image) else (width, height)


def upright_size(picture: Picture) -> tuple[int, int]:
    """(width, height) px of a picture that `open_picture` opens, whatever it was decoded at."""
    with _opened(picture) as image:
        return _upright_size(image)


def framed(picture: str | Path | Picture, frame: Frame, *, decoding: Decoding = STRICT) -> Pixels:
    """Decode a picture and carry out a frame on it; uint8 [H, W, C].

    Raises:
        ImageError: where it cannot be decoded, or framed.
    """
    picture = Picture.of(picture)
    image = open_picture(picture, frame.channel_order, decoding=decoding, frames=(frame,))
    try:
        return frame_picture(image, frame, decoding=decoding)
    except ImageError as error:
        raise ImageError(f"{picture.name} cannot be framed: {error.message}", hint=error.hint) from error


def frame_picture(image: Image.Image, frame: Frame, *, decoding: Decoding = STRICT) -> Pixels:
    """Carry out a frame on an RGB or L picture; uint8 [H, W, C].

    Args:
        image: upright, decoded.
        frame: to carry out.
        decoding: whose limit holds for what it is resized to.

    Raises:
        ImageError: where its sides are so unequal that resizing the shorter one would fill the memory.
    """
    image = _converted(image, frame.channel_order)
    size = _resized(image.size, frame)
    if size != image.size:
        _refuse_strip(image.size, size, decoding.limit)
        image = image.resize(size, _FILTERS[frame.interpolation])
    if frame.mode == "crop":
        image = _centre(image, frame)
    elif frame.mode == "letterbox":
        image = _on_canvas(image, frame)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def normalise(pixels: Pixels, normalization: Normalization, layout: Layout) -> npt.NDArray[np.float32]:
    """(pixel - mean) / std in float32 for uint8 [H, W, C]; gives [1, C, H, W] or [1, H, W, C]."""
    height, width, channels = pixels.shape
    shape = (channels, height, width) if layout == "nchw" else pixels.shape
    values = np.empty((1, *shape), np.float32)
    planes = values[0] if layout == "nchw" else values[0].transpose(2, 0, 1)
    for channel, table in enumerate(_tables(normalization)):
        # "clip" writes straight into the plane; no uint8 is outside of a table
        np.take(table, pixels[..., channel], out=planes[channel], mode="clip")
    return values


@functools.lru_cache(maxsize=16)
def _tables(normalization: Normalization) -> npt.NDArray[np.float32]:
    """What each of the 256 values becomes, a row a channel: a quarter of the time of the arithmetic."""
    mean, std = (np.array(side, np.float32)[:, None] for side in (normalization.mean, normalization.std))
    table: npt.NDArray[np.float32] = (np.arange(256, dtype=np.float32) - mean) / std
    return table


def _refuse_bomb(image: Image.Image, limit: int | None) -> None:
    """Pillow only warns up to twice its limit; warning filters belong to the process and stay untouched."""
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(f"{image.width}x{image.height} px, the limit is {limit} pixels")


def _refuse_strip(size: tuple[int, int], resized: tuple[int, int], limit: int | None) -> None:
    """A picture of 50,000x1 px would be resized to 12.8 million px by 256."""
    if limit is not None and resized[0] * resized[1] > limit:
        sides = f"{size[0]}x{size[1]} px, resized to {resized[0]}x{resized[1]}"
        raise ImageError(f"It is too narrow: {sides}, where the limit is {limit} pixels.")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Pillow would copy a picture that is of the mode already."""
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image, form: str | None, name: str) -> Image.Image:
    """At most 8 bits a channel; what a file of 16 bits holds is divided, whatever its brightest value."""
    if image.mode in _DEEP_MODES:
        values = np.asarray(image)  # of 16 or 32 bits: wider ones would take a gigabyte
        _refuse_numbers(values, 65535, name)
        deep = image.mode != "I" or form == "PNG" or values.max(initial=0) > 255
        scaled = values // 257 if deep else values
        if isinstance(level := image.info.get("transparency"), int):  # laid over black
            scaled = np.where(values == level, 0, scaled)
        return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        _refuse_numbers(values, 255, name)
        if 0 < values.max(initial=0) <= 1:  # which would be black
            raise _numbers(values, 255, name)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")
    return image


def _refuse_numbers(values: npt.NDArray[Any], white: int, name: str) -> None:
    """Measurements, such as heights, would be cut off without a word."""
    if values.max(initial=0) > white or values.min(initial=0) < 0:
        raise _numbers(values, white, name)


def _numbers(values: npt.NDArray[Any], white: int, name: str) -> ImageError:
    return ImageError(
        f"{name} holds values of {values.min():.4g} to {values.max():.4g}, where colours are 0..{white}.",
        hint="Save it with 8 bits a channel.",
    )


def _resized(size: tuple[int, int], frame: Frame) -> tuple[int, int]:
    """(width, height) after the resize: frames.py has the table of rules."""
    width, height = size
    if isinstance(frame.resize, int):
        short, long = min(size), max(size)
        other = max(1, int(frame.resize * long / short))
        return (frame.resize, other) if width <= height else (other, frame.resize)
    high, wide = frame.resize
    if frame.resize_rule == "exact":
        return wide, high
    if frame.mode == "letterbox":
        scale = min(high / height, wide / width)
        return _nearest(width * scale, wide), _nearest(height * scale, high)
    choose = min if frame.resize_rule == "cover-round" else max
    ratio = choose(height / high, width / wide)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _nearest(side: float, limit: int) -> int:
    return min(limit, max(1, int(side + 0.5)))


def _centre(image: Image.Image, frame: Frame) -> Image.Image:
    """Crop as `frame.centre` says, after padding where the picture is smaller than that."""
    up = frame.centre == "down"  # Transformers rounds the offset down, and the padding before it up
    width, height = image.size
    if width < frame.width or height < frame.height:
        left, top = ((max(0, side) + up) // 2 for side in (frame.width - width, frame.height - height))
        canvas = Image.new(image.mode, (max(width, frame.width), max(height, frame.height)), _fill(frame))
        canvas.paste(image, (left, top))
        image, (width, height) = canvas, canvas.size
    over = height - frame.height, width - frame.width
    top, left = (side // 2 if frame.centre == "down" else round(side / 2.0) for side in over)
    return image.crop((left, top, left + frame.width, top + frame.height))


def _on_canvas(image: Image.Image, frame: Frame) -> Image.Image:
    """Centred; an odd pixel of the bars is right or below."""
    canvas = Image.new(image.mode, (frame.width, frame.height), _fill(frame))
    canvas.paste(image, ((frame.width - image.width) // 2, (frame.height - image.height) // 2))
    return canvas


def _fill(frame: Frame) -> int | tuple[int, ...]:
    if frame.channel_order == "L":
        return frame.fill[0]
    return frame.fill if len(frame.fill) == 3 else frame.fill[:1] * 3
