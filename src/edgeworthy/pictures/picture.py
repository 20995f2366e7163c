"""One picture, not decoded yet: its name, and what it is opened from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeworthy.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

GIVE = "Give files, folders, patterns, or @FILE with a path a line."


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that is yet to be opened.

    Attributes:
        name: what results call it; a file's path, where it is a file.
        source: the path of a file, the bytes of one, a decoded picture, or why there is none.
        time_s: of a frame, in seconds since the beginning of its video; None for any other picture.
    """

    name: str
    source: str | Path | bytes | Image.Image | ImageError = field(repr=False)
    time_s: float | None = None

    @property
    def decoded(self) -> bool:
        """Whether it takes the memory of a decoded picture already."""
        return not isinstance(self.source, str | Path | bytes | ImageError)

    @classmethod
    def of(cls, item: str | Path | Picture) -> Picture:
        """The picture itself, or that of a file."""
        return item if isinstance(item, Picture) else cls(name=str(item), source=item)
