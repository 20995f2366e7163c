"""What `quantize` returns: a smaller file, what it was judged by, and the steps that led to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeworthy.results.checking import LintReport
from edgeworthy.results.evaluating import Interval

Precision = Literal["int8", "float16"]
RangeMethod = Literal["mse", "minmax", "percentile", "entropy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A smaller file against the one that it was made from, on pictures that it was not made with.

    Attributes:
        pictures: compared.
        labelled: of these, how many have a label that the model knows.
        agreement: share of the pictures with the same best class.
        top1, top1_before: share of the labelled pictures that are recognised; None without labels.
        drop: how many points of top-1 are lost, below zero where some are won; None without labels.
        max_drop, min_agreement: what was asked for; None where it was not.
        max_abs_diff: largest difference in a probability.
        held: whether all that was asked for is met.
    """

    pictures: int
    labelled: int
    agreement: Interval
    top1: Interval | None
    top1_before: Interval | None
    drop: Interval | None
    max_drop: float | None
    min_agreement: float | None
    max_abs_diff: float
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One step on the way to a file that holds the gate.

    Attributes:
        name: what was done.
        detail: what came of it.
        divergence: mean Kullback-Leibler divergence from the original on calibration pictures, in nats.
        gate: what the file was judged by then; None where the step did not make it better.
        seconds: how long it took.
    """

    name: str
    detail: str
    divergence: float
    gate: Gate | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A layer, and what is won by leaving it in float: points of divergence as in `Attempt`, in nats."""

    layer: str
    operator: str
    parameters: int
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A file in lower precision.

    Attributes:
        source: path of the original.
        path: of the smaller file; None where it was not written, as the gate was missed.
        sha256, size_bytes: of the smaller file.
        source_bytes: size of the original.
        precision: of its arithmetic; input and output stay float32.
        ranges: how the bounds of 8-bit values were chosen; None for float16.
        processors: which ones the file is for, one sentence.
        layers: how many have weights.
        float_layers: those of them that compute in float32.
        calibration_pictures: what it was made with.
        attempts: the steps, in order; the last one with a gate is the file.
        gate: what the file was judged by.
        blames: layers by what they cost, worst first, where that was measured.
        lint: what the rules say of the file.
        notes: what the user should know, one sentence each.
    """

    source: str
    path: str | None
    sha256: str
    size_bytes: int
    source_bytes: int
    precision: Precision
    ranges: RangeMethod | None
    processors: str
    layers: int
    float_layers: tuple[str, ...]
    calibration_pictures: int
    attempts: tuple[Attempt, ...]
    gate: Gate
    blames: tuple[Blame, ...]
    lint: LintReport | None
    notes: tuple[str, ...] = ()
