"""Two classifiers that are compared: loaded, and their classes matched."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.errors import OptionError
from edgeworthy.filemodel import FileModel
from edgeworthy.images import Pixels
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.detection import examine

if TYPE_CHECKING:
    from edgeworthy.against import Trained

Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both of them, ready to be asked.

    Attributes:
        first, second: what is asked.
        name: of the second.
        order: the second's column for each class of the first; None where they are the same.
        classes: how they correspond, in words.
    """

    first: FileModel
    second: FileModel | Trained
    name: str
    order: tuple[int, ...] | None
    classes: str

    @property
    def columns(self) -> list[int]:
        """The second's column for each class of the first."""
        return list(range(len(self.first.class_names)) if self.order is None else self.order)

    def ask(self, pixels: Sequence[Pixels]) -> tuple[Scores, Scores]:
        """Probabilities of both [classes], in the first one's order, for the framed pixels of each."""
        mine, theirs = self.first.probabilities(pixels[0]), self.second.probabilities(pixels[1])
        return mine, theirs[self.columns]


def other_of(second: str | Path | SourceRequest) -> Path | SourceRequest:
    """An ONNX file, told by its content whatever it is called, or the request for a trained model."""
    if isinstance(second, SourceRequest):
        if second.arch or second.checkpoint or second.prompts or second.untrained:
            return second
        second = second.spec
    path = Path(second)
    if _is_onnx(path):
        return path
    if path.suffix.lower() == ".onnx":
        return path  # where it is missing or damaged, reading it says so
    return SourceRequest(spec=str(second))


def refuse_turned(first: Path, other: Path | SourceRequest) -> None:
    """Stop where the trained model is named before the file.

    Raises:
        OptionError: then.
    """
    named = isinstance(other, Path) and _is_onnx(other) and first.suffix.lower() != ".onnx"
    if named and not _is_onnx(first):
        raise OptionError(
            f"{first} is no ONNX file, and {other} is one.",
            hint="Name the file first: edgeworthy compare FILE SOURCE.",
        )


def _is_onnx(path: Path) -> bool:
    return path.is_file() and examine(path).kind == "onnx"


def paired(stack: contextlib.ExitStack, path: Path, other: Path | SourceRequest, jobs: int) -> Pair:
    """Load both; a trained model stays in eval mode until the stack is left.

    Raises:
        OptionError: where they cannot be compared.
        ModelFileError: where a file is no classifier of pictures.
    """
    first = FileModel(path, jobs=jobs)
    names = first.count_classes()
    if isinstance(other, SourceRequest):
        from edgeworthy.against import Trained

        trained = stack.enter_context(Trained(other, first).asking())
        return Pair(
            first=first,
            second=trained,
            name=trained.name,
            order=None,
            classes="by their place in the outputs",
        )
    second = FileModel(other, jobs=jobs)
    _require_size(first, second)
    order, classes = _order((first, names), (second, second.count_classes()))
    return Pair(first=first, second=second, name=str(other), order=order, classes=classes)


def _require_size(first: FileModel, second: FileModel) -> None:
    if first.input_size != second.input_size:
        sizes = ["x".join(map(str, model.input_size)) for model in (first, second)]
        raise OptionError(
            f"{first.path} takes pictures of {sizes[0]}, {second.path} of {sizes[1]}: no picture is the same "
            "to both.",
            hint="Measure both on labelled pictures: edgeworthy evaluate A B --data PLACE.",
        )


def _order(
    first: tuple[FileModel, Sequence[str]], second: tuple[FileModel, Sequence[str]]
) -> tuple[tuple[int, ...] | None, str]:
    """Where the second one has each class of the first, and how that is known.

    Raises:
        OptionError: where they have other classes.
    """
    (one, mine), (other, theirs) = first, second
    if len(mine) != len(theirs):
        raise OptionError(
            f"{one.path} has {len(mine)} classes, {other.path} {len(theirs)}.",
            hint="Only files with the same classes can be compared.",
        )
    if list(mine) == list(theirs):
        return None, "the same, in the same order"
    numbers = [str(at) for at in range(len(mine))]
    for model, names in (first, second):
        if list(names) == numbers:
            return None, f"by their place in the outputs: {model.path} names none"
    if set(mine) == set(theirs) and len(set(mine)) == len(mine):
        place = {name: at for at, name in enumerate(theirs)}
        return tuple(place[name] for name in mine), "matched by name: they stand in another order"
    lacking = [name for name in mine if name not in set(theirs)]
    what = f"{len(lacking)} of its classes, such as {lacking[0][:60]!r}, are" if lacking else "some names are"
    raise OptionError(
        f"{one.path} and {other.path} name other classes: {what} not in {other.path}.",
        hint="Where only the names differ, give one file the other's: edgeworthy repair --classes.",
    )
