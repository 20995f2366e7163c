"""Rules 5xx: what the model answers to a few pictures."""

from __future__ import annotations

from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject

_SLACK = 1e-5  # rounding of a float32 softmax
_SUM_TOLERANCE = 1e-3


@rule("EW501", "not-probabilities", "error", 14)
def not_probabilities(subject: Subject) -> Findings:
    """The scores are probabilities in 0..1.

    The platform compares them with thresholds in 0..1. Raw logits mean that the softmax was forgotten.
    """
    figures = subject.behaviour
    if not figures["finite"]:
        raise NotApplicableError("the scores are not finite (EW503)")
    if figures["lowest"] < -_SLACK or figures["highest"] > 1 + _SLACK:
        yield (
            f"Scores run from {figures['lowest']:.4g} to {figures['highest']:.4g}, expected is 0..1.",
            "output",
        )


@rule("EW502", "sum-is-not-one", "warning", 14)
def sum_is_not_one(subject: Subject) -> Findings:
    """The scores of one picture sum to 1.

    Sums elsewhere hint at a softmax over the wrong axis, a second one, or independent sigmoids.
    """
    if subject.recorded.activation == "sigmoid":
        raise NotApplicableError("the evidence declares independent sigmoids")
    figures = subject.behaviour
    if not figures["finite"] or figures["lowest"] < -_SLACK or figures["highest"] > 1 + _SLACK:
        raise NotApplicableError("the scores are no probabilities (EW501, EW503)")
    if abs(figures["worst_sum"] - 1) > _SUM_TOLERANCE:
        yield f"The scores of one picture sum to {figures['worst_sum']:.4g}, expected is 1.", "output"


@rule("EW503", "not-finite", "error", 14)
def not_finite(subject: Subject) -> Findings:
    """The scores are finite.

    NaN and infinity are no scores, and no message can carry them.
    """
    if not subject.behaviour["finite"]:
        yield "Some scores are NaN or infinite.", "output"


RULES = (not_probabilities, sum_is_not_one, not_finite)
