"""Figures of merit with their intervals, from what was noted of each picture.

All of a classifier's answer that is kept of a picture are five numbers (`Notes`), so that a million pictures
take 20 MB. Figures come from scikit-learn, intervals from SciPy; all of them are of 95 %:

- proportions (top-1, top-5, recall of a class): Wilson's score interval. E. B. Wilson, Probable
  inference, JASA 22 (1927), 209.
- log loss: Student's t for a mean.
- macro averages and the calibration error: the basic bootstrap, 300 samples with a fixed seed.
  A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application (1997), 5.2.

The calibration error is the expected calibration error in 15 equal bins of confidence. C. Guo et al., On
calibration of modern neural networks (ICML 2017).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeworthy.errors import MissingExtraError
from edgeworthy.results import Bin, ClassFigures, Confusion, Figures, Interval

LEVEL = 0.95
BINS = 15
_RESAMPLES = 300
_TOP = 5
_SEED = 0
_SMALLEST = 1e-15  # of a probability, or one picture's logarithm would be infinite

Vector = npt.NDArray[Any]


class Note(NamedTuple):
    """What is kept of a classifier's answer to one picture.

    Attributes:
        truth, predicted: class ids.
        confidence: the probability of the predicted class.
        likelihood: that of the true one.
        rank: of the true class, 0 where it is the best.
    """

    truth: int
    predicted: int
    confidence: float
    likelihood: float
    rank: int


def note(probabilities: npt.NDArray[np.float32], truth: int) -> Note:
    """The answer in five numbers; NaN is worse than anything, and of equals the first is the better."""
    values = np.nan_to_num(probabilities, nan=-1.0)
    best, own = int(values.argmax()), values[truth]
    rank = int((values > own).sum() + (values[:truth] == own).sum())
    return Note(truth, best, float(values[best]), float(own), rank)


class Notes:
    """The notes of one classifier, column by column."""

    def __init__(self) -> None:
        self._columns: tuple[Any, ...] = (array("i"), array("i"), array("f"), array("f"), array("i"))

    def add(self, one: Note) -> None:
        """Behind the others."""
        for column, value in zip(self._columns, one, strict=True):
            column.append(value)

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def truth(self) -> Vector:
        """Int32 [pictures]."""
        return np.asarray(self._columns[0])

    @property
    def predicted(self) -> Vector:
        """Int32 [pictures]."""
        return np.asarray(self._columns[1])

    @property
    def confidence(self) -> Vector:
        """Float32 [pictures]."""
        return np.asarray(self._columns[2])

    @property
    def likelihood(self) -> Vector:
        """Float32 [pictures]."""
        return np.asarray(self._columns[3])

    @property
    def rank(self) -> Vector:
        """Int32 [pictures]."""
        return np.asarray(self._columns[4])

    @property
    def right(self) -> Vector:
        """Whether the best class is the true one; bool [pictures]."""
        right: Vector = self.truth == self.predicted
        return right


def figures(notes: Notes, classes: int) -> Figures:
    """Of one classifier on at least one picture.

    Macro averages are over the classes that have a picture.

    Raises:
        MissingExtraError: without scikit-learn.
    """
    library = require_library()
    pairs, counts = _pairs(notes)

    def macro(weights: Vector) -> Vector:
        """Over the classes that are drawn: others would count as zero, and a sample seem worse than it is."""
        of_class = library.precision_recall_fscore_support(
            *pairs,
            labels=np.unique(pairs[0][weights > 0]),
            average="macro",
            sample_weight=weights,
            zero_division=0,
        )
        return np.asarray(of_class[:3], dtype=float)

    random = np.random.default_rng(_SEED)
    draws = random.multinomial(len(notes), counts / len(notes), size=_RESAMPLES)  # of pictures, by their pair
    precision, recall, f1 = _basic(macro(counts), np.stack([macro(draw) for draw in draws]))
    confidence, right = notes.confidence, notes.right
    errors = [
        calibration_error(confidence[some], right[some])
        for some in (random.integers(len(notes), size=len(notes)) for _ in range(_RESAMPLES))
    ]
    (calibration,) = _basic([calibration_error(confidence, right)], np.array(errors)[:, None])
    losses = -np.log(np.maximum(notes.likelihood.astype(float), _SMALLEST))
    return Figures(
        pictures=len(notes),
        top1=proportion(int(notes.right.sum()), len(notes)),
        top5=proportion(int((notes.rank < _TOP).sum()), len(notes)) if classes > _TOP else None,
        precision=precision,
        recall=recall,
        f1=f1,
        log_loss=_mean(losses),
        calibration_error=calibration,
    )


def by_class(notes: Notes, class_names: Sequence[str]) -> tuple[ClassFigures, ...]:
    """Of the classes that have a picture, in the model's order."""
    present = np.unique(notes.truth)
    precision, _, f1, support = require_library().precision_recall_fscore_support(
        notes.truth, notes.predicted, labels=present, average=None, zero_division=0
    )
    hits = np.bincount(notes.truth[notes.right], minlength=len(class_names))
    return tuple(
        ClassFigures(
            class_id=int(ident),
            name=class_names[ident],
            pictures=int(support[at]),
            precision=round(float(precision[at]), 6),
            recall=proportion(int(hits[ident]), int(support[at])),
            f1=round(float(f1[at]), 6),
        )
        for at, ident in enumerate(present)
    )


