"""What `evaluate` returns: figures of merit of classifiers on labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeworthy.frames import Frame, Mode
from edgeworthy.results.predicting import Unreadable


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
