"""Pictures with their classes and scores drawn in, one by one or together on a sheet."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import re
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.errors import ImageError, OptionError, TargetError
from edgeworthy.images import open_picture
from edgeworthy.model import refuse_existing
from edgeworthy.pictures import Picture, Pictures
from edgeworthy.report.tables import printable
from edgeworthy.results import Prediction, Unreadable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

SHEET_HOLDS = 60

_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf", "Arial.ttf")

_ROW = re.compile(r"\.parquet:(\d+)$", re.IGNORECASE)
_TILE_PX = (320, 240)
_SHEET_COLUMNS = 3
_LINE = 1.8  # height of a line of text with its bar, in sizes of the font
_LARGEST_SIDE_PX = 1600
_INK, _PAPER, _BAR = (20, 20, 20), (255, 255, 255), (64, 132, 214)


class Drawings:
    """Pictures that are written with their scores, as predictions come in.

    Args:
        pictures: all of them, in the order of the predictions.
        folder: for a JPEG a picture, or None.
        sheet: the contact sheet's file, or None.
        force: overwrite what is there.

    Raises:
        TargetError: at once, where something is there or cannot be.
        OptionError: where the sheet's name is no picture's.
    """

    def __init__(
        self, pictures: Iterable[Picture], *, folder: Path | None, sheet: Path | None, force: bool
    ) -> None:
        self._folder, self._sheet, self._force = folder, sheet, force
        self._name = _Names()
        self._shown: list[tuple[Image, Prediction]] = []
        self._waiting: deque[Picture] = deque()
        if sheet and sheet.suffix.lower() not in {".png", ".jpg", ".jpeg", ".webp"}:
            raise OptionError(f"The sheet {sheet} is no picture's name.", hint="Name it sheet.png, say.")
        targets = [sheet] if sheet else []
        if isinstance(pictures, Pictures) and pictures.total is None:
            pictures = pictures.files()  # nobody knows a video's frames before they are decoded
        elif folder:
            targets += [folder / name for name in map(_Names().of, pictures)]
        if targets:
            _refuse_originals(targets, pictures)
        for target in targets:
            refuse_existing(target, force=force)
        with _writing(folder or sheet or Path()):
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            if sheet:
                sheet.parent.mkdir(parents=True, exist_ok=True)
            for place in filter(None, (folder, sheet.parent if sheet else None)):
                tempfile.TemporaryFile(dir=place).close()  # now, not when all of the work is done

    def follow(self, pictures: Iterable[Picture]) -> Iterator[Picture]:
        """The same pictures; those are kept whose results are still to come, if any are drawn."""
        for picture in pictures:
            if self._folder or self._sheet:
                self._waiting.append(_small(picture))
            yield picture

    def add(self, result: Prediction | Unreadable) -> None:
        """Draw the next of the pictures that are followed."""
        if not (self._folder or self._sheet):
            return
        picture = self._waiting.popleft()
        target = self._folder / self._name.of(picture) if self._folder else None
        if isinstance(result, Unreadable) or not (target or len(self._shown) < SHEET_HOLDS):
            return
        with contextlib.suppress(ImageError):  # gone since it was classified
            image = open_picture(picture)
            if target:
                if picture.time_s is not None:  # nobody knew of it at the start
                    refuse_existing(target, force=self._force)
                _save(annotate(image, result), target, quality=90)
            if self._sheet and len(self._shown) < SHEET_HOLDS:
                image.thumbnail((640, 640))
                self._shown.append((image, result))

    def finish(self) -> None:
        """Write the sheet."""
        if self._sheet and self._shown:
            _save(contact_sheet(self._shown), self._sheet)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TargetError(f"{target} cannot be written: {error.strerror or error}.") from error


def _save(image: Image, target: Path, **options: Any) -> None:
    """Write a picture; half of one does not stay."""
    with _writing(target):
        try:
            image.save(target, **options)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _refuse_originals(targets: Iterable[Path], pictures: Iterable[Picture]) -> None:
    """Stop before a picture is overwritten by its own drawing."""
    resolved = {target.resolve(): target for target in targets}
    for picture in pictures:
        if isinstance(picture.source, str | Path):
            target = resolved.get(Path(picture.source).resolve())
            if target:
                raise TargetError(f"{target} is one of the pictures.", hint="Choose another place.")


class _Names:
    """A JPEG's name for each picture: as it is called, with a number where that is taken."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def of(self, picture: Picture) -> str:
        """The name of the next picture's drawing."""
        stem = name = _stem(picture)
        while name.casefold() in self._taken:
            self._taken[stem.casefold()] += 1
            name = f"{stem}-{self._taken[stem.casefold()]}"
        self._taken[name.casefold()] = 1
        return f"{name}.jpg"


