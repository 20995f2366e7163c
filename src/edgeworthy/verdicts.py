"""What follows from the notes of an evaluation: figures, the frame to choose, disagreements."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeworthy.frames import Frame, Mode
from edgeworthy.images import Pixels
from edgeworthy.labelled import Labelled
from edgeworthy.metrics import Notes, by_class, confusions, discordance, figures, reliability
from edgeworthy.results import Against, Answer, Disagreement, Flip, FrameReport, Run

PLATFORM: Mode = "letterbox"

_SLACK = 1e-5  # float32 probabilities may reach beyond 0..1 by so much
_SURELY = 0.05  # McNemar's p-value below which a frame is called better


class Classifies(Protocol):
    """What can be evaluated; called from several threads."""

    @property
    def class_names(self) -> Sequence[str]:
        """In the order of its outputs; empty before the first answer of a file without names."""
        ...

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of all classes, float32 [classes], for framed pixels, uint8 [H, W, C]."""
        ...


@dataclass(kw_only=True)
class Entry:
    """One classifier in one frame, and what was noted of it.

    Attributes:
        name: of the file, or of the trained model.
        model: what is asked.
        frame, source: how pictures meet it, and who said so.
        truth: class ids of the labels.
        trained: whether it is the trained model.
        notes: of its answers.
        places: of the pictures, for each note.
    """

    name: str
    model: Classifies
    frame: Frame
    source: str
    truth: Mapping[str, int]
    trained: bool = False
    notes: Notes = field(default_factory=Notes)
    places: list[int] = field(default_factory=list)


def run_of(entry: Entry, examples: Sequence[Labelled], mistakes: int) -> Run:
    """Figures of one entry, and so many of its surest mistakes."""
    names = entry.model.class_names
    return Run(
        file=entry.name,
        frame=entry.frame,
        frame_source=entry.source,
        figures=figures(entry.notes, len(names)),
        classes=by_class(entry.notes, names),
        confusions=confusions(entry.notes, names),
        reliability=reliability(entry.notes),
        mistakes=tuple(_answer(entry, at, examples) for at in _surest(entry.notes, mistakes)),
        probabilities=_are_probabilities(entry.notes),
    )


def _are_probabilities(notes: Notes) -> bool:
    values = np.concatenate([notes.confidence, notes.likelihood])
    return bool(((values >= -_SLACK) & (values <= 1 + _SLACK)).all())


def _surest(notes: Notes, count: int) -> list[int]:
    wrong = np.flatnonzero(~notes.right)
    return heapq.nsmallest(count, wrong.tolist(), key=lambda at: (-notes.confidence[at], at))


def _answer(entry: Entry, at: int, examples: Sequence[Labelled]) -> Answer:
    notes, names = entry.notes, entry.model.class_names
    return Answer(
        path=examples[entry.places[at]].path,
        truth=names[notes.truth[at]],
        predicted=names[notes.predicted[at]],
        confidence=round(float(notes.confidence[at]), 6),
        likelihood=round(float(notes.likelihood[at]), 6),
    )


def frame_reports(entries: Sequence[Entry], examples: Sequence[Labelled]) -> tuple[FrameReport, ...]:
    """For each file that was tried in several frames."""
    found = []
    for same in _by_model(entries):
        if len(same) > 1 and not same[0].trained:
            found.append(_frame_report(same, examples))
    return tuple(found)


def _by_model(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    models = {id(entry.model): entry.model for entry in entries}
    for model in models.values():
        yield [entry for entry in entries if entry.model is model]


def _frame_report(entries: Sequence[Entry], examples: Sequence[Labelled]) -> FrameReport:
    right = {entry.frame.mode: entry.notes.right for entry in entries}
    top1 = {mode: float(hits.mean()) for mode, hits in right.items()}
    platform = PLATFORM if PLATFORM in top1 else next(iter(top1))
    best = max(top1, key=lambda mode: (top1[mode], mode == platform))
    *_, p_value = discordance(right[best], right[platform])
    if p_value >= _SURELY:
        best = platform
    changing = np.flatnonzero(~np.all([hits == right[platform] for hits in right.values()], axis=0))
    flips = []
    for at in changing.tolist():
        answers = {entry.frame.mode: _answer(entry, at, examples) for entry in entries}
        one = answers[platform]
        predicted = {mode: answer.predicted for mode, answer in answers.items()}
        flips.append(Flip(path=one.path, truth=one.truth, predicted=predicted))
    return FrameReport(
        file=entries[0].name,
        top1={mode: round(share, 6) for mode, share in top1.items()},
        platform=platform,
        best=best,
        p_value=float(f"{p_value:.4g}"),  # 1e-11 is not 0
        advice=_advice(top1, platform, best, p_value),
        flips=tuple(flips),
        flipped=len(changing),
    )


def _advice(top1: Mapping[Mode, float], platform: Mode, best: Mode, p_value: float) -> str:
    if platform != PLATFORM:
        return f"The platform letterboxes unless told otherwise: add {PLATFORM} to the frames to see that."
    if best == platform:
        others = ", ".join(f"{mode} {share:.1%}" for mode, share in top1.items() if mode != platform)
        return (
            f"Leave the platform's setting at {platform}: {top1[platform]:.1%} top-1, and none of the others "
            f"is surely better ({others})."
        )
    return (
        f"Set the platform to {best}: {top1[best]:.1%} top-1 in place of {top1[platform]:.1%} with "
        f"{platform}, its default (p = {p_value:.2g})."
    )


def comparisons(entries: Sequence[Entry], examples: Sequence[Labelled]) -> tuple[Against, ...]:
    """Each file against the trained model, in the frames and on the pictures that both have."""
    trained = [entry for entry in entries if entry.trained]
    found = []
    for mine in entries:
        for theirs in trained:
            same = theirs.frame == mine.frame and list(theirs.model.class_names) == list(
                mine.model.class_names
            )
            if not mine.trained and same:
                found.append(_compared(mine, theirs, examples))
    return tuple(found)


def _compared(mine: Entry, theirs: Entry, examples: Sequence[Labelled]) -> Against:
    names = mine.model.class_names
    parted = np.flatnonzero(mine.notes.predicted != theirs.notes.predicted).tolist()
    together = mine.notes.predicted == theirs.notes.predicted
    differences = np.abs(mine.notes.likelihood - theirs.notes.likelihood)
    differences[together] = np.maximum(differences, np.abs(mine.notes.confidence - theirs.notes.confidence))[
        together
    ]
    return Against(
        file=mine.name,
        source=theirs.name,
        frame=mine.frame,
        pictures=len(mine.notes),
        disagreements=tuple(
            Disagreement(
                path=examples[mine.places[at]].path,
                truth=names[mine.notes.truth[at]],
                file_says=names[mine.notes.predicted[at]],
                file_probability=round(float(mine.notes.confidence[at]), 6),
                model_says=names[theirs.notes.predicted[at]],
                model_probability=round(float(theirs.notes.confidence[at]), 6),
            )
            for at in parted
        ),
        max_abs_diff=float(f"{differences.max():.2g}"),
    )
