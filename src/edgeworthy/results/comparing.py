"""What `compare` returns: how far two classifiers are apart, in what they say and in what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeworthy.frames import Frame
from edgeworthy.results.checking import Finding
from edgeworthy.results.evaluating import Interval
from edgeworthy.results.making import Parity, Verdict
from edgeworthy.results.predicting import Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A picture on which two classifiers name another class: both classes, with their probabilities."""

    path: str
    first_says: str
    first_probability: float
    second_says: str
    second_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two classifiers on pictures without labels.

    Attributes:
        pictures: how many both have seen.
        share: on how many of them both name the same class, 0..1.
        max_abs_diff: largest difference in the probability of any class.
        worst_picture: the path of the picture with that difference.
        disagreements: all pictures on which the best class differs.
        frames: how pictures met each of the two.
        unreadable: pictures that could not be read.
    """

    pictures: int
    share: Interval
    max_abs_diff: float
    worst_picture: str
    disagreements: tuple[Apart, ...]
    frames: tuple[Frame, Frame]
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that two files say or hold differently, in words; "" where one has nothing of the kind."""

    what: str
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A node of a graph: operator, name, and the names of what it reads and gives."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Where two classifiers part on one picture.

    Distances are relative: the length of the difference of two arrays over the length of the first.

    Attributes:
        outcome: `parted`; `healed`, where values inside differ and the scores do not; `never`, where no value
            that was looked at differs.
        probe: name of the picture.
        first, second: the node after which values differ, in the file and, for two files, in the other one.
        value: the name of what differs: a value of the first file.
        distance, allowed: there, and what rounding explains.
        agreeing: the values or modules before it that agree.
        between_first, between_second: nodes from those to `value`, in each file: the fault is among them.
        modules: of a trained model, likewise.
        reasons: what these nodes have different, in words, where it shows.
        compared, values: how many values correspond to one of the other side, and how many there are.
    """

    outcome: Literal["parted", "healed", "never"]
    probe: str
    first: GraphNode | None = None
    second: GraphNode | None = None
    value: str = ""
    distance: float = 0.0
    allowed: float = 0.0
    agreeing: tuple[str, ...] = ()
    between_first: tuple[str, ...] = ()
    between_second: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    compared: int
    values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two files, or a file and a trained model.

    Attributes:
        first, second: what names them.
        kind: what the second one is.
        classes: how their classes correspond, in words.
        parity: of their predictions on probes; the trained model, or else the first file, is the original.
        agreement: on pictures; None without any.
        verdict: `same` only where the probes say so, and no picture's probabilities are further apart.
        structure: what two files have different; empty for a file and a trained model.
        only_first, only_second: findings of rules that only one of two files breaks.
        parting: where they part; None where it was not asked for.
        difference: lines of a unified difference between two graphs, where it was asked for.
    """

    first: str
    second: str
    kind: Literal["file", "source"]
    classes: str
    parity: Parity
    agreement: Agreement | None
    verdict: Verdict
    structure: tuple[Difference, ...]
    only_first: tuple[Finding, ...]
    only_second: tuple[Finding, ...]
    parting: Parting | None
    difference: tuple[str, ...] = ()
