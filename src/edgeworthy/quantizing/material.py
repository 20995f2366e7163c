"""The pictures of a call: some to calibrate with, others to judge by; framed once, and kept on the disk."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import NamedTuple

from edgeworthy.decoding import Decoding
from edgeworthy.errors import ImageError, OptionError
from edgeworthy.filemodel import FileModel
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import Pixels, frame_picture, open_picture
from edgeworthy.labelled import Labelled, read_labelled, resolve
from edgeworthy.pictures import GIVE, Picture, list_pictures
from edgeworthy.pictures.addresses import is_address
from edgeworthy.pictures.parquet import pictures_of
from edgeworthy.pipeline import side_by_side
from edgeworthy.quantizing.shelf import Shelf

_MOST_JUDGED = 10_000


class _Place(NamedTuple):
    """Where pictures come from: how many, what gives them in order, their class ids, and a remark."""

    total: int
    pictures: Callable[[], Iterator[Picture]]
    truths: Sequence[int | None] | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Framed pictures.

    Attributes:
        calibration, judged: uint8 [H, W, C] each; none is in both.
        truths: class ids of the judged ones, None where they are not known.
        calibration_digest, judged_digest: SHA-256 over all their pixels, in order.
        notes: what the user should know, one sentence each.
    """

    calibration: Sequence[Pixels]
    judged: Sequence[Pixels]
    truths: tuple[int | None, ...]
    calibration_digest: str
    judged_digest: str
    notes: tuple[str, ...]


@contextlib.contextmanager
def gather(
    model: FileModel,
    calibration: str | Path | Sequence[str | Path],
    judge: str | Path | None,
    *,
    most: int,
    frame: Mode | None,
    columns: tuple[str | None, str | None],
    need_labels: bool,
    decoding: Decoding,
    jobs: int,
    scratch: Path,
    on_start: Callable[[str, int], None],
    on_picture: Callable[[], None],
) -> Iterator[Material]:
    """Read the pictures of a call.

    Args:
        model: that they are framed for, and whose classes labels stand for.
        calibration: where pictures to calibrate with are.
        judge: where those to judge by are; None for every second one of `calibration`.
        most: how many to calibrate with.
        frame: how they meet the input; as the file says if None.
        columns: of tables, for paths and labels; by their names where they are None.
        need_labels: whether labels have to be there.
        decoding: of the pictures.
        jobs: pictures at a time.
        scratch: a folder for the pixels.
        on_start: called with what is done and the number of pictures.
        on_picture: called after each.

    Raises:
        OptionError: where one of the two has no picture, or labels are needed and missing.
    """
    framed, _ = model.frame(frame)
    channels, height, width = model.input_size
    own = judge is None
    first = _place(model, calibration, columns, labels=own, need=need_labels and own)
    second = first if judge is None else _place(model, judge, columns, labels=True, need=need_labels)
    step = 2 if own else 1
    to_calibrate = _spread(range(0, first.total, step), most)
    to_judge = _spread(range(step - 1, second.total, step), _MOST_JUDGED)
    if not to_calibrate or not to_judge:
        raise OptionError(
            f"{len(to_calibrate)} pictures to calibrate with and {len(to_judge)} to judge by are too few.",
            hint="Give 100 or more to --calibration, and others to --judge.",
        )
    shelves = [Shelf(scratch / name, (height, width, channels)) for name in ("calibration", "judged")]
    reader = _Reader(framed, decoding, jobs, on_picture)
    try:
        on_start("reading pictures", len(to_calibrate) + len(to_judge))
        _, calibrated = reader.read(first, to_calibrate, shelves[0])
        truths, judged = reader.read(second, to_judge, shelves[1], but=frozenset(reader.seen))
        _require_some(shelves, reader)
        yield Material(
            calibration=shelves[0],
            judged=shelves[1],
            truths=tuple(truths),
            calibration_digest=calibrated,
            judged_digest=judged,
            notes=tuple(filter(None, (second.note, *reader.notes()))),
        )
    finally:
        for shelf in shelves:
            shelf.close()


