"""How picture files are decoded: strictly and in full, unless the caller settles for less.

Whether Pillow accepts a file that ends too early is one switch for the whole process. A picture that needs it
waits until no other is being decoded, so that nobody else gets half a picture for a whole one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from PIL import Image, ImageFile

from edgeworthy.errors import OptionError

Truncated = Literal["skip", "load"]
TRUNCATED: tuple[Truncated, ...] = get_args(Truncated)

_GAP = 2.0  # a JPEG is decoded at no less than so many times the size it is resized to


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """What may be decoded, and how.

    Attributes:
        truncated: what becomes of a file that ends too early: `skip` reports it, `load` takes what is there.
        fast: whether a JPEG much larger than the model's input is decoded at half, a quarter or an eighth of
            its size, at least twice what it is resized to. Changes pixels slightly: docs/performance.md.
        max_pixels: a picture with more is not decoded, nor resized to more; None leaves Pillow's own
            limit, whose double is never exceeded.

    Raises:
        OptionError: on another value.
    """

    truncated: Truncated = "skip"
    fast: bool = False
    max_pixels: int | None = None

    @property
    def limit(self) -> int | None:
        """Of pixels; None where there is none."""
        return Image.MAX_IMAGE_PIXELS if self.max_pixels is None else self.max_pixels

    def __post_init__(self) -> None:
        if self.truncated not in TRUNCATED:
            raise OptionError(
                f"Unknown treatment of truncated files {self.truncated!r}.",
                hint=f"Use one of: {', '.join(TRUNCATED)}.",
            )


STRICT = Decoding()


class _Gate:
    """Open to many who decode, or to one who has changed how; who goes first, or would never be let in."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._inside = self._wanting = 0

    @contextlib.contextmanager
    def among_others(self) -> Iterator[None]:
        with self._free:
            self._free.wait_for(lambda: not self._wanting)
            self._inside += 1
        try:
            yield
        finally:
            with self._free:
                self._inside -= 1
                self._free.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._free:
            self._wanting += 1
            self._free.wait_for(lambda: not self._inside)
            try:
                yield
            finally:
                self._wanting -= 1
                self._free.notify_all()


_GATE = _Gate()


@contextlib.contextmanager
def strictly() -> Iterator[None]:
    """Decode among others; a file that ends too early raises OSError."""
    with _GATE.among_others():
        yield


@contextlib.contextmanager
def leniently() -> Iterator[None]:
    """Decode alone; what is missing of a file stays grey or black."""
    with _GATE.alone():
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def shrink(image: Image.Image, size: tuple[int, int]) -> None:
    """Let a JPEG that is not decoded yet be decoded smaller, where (width, height) is all that is needed."""
    wanted = tuple(max(1, round(side * _GAP)) for side in size)
    if image.format in {"JPEG", "MPO"} and all(w < side for w, side in zip(wanted, image.size, strict=True)):
        image.draft(None, (wanted[0], wanted[1]))