def confusions(notes: Notes, class_names: Sequence[str]) -> tuple[Confusion, ...]:
    """How often which class was taken for which, right answers included, most frequent first."""
    pairs, counts = _pairs(notes)
    order = np.argsort(-counts, kind="stable")
    return tuple(
        Confusion(
            truth=class_names[pairs[0, at]], predicted=class_names[pairs[1, at]], pictures=int(counts[at])
        )
        for at in order
    )


def reliability(notes: Notes) -> tuple[Bin, ...]:
    """How often the classifier is right where it is so sure; empty bins are left out."""
    _, means, rates, counts = _binned(notes.confidence, notes.right)
    edges = np.linspace(0, 1, BINS + 1)
    return tuple(
        Bin(
            low=round(float(edges[at]), 4),
            high=round(float(edges[at + 1]), 4),
            pictures=int(counts[at]),
            confidence=round(float(means[at]), 6),
            accuracy=round(float(rates[at]), 6),
        )
        for at in np.flatnonzero(counts)
    )


def calibration_error(confidence: Vector, right: Vector) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted with their pictures; 0..1."""
    _, means, rates, counts = _binned(confidence, right)
    return float((counts * np.abs(means - rates)).sum() / max(1, counts.sum()))


def proportion(hits: int, trials: int) -> Interval:
    """A share with Wilson's interval."""
    from scipy.stats import binomtest

    bounds = binomtest(hits, trials).proportion_ci(LEVEL, method="wilson")
    return _interval(hits / trials, bounds.low, bounds.high)


def discordance(right: Vector, others: Vector) -> tuple[int, int, float]:
    """(only the first is right, only the second is right, McNemar's exact p-value that this is chance)."""
    from scipy.stats import binomtest

    first, second = int((right & ~others).sum()), int((others & ~right).sum())
    p_value = binomtest(first, first + second).pvalue if first + second else 1.0
    return first, second, float(p_value)


def difference(right: Vector, others: Vector) -> Interval:
    """How many of all pictures the first recognises more than the second, as a share of them, -1..1.

    The interval is for matched pairs, with half a picture added to each way to answer. A. Agresti, Y. Min,
    Simple improved confidence intervals for comparing matched proportions, Statistics in Medicine 24 (2005).
    """
    from scipy.stats import norm

    first, second, count = int((right & ~others).sum()), int((others & ~right).sum()), len(right)
    centre, pictures = (first - second) / (count + 2), count + 2
    spread = (first + second + 1 - (first - second) ** 2 / pictures) ** 0.5 / pictures
    reach = float(norm.ppf((1 + LEVEL) / 2)) * spread
    return _interval((first - second) / count, max(-1.0, centre - reach), min(1.0, centre + reach))


def _binned(confidence: Vector, right: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.maximum(counts, 1)
    means = np.bincount(bins, weights=confidence, minlength=BINS) / filled
    rates = np.bincount(bins, weights=right, minlength=BINS) / filled
    return bins, means, rates, counts


def _mean(values: Vector) -> Interval:
    from scipy.stats import ttest_1samp

    mean = float(values.mean())
    if len(values) < 2 or values.std() == 0:
        return _interval(mean, mean, mean)
    bounds = ttest_1samp(values, 0.0).confidence_interval(LEVEL)
    return _interval(mean, max(0.0, bounds.low), bounds.high)


def _basic(values: Sequence[float] | Vector, draws: Vector) -> list[Interval]:
    """Basic bootstrap intervals, in 0..1, for draws [resamples, values]; widened to hold the value itself."""
    tail = (1 - LEVEL) / 2
    high, low = 2 * np.asarray(values) - np.quantile(draws, (tail, 1 - tail), axis=0)
    bounds = zip(values, np.clip(low, 0, 1), np.clip(high, 0, 1), strict=True)
    return [_interval(value, min(value, below), max(value, above)) for value, below, above in bounds]


def _pairs(notes: Notes) -> tuple[Vector, Vector]:
    """Which (truth, predicted) occur, int [2, pairs], and on how many pictures, int [pairs]."""
    both = np.stack([notes.truth, notes.predicted])
    pairs, counts = np.unique(both, axis=1, return_counts=True)
    return pairs, counts


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=round(float(value), 6), low=round(float(low), 6), high=round(float(high), 6))


def require_library(extra: str = "evaluate") -> Any:
    """scikit-learn's metrics, which an extra of edgeworthy brings, with SciPy beneath them.

    Raises:
        MissingExtraError: where they are not installed.
    """
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingExtraError("scikit-learn", extra) from error
    return metrics
