"""predict() on a Ray cluster: each task is a range of pictures, and writes the part that is named after it.

A part is the same however often it is made, and is there whole or not at all. So a task that is done twice,
because the worker died before it could say so, changes nothing; and a run goes on with what has no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edgeworthy.cluster import Cluster, landed
from edgeworthy.errors import OptionError
from edgeworthy.pictures import Picture, Pictures
from edgeworthy.pictures.addresses import absolute
from edgeworthy.predictor import Predictor
from edgeworthy.report.parts import SharedParts, Span, write_part

_PICTURES = 2048  # in a part, at most
_TASKS = 8  # for each worker, where there are enough pictures: so that none waits long at the end


@dataclass(frozen=True, slots=True)
class Range:
    """Pictures that lie together: the position of the first, and (name, place) of each."""

    first: int
    pictures: tuple[tuple[str, str], ...]


def predict_parts(
    cluster: Cluster[Range, Span],
    file: Path,
    pictures: Pictures,
    *,
    folder: Path,
    parts: SharedParts,
    settings: dict[str, Any],
) -> Iterator[Span]:
    """Classify pictures on the cluster, and leave the rows in parts; each range as it is done.

    Args:
        cluster: whose workers see `folder`, and the pictures' places.
        file: the ONNX file; its content is sent to each worker once.
        pictures: in files, or at addresses that fsspec can open.
        folder: of parts.
        parts: what is there already.
        settings: keyword arguments of `Predictor`.

    Raises:
        OptionError: where a picture is in no place of its own.
        EdgeworthyError: what a worker raises.
    """
    total = total_of(pictures)
    size = max(1, min(_PICTURES, -(-total // (cluster.workers * _TASKS))))
    arguments = (file.read_bytes(), file.name, settings, str(folder.resolve()))
    return cluster.map(part_writer, arguments, _ranges(pictures, total, size, parts))


def part_writer(content: bytes, name: str, settings: dict[str, Any], folder: str) -> Callable[[Range], Span]:
    """In a worker: what classifies a range and writes its part."""
    with landed(content, name) as file:
        predictor = Predictor(file, **settings, jobs=1, threads=1)

    def write(task: Range) -> Span:
        pictures = (Picture(name=name, source=place) for name, place in task.pictures)
        return write_part(Path(folder), task.first, predictor.predict(pictures))

    return write


def total_of(pictures: Pictures) -> int:
    """How many there are.

    Raises:
        OptionError: where there are videos among them.
    """
    if pictures.total is None:
        raise OptionError(
            "Videos have frames that nobody has counted.", hint="On a cluster, give pictures in files."
        )
    return pictures.total


def placed(picture: Picture) -> tuple[str, str]:
    """(name, place that other processes can open) of a picture.

    Raises:
        OptionError: where it has none: it is bytes in a table, or decoded already.
    """
    source = picture.source
    if not isinstance(source, str | Path):
        raise OptionError(
            f"{picture.name} is in no file of its own, which another process could open.",
            hint="On a cluster, give files, lists, or Parquet files with a column of paths.",
        )
    return picture.name, absolute(str(source))


def _ranges(pictures: Pictures, total: int, size: int, parts: SharedParts) -> Iterator[Range]:
    """What is left to do, in ranges of at most so many pictures."""
    for begin, end in parts.gaps(total):
        position, items = begin, islice(pictures.since(begin), end - begin)
        while some := tuple(map(placed, islice(items, size))):
            yield Range(position, some)
            position += len(some)
