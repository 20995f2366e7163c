"""Does a file predict what the original predicted? The reference against the candidate, probe by probe.

The yardstick is the original's own rounding. ONNX Runtime with and without its graph optimisation
already differs by 1.5e-6 in probability on EfficientNet-Lite0, so 1e-5 passes. Where a difference is
larger, the original decides: in float32 against itself on the same probes moved by one unit in the last
place, and against itself in float64, times four. Group normalisation of a flat picture, say, amplifies the
rounding of its input, which float64 alone does not show. What counts is what rounding moved, or what the same
rounding of other logits would have moved. For a repaired file the original is a file, too, and
the yardstick ONNX Runtime with its optimisation against itself without. A model that is rougher than ROUGHEST
proves nothing: it may hold noise, or hang on a rounding error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeworthy.evidence import Activation
from edgeworthy.results import Parity, Verdict

Floats = npt.NDArray[np.floating[Any]]

TOLERANCE = 1e-5
YARDSTICKS = 4.0
ROUGHEST = 1e-3  # the largest tolerance that the yardstick can give; more takes `atol`
ROUGHEST_HALF = 1e-2  # of models in half precision, whose numbers have three decimal digits
CONCLUSIVE_SPREAD = 1e-3  # a hundred tolerances: below this, agreement says little

_NORMAL_MEDIAN = 1.4826  # of a normal distribution: standard deviation over median absolute deviation
_SMALLEST = 1e-30  # below, a float32 softmax has lost its digits
_SIGMOID_EDGE = 1e-4  # nearer to 0 or 1, a float32 sigmoid cannot be inverted


def verify(
    *,
    probes: Sequence[str],
    reference: Floats,
    candidate: Floats,
    logits: Floats,
    activation: Activation,
    otherwise: Callable[[int], Iterable[Floats]] = lambda _: (),
    atol: float | None = None,
    roughest: float = ROUGHEST,
) -> Parity:
    """Compare probabilities [probes, classes] of the original and of the file.

    Args:
        probes: a name for each row.
        reference: the original's probabilities.
        candidate: the file's; they may hold NaN, which counts as a difference of 1.
        logits: the original's raw scores [probes, columns].
        activation: what made probabilities of them.
        otherwise: the original's probabilities [classes] on one probe in other arithmetics, such as double
            precision or without the runtime's optimisation, none where it refuses; asked for only when
            needed, one by one, until the yardstick suffices.
        atol: tolerance in probability in place of the yardstick.
        roughest: the largest tolerance that the yardstick can give.

    Returns:
        Figures rounded to two significant digits, so that runs repeat.
    """
    differences = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    differences = np.where(np.isfinite(differences), differences, 1.0)
    largest = float(differences.max())
    tolerance, yardstick = TOLERANCE if atol is None else atol, None
    if atol is None and largest > TOLERANCE:
        moves = _moves_of_softmax if activation == "softmax" else _moves
        yardstick = _yardstick(reference, differences.max(axis=1), otherwise, moves)
        tolerance = min(roughest, max(TOLERANCE, YARDSTICKS * (yardstick or 0)))
    spread = float(np.ptp(reference, axis=0).max())
    agrees = _top1(reference) == _top1(candidate)
    decided = _gap(reference) > 2 * tolerance
    in_logits = _logit_differences(logits, candidate, activation)
    return Parity(
        samples=len(probes),
        max_abs_diff=_rounded(largest),
        mean_abs_diff=_rounded(float(differences.mean())),
        max_abs_diff_logits=_rounded(float(in_logits.max())) if in_logits.size else None,
        mean_abs_diff_logits=_rounded(float(in_logits.mean())) if in_logits.size else None,
        spread=_rounded(spread),
        top1_agreement=float(np.round(agrees.mean(), 4)),
        tolerance=_rounded(tolerance),
        yardstick=None if yardstick is None else _rounded(yardstick),
        widened=atol is not None and atol > TOLERANCE,
        worst_probe=probes[int(differences.max(axis=1).argmax())],
        verdict=_verdict(
            fits=largest <= tolerance and bool(agrees[decided].all()),
            moves=spread >= max(CONCLUSIVE_SPREAD, 10 * tolerance),
        ),
    )


def _yardstick(
    reference: Floats,
    differences: Floats,
    otherwise: Callable[[int], Iterable[Floats]],
    moves: Callable[[Floats, Floats], float],
) -> float | None:
    """What the arithmetics differ by on the probes, the worst first, until that explains them all."""
    found = None
    for probe in np.argsort(-differences, kind="stable"):
        for other in otherwise(int(probe)):
            found = max(found or 0.0, moves(reference[probe], other))
            if YARDSTICKS * found >= differences.max():
                return found
        if found is None:
            return None
    return found


def _moves(scores: Floats, other: Floats) -> float:
    """By how much two arithmetics differ in the probabilities [classes] of one probe."""
    return float(np.abs(other - scores).max())


def _moves_of_softmax(scores: Floats, other: Floats) -> float:
    """By how much they differ, or would where rounding had moved the logits of other classes.

    Of a thousand logits two or three decide the probabilities, and may by chance have hardly moved: on a flat
    picture timm's vit_tiny_r_s16_p8_224 moves probabilities by 9e-6 and logits by up to 5.7e-4, and ONNX
    Runtime, whose logits differ by as much, probabilities by 6.4e-5. To first order, logits that move by dl
    move a probability by p (1 - p) times what dl differs by from the others' mean; two logits that move
    independently with the standard deviation s differ by s times the square root of two. It is taken from the
    median of the deviations, so that a class or two that hang on rounding allow nothing to the others.
    """
    before, after = scores.astype(np.float64), other.astype(np.float64)
    telling = (before > _SMALLEST) & (after > _SMALLEST)
    if not telling.any():
        return _moves(scores, other)
    moved = np.log(after[telling] / before[telling])
    deviation = _NORMAL_MEDIAN * float(np.median(np.abs(moved - np.median(moved))))
    return max(_moves(scores, other), 2**0.5 * deviation * float((before * (1 - before)).max()))


def _verdict(*, fits: bool, moves: bool) -> Verdict:
    if not fits:
        return "different"
    return "same" if moves else "inconclusive"


def _top1(scores: Floats) -> npt.NDArray[np.intp]:
    return np.asarray(np.nan_to_num(scores, nan=-1.0).argmax(axis=1))


def _gap(scores: Floats) -> Floats:
    best = np.sort(scores, axis=1)
    return np.asarray(best[:, -1] - best[:, -2]) if scores.shape[1] > 1 else np.zeros(len(scores))


def _logit_differences(logits: Floats, candidate: Floats, activation: Activation) -> Floats:
    """Differences in logits, recovered from the file's own probabilities where these still tell.

    Softmax forgets a constant: its logits are compared as logarithms of probabilities.
    """
    raw, scores = logits.astype(np.float64), candidate.astype(np.float64)
    if activation == "none":
        return np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if activation == "softmax":
            expected = raw - raw.max(axis=1, keepdims=True)
            expected = expected - np.log(np.exp(expected).sum(axis=1, keepdims=True))
            found = np.log(scores)
            telling = (scores > _SMALLEST) & (expected > np.log(_SMALLEST))
        else:
            scores = scores[:, 1:] if raw.shape[1] == 1 else scores
            expected, found = raw, np.log(scores / (1 - scores))
            telling = (scores > _SIGMOID_EDGE) & (scores < 1 - _SIGMOID_EDGE)
    return np.asarray(np.abs(expected - found)[telling])


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
