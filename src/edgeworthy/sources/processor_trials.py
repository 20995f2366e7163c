"""A Frame and a normalisation against what an image processor of Transformers really does to pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.contract import Normalization
from edgeworthy.frames import Frame
from edgeworthy.images import Pixels, frame_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_LEVELS = 2.01  # torchvision resizes tensors with coarser weights than Pillow; most processors run on Pillow
_SOLID = (30, 110, 220)  # a colour that tells the channels apart
_SOLID_PX = 32


class UnlikeError(Exception):
    """What a Frame cannot say, in words that go on after "the image processor's framing: "."""


def try_normalization(processor: Any, normalization: Normalization, channels: int, *, flips: bool) -> None:
    """Compare a normalisation with what the processor makes of one colour.

    Raises:
        UnlikeError: where they differ.
    """
    colour = _SOLID[:channels]
    values = _processed(processor, _picture(np.full((_SOLID_PX, _SOLID_PX, channels), colour, np.uint8)))
    if flips:
        values = values[::-1]
    centre = values[:, values.shape[1] // 2, values.shape[2] // 2]
    if centre.shape != (channels,) or not np.allclose(_levels(centre, normalization), colour, atol=0.01):
        raise UnlikeError("its mean, std and scale do not explain what it gives.")


def try_frame(processor: Any, frame: Frame, normalization: Normalization, *, flips: bool) -> None:
    """Compare a frame with what the processor does to made-up pictures.

    Args:
        processor: Transformers' own.
        frame: of the size that the processor gives.
        normalization: as the processor does it.
        flips: whether it gives BGR.

    Raises:
        UnlikeError: where they differ.
    """
    for image in _made_up(frame):
        values = _processed(processor, image)
        ours = frame_picture(image, frame).transpose(2, 0, 1).astype(np.float64)
        theirs = _levels(values[::-1] if flips else values, normalization)
        if ours.shape != theirs.shape:
            wide, high = image.size
            raise UnlikeError(f"of {high}x{wide} px it makes {'x'.join(map(str, theirs.shape))}.")
        difference = float(np.abs(ours - theirs).max())
        if not difference <= _LEVELS:
            raise UnlikeError(f"its pixels differ from what its settings say by {difference:.3g} of 255.")


def _made_up(frame: Frame) -> Iterator[Image]:
    """Noise on a slope, wide and high, twice as large as the target and a little more."""
    sides = frame.resize if isinstance(frame.resize, tuple) else (frame.resize, frame.resize)
    for high, wide in ((2.0, 2.7), (2.7, 2.0)):
        height, width = round(sides[0] * high), round(sides[1] * wide)
        noise = np.random.default_rng(height).integers(0, 128, (height, width, frame.channels))
        slope = np.linspace(0, 127, height)[:, None, None] * np.linspace(0, 1, width)[None, :, None]
        yield _picture((noise + slope).astype(np.uint8))


def _picture(pixels: Pixels) -> Image:
    from PIL.Image import fromarray

    return fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _processed(processor: Any, image: Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[C, H, W] as the processor gives it."""
    values = processor(images=image, return_tensors="np")["pixel_values"][0]
    return np.asarray(values, dtype=np.float64)


def _levels(values: Any, normalization: Normalization) -> Any:
    """Normalised values [C, ...] back on the 0..255 scale."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    if len(values) != len(normalization.std):
        return values
    return values * np.reshape(normalization.std, shape) + np.reshape(normalization.mean, shape)