def _require_some(shelves: Sequence[Shelf], reader: _Reader) -> None:
    for shelf, what in zip(shelves, ("to calibrate with", "to judge by"), strict=True):
        if not len(shelf):
            why = "; ".join(reader.notes())
            raise OptionError(
                f"No picture {what} is left. {why}".rstrip(),
                hint="What is judged must not have been calibrated with: give --judge other pictures.",
            )


class _Reader:
    """Frames pictures side by side; what cannot be read, or has been seen, is left out and counted."""

    def __init__(self, frame: Frame, decoding: Decoding, jobs: int, on_picture: Callable[[], None]) -> None:
        self._frame, self._decoding, self._jobs, self._on_picture = frame, decoding, jobs, on_picture
        self.seen: set[bytes] = set()
        self._unreadable: list[str] = []
        self._again = 0

    def read(
        self, place: _Place, wanted: Sequence[int], shelf: Shelf, *, but: frozenset[bytes] = frozenset()
    ) -> tuple[list[int | None], str]:
        """Fill a shelf with pictures at some positions; their classes, and the digest of their pixels."""
        truths: list[int | None] = []
        whole, chosen = hashlib.sha256(), set(wanted)
        known = set(but)
        pictures = (picture for at, picture in enumerate(place.pictures()) if at in chosen)
        for at, pixels in zip(wanted, side_by_side(self._framed, pictures, self._jobs), strict=False):
            self._on_picture()
            if isinstance(pixels, str):
                self._unreadable.append(pixels)
                continue
            mark = hashlib.sha256(pixels.tobytes()).digest()
            if mark in known:
                self._again += mark in but
                continue
            known.add(mark)
            whole.update(mark)
            shelf.add(pixels)
            truths.append(None if place.truths is None else place.truths[at])
        self.seen |= known
        return truths, whole.hexdigest()

    def notes(self) -> Iterator[str]:
        """What was left out."""
        if self._unreadable:
            count = len(self._unreadable)
            some = "1 picture" if count == 1 else f"{count} pictures"
            yield f"{some} could not be read: {self._unreadable[0]}"
        if self._again:
            yield f"{self._again} pictures to judge by were calibrated with, and are left out."

    def _framed(self, picture: Picture) -> Pixels | str:
        try:
            image = open_picture(
                picture, self._frame.channel_order, decoding=self._decoding, frames=[self._frame]
            )
            return frame_picture(image, self._frame)
        except ImageError as error:
            return str(error)


def _place(
    model: FileModel,
    places: str | Path | Sequence[str | Path],
    columns: tuple[str | None, str | None],
    *,
    labels: bool,
    need: bool,
) -> _Place:
    """Pictures in order, with their classes where one place has labels that the model knows."""
    named = [places] if isinstance(places, str | Path) else list(places)
    note = ""
    if labels and len(named) == 1:
        try:
            examples = read_labelled(named[0], path_column=columns[0], label_column=columns[1])
        except OptionError:
            if need:
                raise
        else:
            try:
                return _with_labels(model, examples, columns[0])
            except OptionError as error:
                if need:
                    raise
                note = f"Labels are not used: {error.message}"
    elif need:
        raise OptionError(
            "Labels are needed for the points of top-1, and several places are given.",
            hint="Give --judge one folder of class folders, or one table.",
        )
    for place in map(str, named):
        if not (
            is_address(place) or place.startswith(("@", "-")) or has_magic(place) or Path(place).exists()
        ):
            raise OptionError(f"{place} is not there.", hint=GIVE)
    found = list_pictures([str(place) for place in named], column=columns[0])
    total = sum(1 for _ in found) if found.total is None else found.total
    return _Place(total, lambda: iter(found), None, note)


def _with_labels(model: FileModel, examples: Sequence[Labelled], column: str | None) -> _Place:
    ids = resolve({example.label for example in examples}, model.class_names, who=str(model.path)).ids
    truths = [ids.get(example.label) for example in examples]
    paths = [example.path for example in examples]
    return _Place(len(examples), lambda: pictures_of(paths, column), truths)


def _spread(places: range, most: int) -> Sequence[int]:
    """At most so many, evenly spread."""
    return places if len(places) <= most else [places[at * len(places) // most] for at in range(most)]
