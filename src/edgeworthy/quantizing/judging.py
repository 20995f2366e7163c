"""The gate: what a smaller file keeps of the original's answers, on pictures that it was not made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgeworthy.errors import OptionError
from edgeworthy.filemodel import FileModel
from edgeworthy.images import Pixels
from edgeworthy.metrics import difference, proportion
from edgeworthy.pipeline import side_by_side
from edgeworthy.results import Gate, Interval

MAX_DROP = 0.5  # points of top-1, where there are labels
MIN_AGREEMENT = 0.97  # where there are none

_EVEN = 0.5  # the probability from which a classifier of one class says yes


class Jury:
    """Judges candidates.

    Args:
        original: the classifier in float32.
        pictures: framed, none of them among the calibration pictures.
        truths: the class id of each picture, or None where it is not known.
        max_drop: how many points of top-1 may be lost; by default `MAX_DROP` with labels.
        min_agreement: which share of the best classes has to stay; by default `MIN_AGREEMENT` without labels.
        jobs: pictures at a time.
        on_picture: called after each picture.

    Raises:
        OptionError: where points of top-1 are asked for, and no picture has a label.
    """

    def __init__(
        self,
        original: FileModel,
        pictures: Sequence[Pixels],
        truths: Sequence[int | None],
        *,
        max_drop: float | None = None,
        min_agreement: float | None = None,
        jobs: int = 1,
        on_picture: Callable[[], None] = lambda: None,
    ) -> None:
        labels = any(truth is not None for truth in truths)
        if max_drop is not None and not labels:
            raise OptionError(
                f"None of the {len(truths)} pictures to judge by has a label that the model knows.",
                hint="Give --judge pictures of its classes, or ask for --min-agreement alone.",
            )
        if max_drop is None and min_agreement is None:
            max_drop, min_agreement = (MAX_DROP, None) if labels else (None, MIN_AGREEMENT)
        self._max_drop, self._min_agreement = max_drop, min_agreement
        self._pictures, self._jobs, self._on_picture = pictures, jobs, on_picture
        self._known = np.array([truth is not None for truth in truths])
        self._truths = np.array([-1 if truth is None else truth for truth in truths])
        self._answers = self._ask(original)

    @property
    def size(self) -> int:
        """How many pictures it looks at."""
        return len(self._pictures)

    def judge(self, candidate: FileModel) -> Gate:
        """Show a candidate all pictures."""
        answers = self._ask(candidate)
        before, after = decisions(self._answers), decisions(answers)
        same = before == after
        agreement = proportion(int(same.sum()), len(same))
        top1 = top1_before = drop = None
        if self._known.any():
            was, now = ((said == self._truths)[self._known] for said in (before, after))
            top1, top1_before = (proportion(int(right.sum()), len(right)) for right in (now, was))
            lost = difference(was, now)
            drop = Interval(value=100 * lost.value, low=100 * lost.low, high=100 * lost.high)
        return Gate(
            pictures=len(same),
            labelled=int(self._known.sum()),
            agreement=agreement,
            top1=top1,
            top1_before=top1_before,
            drop=drop,
            max_drop=self._max_drop,
            min_agreement=self._min_agreement,
            max_abs_diff=round(float(np.abs(answers - self._answers).max()), 6),
            held=self._holds(agreement, drop),
        )

    def _holds(self, agreement: Interval, drop: Interval | None) -> bool:
        if self._max_drop is not None and (drop is None or drop.value > self._max_drop):
            return False
        return self._min_agreement is None or agreement.value >= self._min_agreement

    def _ask(self, model: FileModel) -> npt.NDArray[np.float32]:
        """Probabilities, float32 [pictures, classes]."""
        found = []
        for scores in side_by_side(model.probabilities, self._pictures, self._jobs):
            found.append(scores)
            self._on_picture()
        return np.stack(found)


def decisions(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """The best class of each picture, int [pictures]; where there is one class, 0 for yes and 1 for no."""
    if probabilities.shape[1] == 1:
        return np.where(probabilities[:, 0] > _EVEN, 0, 1)
    best: npt.NDArray[np.intp] = np.nan_to_num(probabilities, nan=-1.0).argmax(axis=1)
    return best
