"""What `export`, `verify` and `repair` return: finished files and the proof of their predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeworthy.contract import Contract
from edgeworthy.frames import Frame
from edgeworthy.results.checking import LintReport

Verdict = Literal["same", "different", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far the file's predictions are from the original's, over all probes and classes.

    Attributes:
        samples: number of probes.
        max_abs_diff, mean_abs_diff: in probability, 0..1.
        max_abs_diff_logits, mean_abs_diff_logits: in logits; None where the activation has none.
        spread: largest range of one class's probability over the probes, 0..1.
        top1_agreement: share of the probes on which the best class is the same, 0..1.
        tolerance: the largest `max_abs_diff` that passes.
        yardstick: the original in two arithmetics (float32, and moved by rounding or in float64; for a
            repaired file, ONNX Runtime with and without optimisation), as `max_abs_diff`, or what as much
            rounding of other logits would have made it; None if not needed.
        widened: whether the caller set the tolerance.
        worst_probe: name of the probe with `max_abs_diff`.
        verdict: `inconclusive` when all agrees and the predictions hardly move.
    """

    samples: int
    max_abs_diff: float
    mean_abs_diff: float
    max_abs_diff_logits: float | None
    mean_abs_diff_logits: float | None
    spread: float
    top1_agreement: float
    tolerance: float
    yardstick: float | None = None
    widened: bool = False
    worst_probe: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a long road: what was done, what came of it, and how long it took in seconds."""

    name: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A finished file and everything that is known of it.

    Attributes:
        path, sha256, size_bytes: of the file.
        contract: what it promises the platform.
        lint, parity: the evidence.
        frame: how the training pipeline turned a picture into the input, or None where unknown.
        stages: the road, in order.
        notes: what the user should know, one sentence each.
    """

    path: str
    sha256: str
    size_bytes: int
    contract: Contract
    lint: LintReport
    parity: Parity
    frame: Frame | None
    stages: tuple[Stage, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a repair did to a file.

    Attributes:
        repair: its name.
        mends: codes of the rules that it is for; empty for what was merely asked for.
        safety: `unsafe` where predictions may change.
        message: what was changed.
    """

    repair: str
    mends: tuple[str, ...]
    safety: Literal["safe", "unsafe"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A file after its repair.

    Attributes:
        source: path of the original.
        path: of the repaired file; None where nothing was written, as asked.
        sha256, size_bytes: of the repaired file, written or not.
        changes: in the order in which they were made; empty where the file was left as it is.
        before, after: what the rules say of both.
        parity: the repaired file's predictions against the original's; None without changes.
        exact: whether the predictions had to be equal to the bit.
        difference: lines of a unified difference between both graphs, where it was asked for.
    """

    source: str
    path: str | None
    sha256: str
    size_bytes: int
    changes: tuple[Change, ...]
    before: LintReport
    after: LintReport
    parity: Parity | None
    exact: bool
    difference: tuple[str, ...] = ()
