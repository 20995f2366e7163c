"""Where candidates are tried: pictures, what the original says of them, and how far a candidate is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.filemodel import FileModel
from edgeworthy.images import Pixels
from edgeworthy.model import to_bytes
from edgeworthy.pipeline import side_by_side

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]

COMPARED = 128  # calibration pictures that candidates are compared on
_SEED = 2
_TINY = 1e-9  # in place of a probability of 0
_ONE = 1e-2  # how far a sum of probabilities may be from 1


class Bench:
    """Tries candidates against the original.

    Args:
        original: the classifier in float32.
        pictures: calibration pictures, framed.
        scratch: a folder for files.
        jobs: pictures at a time.
        on_start: called with what is done, and with the number of pictures that it takes.
        on_picture: called after each.
    """

    def __init__(
        self,
        original: FileModel,
        pictures: Sequence[Pixels],
        scratch: Path,
        *,
        jobs: int = 1,
        on_start: Callable[[str, int], None] = lambda what, total: None,
        on_picture: Callable[[], None] = lambda: None,
    ) -> None:
        self.original, self.pictures, self.scratch = original, pictures, scratch
        self.jobs, self.on_start, self.on_picture = jobs, on_start, on_picture
        self._order = np.random.default_rng(_SEED).permutation(len(pictures))
        self._reference = self._answers(original, COMPARED)

    def feeds(self, count: int | None = None) -> Iterator[Array]:
        """Pictures as the input takes them: all, or so many of them."""
        return (self.original.values(pixels) for pixels in self._some(count))

    def save(self, model: ModelProto, name: str = "candidate.onnx") -> Path:
        """Write a model to a file that ONNX Runtime loads."""
        file = self.scratch / name
        file.write_bytes(to_bytes(model))
        return file

    def load(self, model: ModelProto) -> FileModel:
        """A classifier from a model that has the original's input and classes."""
        return FileModel(self.save(model), normalization=self.original.normalization, jobs=self.jobs)

    def divergence(self, model: ModelProto, count: int = COMPARED) -> float:
        """Mean Kullback-Leibler divergence from the original's probabilities, in nats.

        Where they do not add up to one, each class is a choice of its own: the sum over the classes.
        """
        answers = self._answers(self.load(model), count)
        return divergence(self._reference[: len(answers)], answers)

    def _answers(self, model: FileModel, count: int) -> Array:
        return np.stack(list(side_by_side(model.probabilities, self._some(count), self.jobs)))

    def _some(self, count: int | None) -> Iterator[Pixels]:
        """Drawn without order: pictures that stand together show the same classes."""
        return (self.pictures[at] for at in self._order[:count])


def divergence(reference: Array, answers: Array) -> float:
    """Of two classifiers' probabilities, float [pictures, classes]: `Bench.divergence`."""
    p, q = (np.clip(values.astype(np.float64), _TINY, 1 - _TINY) for values in (reference, answers))
    terms = p * np.log(p / q)
    if np.abs(reference.sum(axis=1) - 1).max() > _ONE or reference.shape[1] == 1:
        terms = terms + (1 - p) * np.log((1 - p) / (1 - q))
    return float(terms.sum(axis=1).mean())
