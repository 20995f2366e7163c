"""What the calls return: frozen values with their units, and no logic beyond looking at themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeworthy.contract import Contract, Layout, Normalization
from edgeworthy.frames import Frame, Mode

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

Verdict = Literal["same", "different", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that a file breaks: code, name and severity, what is wrong, where, and why it matters."""

    code: str
    name: str
    severity: Severity
    message: str
    where: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A rule that could not be applied, which is not the same as one that passed."""

    code: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """What the rules say of one file; every rule's code is in exactly one of the three."""

    path: str
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def conforms(self) -> bool:
        """Whether no error was found; warnings leave a file conformant."""
        return not self.of("error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """A file that no rule could be applied to, and why."""

    path: str
    message: str


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
        yardstick: the original in two arithmetics (float32 and float64; for a repaired file, ONNX Runtime
            with and without optimisation), as `max_abs_diff`; None if not needed.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One class of one picture; probability in 0..1."""

    class_id: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The best classes of one picture, best first; of a frame, with its seconds in the video."""

    path: str
    scores: tuple[Score, ...]
    time_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A picture that could not be classified, and why."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How good a classifier is on labelled pictures; shares in 0..1.

    Attributes:
        pictures: how many it was asked about.
        top1, top5: share whose true class is the best, or among the best five; None up to five classes.
        precision, recall, f1: averaged over the classes that have a picture.
        log_loss: mean of -ln(probability of the true class).
        calibration_error: mean distance between how sure it is and how often it is right.
    """

    pictures: int
    top1: Interval
    top5: Interval | None
    precision: Interval
    recall: Interval
    f1: Interval
    log_loss: Interval
    calibration_error: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One class of a classifier, on its pictures; shares in 0..1."""

    class_id: int
    name: str
    pictures: int
    precision: float
    recall: Interval
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How many pictures of one class were taken for which."""

    truth: str
    predicted: str
    pictures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pictures on which a classifier is about equally sure: bounds and mean of its confidence, accuracy."""

    low: float
    high: float
    pictures: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a classifier said of a labelled picture.

    Attributes:
        path: of the picture.
        truth, predicted: class names.
        confidence: the probability of the predicted class.
        likelihood: that of the true one.
    """

    path: str
    truth: str
    predicted: str
    confidence: float
    likelihood: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One classifier in one frame, over all pictures.

    Attributes:
        file: path of the file, or what names the trained model.
        frame, frame_source: how pictures met the input, and who said so.
        figures, classes, confusions, reliability: how good it is; all without a picture of a known class.
        mistakes: the wrong answers that it was surest of, surest first.
        probabilities: whether its scores lie in 0..1; if not, log loss and calibration say nothing.
    """

    file: str
    frame: Frame
    frame_source: str
    figures: Figures
    classes: tuple[ClassFigures, ...]
    confusions: tuple[Confusion, ...]
    reliability: tuple[Bin, ...]
    mistakes: tuple[Answer, ...]
    probabilities: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A picture that is recognised in some frames and not in others: the answer in each mode."""

    path: str
    truth: str
    predicted: Mapping[Mode, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReport:
    """One file in several frames.

    Attributes:
        file: its path.
        top1: in each mode.
        platform: the mode that the platform uses unless it is told otherwise.
        best: the mode to choose.
        p_value: McNemar's, for `best` against `platform`: how likely chance alone makes such a difference.
        advice: what to do, one sentence.
        flips: pictures that change sides, the first of them.
        flipped: the number of all.
    """

    file: str
    top1: Mapping[Mode, float]
    platform: Mode
    best: Mode
    p_value: float
    advice: str
    flips: tuple[Flip, ...]
    flipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A picture on which the file and the trained model differ: class names, and their probabilities."""

    path: str
    truth: str
    file_says: str
    file_probability: float
    model_says: str
    model_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A file against the trained model, in one frame.

    Attributes:
        file, source: their names.
        frame: of both.
        pictures: compared.
        disagreements: all pictures on which the best class differs.
        max_abs_diff: largest difference in the probability of the file's best class or the true one.
    """

    file: str
    source: str
    frame: Frame
    pictures: int
    disagreements: tuple[Disagreement, ...]
    max_abs_diff: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Files on labelled pictures.

    Attributes:
        data: where the pictures are.
        pictures: how many were read and had a label that every file knows.
        labels: how the labels were understood: as names, ids or synsets.
        unreadable: pictures that could not be read.
        unknown: labels that no class of some file stands for, with their pictures, which count nowhere: so
            all files are measured on the same.
        absent: classes of the first file that have no picture.
        runs: each file in each frame; the trained model last, where it was asked.
        frames: for each file that was tried in several frames.
        against: each file and frame against the trained model.
    """

    data: str
    pictures: int
    labels: str
    unreadable: tuple[Unreadable, ...]
    unknown: Mapping[str, int]
    absent: tuple[str, ...]
    runs: tuple[Run, ...]
    frames: tuple[FrameReport, ...]
    against: tuple[Against, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an ONNX file says of itself; None and empty where it is silent.

    Attributes:
        path, sha256, size_bytes: of the file.
        ir_version, opset: of the model and its default operator domain.
        domains: further operator domains with their versions.
        producer: name and version of the tool that wrote it.
        inputs, outputs: (name, dtype, shape); a dynamic dimension is its name, or "?".
        class_names: read from the output's name.
        layout, channels, height_px, width_px: of the first input, where it is a picture.
        normalization: read from the graph's doc_string.
        parameters: number of values in the initialisers.
        nodes: number of nodes; `operators` counts them by type.
        frame: from the evidence.
        evidence: edgeworthy's own metadata, key by key.
        metadata: everybody else's.
    """

    path: str
    sha256: str
    size_bytes: int
    ir_version: int
    opset: int | None
    domains: Mapping[str, int] = field(default_factory=dict)
    producer: str
    inputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    class_names: tuple[str, ...]
    layout: Layout | None
    channels: int | None
    height_px: int | None
    width_px: int | None
    normalization: Normalization | None
    parameters: int
    nodes: int
    operators: Mapping[str, int]
    frame: Frame | None
    evidence: Mapping[str, str]
    metadata: Mapping[str, str]
