"""Framed pictures that are gone over often: on the disk, few of them in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeworthy.images import Pixels
from edgeworthy.model import no_room


class Shelf(Sequence[Pixels]):
    """Pixels, uint8 [H, W, C], of one size.

    Args:
        file: where they are kept; it is made.
        shape: (height px, width px, channels) of each.
    """

    def __init__(self, file: Path, shape: tuple[int, int, int]) -> None:
        self._shape, self._bytes = shape, int(np.prod(shape))
        self._folder = file.parent
        self._stream = file.open("w+b", buffering=0)
        self._count = 0

    def add(self, pixels: Pixels) -> None:
        """Behind the others.

        Raises:
            TargetError: where the disk does not take it.
        """
        try:
            written = self._stream.write(np.ascontiguousarray(pixels).tobytes())
        except OSError as error:
            raise no_room(self._folder, error) from error
        if written != self._bytes:
            raise no_room(self._folder, OSError("the disk took only a part of a picture"))
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice) -> Pixels:  # type: ignore[override]
        if isinstance(index, slice):
            raise TypeError("Pictures are taken one by one.")
        if not 0 <= index < self._count:
            raise IndexError(index)
        content = os.pread(self._stream.fileno(), self._bytes, index * self._bytes)
        return np.frombuffer(content, np.uint8).reshape(self._shape)

    def __iter__(self) -> Iterator[Pixels]:
        return (self[index] for index in range(self._count))

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()
