"""Rules 5xx: what the model answers to a few pictures."""

from __future__ import annotations

import math
from typing import Any

from edgeworthy.contract import SUM_TOLERANCE
from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject

_SLACK = 1e-5  # rounding of a float32 softmax
_STILL = 1e-7  # scores that differ by less over black, white and noise do not depend on the picture
_MANY_CLASSES = 5  # of fewer, honest scores may be as flat as those of two softmaxes
_FLATTEST = math.e * 1.001  # softmax of values in 0..1 gives no two scores with a larger quotient


@rule("EW501", "not-probabilities", "error", 14, mending="safe", needs="ran")
def not_probabilities(subject: Subject) -> Findings:
    """The scores are probabilities in 0..1.

    The platform compares them with thresholds in 0..1. Raw logits mean that the softmax was forgotten.

    Example: Scores from -6.7 to 6.9, the logits; 0.0001 to 0.98 after a softmax instead.
    """
    figures = subject.behaviour
    if not figures["finite"]:
        raise NotApplicableError("the scores are not finite (EW503)")
    if figures["lowest"] < -_SLACK or figures["highest"] > 1 + _SLACK:
        yield (
            f"Scores run from {figures['lowest']:.4g} to {figures['highest']:.4g}, expected is 0..1.",
            "output",
        )


@rule("EW502", "sum-is-not-one", "warning", 14, mending="no", needs="ran")
def sum_is_not_one(subject: Subject) -> Findings:
    """The scores of one picture sum to 1.

    Sums elsewhere hint at a softmax over the wrong axis, a second one, or independent sigmoids.

    Example: Scores that sum to 3.2, from a sigmoid over classes that exclude each other; a softmax instead.
    """
    if subject.recorded.activation == "sigmoid":
        raise NotApplicableError("the evidence declares independent sigmoids")
    figures = _probabilities(subject)
    if abs(figures["worst_sum"] - 1) > SUM_TOLERANCE:
        yield f"The scores of one picture sum to {figures['worst_sum']:.4g}, expected is 1.", "output"


@rule("EW503", "not-finite", "error", 14, mending="no", needs="ran")
def not_finite(subject: Subject) -> Findings:
    """The scores are finite.

    NaN and infinity are no scores, and no message can carry them.

    Example: A division by a variance of 0 in the graph, so that every score of a black picture is NaN.
    """
    pictures = subject.behaviour["not_finite"]
    if pictures:
        yield f"Scores are NaN or infinite for {', '.join(pictures)}.", "output"


@rule("EW504", "softmax-twice", "warning", 14, mending="unsafe", needs="ran")
def softmax_twice(subject: Subject) -> Findings:
    """The softmax is applied once.

    A second softmax over probabilities flattens them: with 1000 classes none gets above 0.0028, and no
    threshold is ever reached. It happens when a model that ends with a softmax gets another for the platform.

    Example: `Softmax` behind `Softmax`, because the model had one and an export script added another.
    """
    figures = _probabilities(subject)
    if figures["classes"] < _MANY_CLASSES:
        raise NotApplicableError(f"with {figures['classes']} classes flat scores prove nothing")
    if abs(figures["worst_sum"] - 1) > SUM_TOLERANCE or figures["spread"] <= _STILL:
        raise NotApplicableError("the scores are no softmax of the picture (EW502, EW505)")
    if figures["steepest"] <= _FLATTEST:
        yield (
            f"On no picture is one score more than {figures['steepest']:.3g} times another: "
            "flat as after two softmaxes.",
            "output",
        )


@rule("EW505", "picture-ignored", "warning", 14, mending="no", needs="ran")
def picture_ignored(subject: Subject) -> Findings:
    """The scores depend on the picture.

    Scores that are the same for black, white and noise come from a graph that lost its input on the way,
    or from weights that were never trained.

    Example: A head of zeros, as some libraries initialise it: 0.001 for each of 1000 classes, whatever is
    shown.
    """
    figures = subject.behaviour
    if not figures["finite"]:
        raise NotApplicableError("the scores are not finite (EW503)")
    if figures["spread"] <= _STILL:
        yield "The scores are the same for black, white and noise.", "output"


def _probabilities(subject: Subject) -> dict[str, Any]:
    figures = subject.behaviour
    if not figures["finite"] or figures["lowest"] < -_SLACK or figures["highest"] > 1 + _SLACK:
        raise NotApplicableError("the scores are no probabilities (EW501, EW503)")
    return figures


RULES = (not_probabilities, sum_is_not_one, not_finite, softmax_twice, picture_ignored)