def _stem(picture: Picture) -> str:
    """Of a file's name; a row of a table is `table-17`, a frame of a video `clip-12.345s`."""
    path = Path(picture.name)
    row = _ROW.search(path.name)
    if row:
        return path.name[: row.start()] + f"-{row[1]}"
    return path.stem if picture.time_s is None else f"{path.stem}-{picture.time_s:.3f}s"


def _small(picture: Picture) -> Picture:
    """One that is decoded already as bytes: many of them wait for their results."""
    if not picture.decoded:
        return picture
    image, content = open_picture(picture), io.BytesIO()
    image.thumbnail((_LARGEST_SIDE_PX, _LARGEST_SIDE_PX))
    image.save(content, "JPEG", quality=95)
    return replace(picture, source=content.getvalue())


def annotate(picture: Image, prediction: Prediction) -> Image:
    """The picture, at most 1600 px wide and high, with its classes and scores below it; RGB."""
    from PIL import Image, ImageDraw

    shown = picture.convert("RGB")
    shown.thumbnail((_LARGEST_SIDE_PX, _LARGEST_SIDE_PX))
    size = max(12, min(36, shown.width // 24))
    line = math.ceil(size * _LINE)
    width = max(shown.width, 200)
    canvas = Image.new("RGB", (width, shown.height + line * len(prediction.scores) + size // 2), _PAPER)
    canvas.paste(shown, ((width - shown.width) // 2, 0))
    _draw_scores(ImageDraw.Draw(canvas), prediction, (0, shown.height + size // 4), width, size)
    return canvas


def contact_sheet(pictures: Sequence[tuple[Image, Prediction]]) -> Image:
    """All pictures on one page, three in a row, each with its name, classes and scores; RGB."""
    from PIL import Image, ImageDraw

    size, gap = 14, 16
    line = math.ceil(size * _LINE)
    rows_of_text = 1 + max((len(prediction.scores) for _, prediction in pictures), default=0)
    tile = (_TILE_PX[0], _TILE_PX[1] + line * rows_of_text)
    columns = max(1, min(_SHEET_COLUMNS, len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    page = Image.new("RGB", (gap + columns * (tile[0] + gap), gap + rows * (tile[1] + gap)), _PAPER)
    draw = ImageDraw.Draw(page)
    for position, (picture, prediction) in enumerate(pictures):
        row, column = divmod(position, columns)
        left, top = gap + column * (tile[0] + gap), gap + row * (tile[1] + gap)
        shown = picture.convert("RGB")
        shown.thumbnail(_TILE_PX)
        page.paste(shown, (left + (_TILE_PX[0] - shown.width) // 2, top + _TILE_PX[1] - shown.height))
        name = _fitted(draw, printable(Path(prediction.path).name), _font(size), tile[0])
        draw.text((left, top + _TILE_PX[1] + 2), name, fill=_INK, font=_font(size))
        _draw_scores(draw, prediction, (left, top + _TILE_PX[1] + line), tile[0], size)
    return page


def _draw_scores(
    draw: ImageDraw, prediction: Prediction, corner: tuple[int, int], width: int, size: int
) -> None:
    left, top = corner
    font, line = _font(size), math.ceil(size * _LINE)
    figures = math.ceil(font.getlength("0.0000")) + 8
    for position, score in enumerate(prediction.scores):
        y = top + position * line
        bar = round((width - 8) * min(1.0, max(0.0, score.probability)))
        draw.rectangle((left + 4, y + line - 5, left + 4 + bar, y + line - 3), fill=_BAR)
        draw.text((left + 4, y), f"{score.probability:.4f}", fill=_INK, font=font)
        name = _fitted(draw, printable(score.name), font, width - figures - 8)
        draw.text((left + 4 + figures, y), name, fill=_INK, font=font)


def _fitted(draw: ImageDraw, text: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"


@functools.cache
def _font(size: int) -> FreeTypeFont | ImageFont:
    """One of the system's fonts, which know more letters than the one that Pillow brings."""
    from PIL import ImageFont

    for name in _FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)
