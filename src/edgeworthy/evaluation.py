"""evaluate(): labelled pictures in, figures of merit out, for several files and frames in one pass.

Each picture is decoded once, framed once in each way that is asked about, and shown to every file.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgeworthy.contract import Normalization
from edgeworthy.decoding import STRICT, Decoding
from edgeworthy.errors import ImageError, OptionError
from edgeworthy.filemodel import FileModel, shared_out
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import Pixels, frame_picture, open_picture
from edgeworthy.labelled import Labelled, Resolution, read_labelled, resolve
from edgeworthy.metrics import (
    Note,
    Notes,
    by_class,
    confusions,
    discordance,
    figures,
    note,
    reliability,
    require_library,
)
from edgeworthy.pipeline import side_by_side
from edgeworthy.results import (
    Against,
    Answer,
    Disagreement,
    Evaluation,
    Flip,
    FrameReport,
    Run,
    Unreadable,
)
from edgeworthy.runtime import Provider
from edgeworthy.sources.base import SourceRequest

PLATFORM: Mode = "letterbox"
DEFAULT_MISTAKES = 24

_FLIPS_SHOWN = 24
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
class _Entry:
    """One classifier in one frame, and what was noted of it."""

    name: str
    model: Classifies
    frame: Frame
    source: str
    truth: Mapping[str, int]
    notes: Notes = field(default_factory=Notes)
    places: list[int] = field(default_factory=list)  # of the pictures, for each note


Seen = tuple[int, tuple[Note | None, ...]] | Unreadable


def evaluate(
    files: str | Path | Sequence[str | Path],
    data: str | Path | Sequence[Labelled],
    *,
    frames: Sequence[Mode] = (),
    normalization: Normalization | None = None,
    against: str | SourceRequest | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    mistakes: int = DEFAULT_MISTAKES,
    jobs: int = 0,
    decoding: Decoding = STRICT,
    provider: Provider = "cpu",
    on_start: Callable[[int], None] | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Evaluation:
    """Measure files on labelled pictures.

    Args:
        files: one ONNX file, or several.
        data: labelled pictures, or where `labelled.read_labelled` finds them.
        frames: how pictures meet the input; if left out, as each file's evidence says, and letterboxed, as
            the platform does by default.
        normalization: in place of the files'.
        against: a trained model, as `export` takes it, to compare the files with in each of their frames.
        path_column: of a table, where its name is none of the usual ones.
        label_column: likewise.
        mistakes: how many of the surest wrong answers are kept for each file and frame.
        jobs: pictures at a time; 0 takes all cores.
        decoding: what to do about files that end too early, and with JPEG files far larger than the input.
        provider: what computes the files' answers.
        on_start: called with the number of pictures.
        on_picture: called after each picture.

    Raises:
        OptionError: where there is nothing to measure: no pictures, none that can be read, no label known.
        ModelFileError: where a file is no classifier of pictures.
        MissingExtraError: without scikit-learn; with `against`, without torch.
    """
    require_library()  # before work is done
    named = [files] if isinstance(files, str | Path) else list(files)
    if not named:
        raise OptionError("No file to evaluate is given.", hint="Give one ONNX file or more.")
    examples = (
        read_labelled(data, path_column=path_column, label_column=label_column)
        if isinstance(data, str | Path)
        else list(data)
    )
    jobs, _ = shared_out(jobs, 1)
    jobs = max(1, min(jobs, len(examples)))
    models = [FileModel(file, normalization=normalization, jobs=jobs, provider=provider) for file in named]
    labels = sorted({example.label for example in examples})
    resolutions = [resolve(labels, _names(model), who=str(model.path)) for model in models]
    with contextlib.ExitStack() as stack:
        entries = [
            _Entry(name=str(model.path), model=model, frame=frame, source=source, truth=resolution.ids)
            for model, resolution in zip(models, resolutions, strict=True)
            for frame, source in _frames(model, frames)
        ]
        if against is not None:
            entries += _trained_entries(stack, against, models[0], entries, resolutions[0])
        if on_start:
            on_start(len(examples))
        unreadable = _carry_out(entries, examples, jobs, decoding, on_picture)
    if not any(len(entry.notes) for entry in entries):
        raise OptionError(
            f"None of the {len(examples)} pictures could be evaluated: {_why(unreadable)}",
            hint="Are the paths right, and the pictures whole?",
        )
    unknown = set.intersection(*(set(resolution.unknown) for resolution in resolutions))
    times = Counter(example.label for example in examples)
    return Evaluation(
        data=str(data) if isinstance(data, str | Path) else "",
        pictures=max(len(entry.notes) for entry in entries),
        labels=resolutions[0].scheme,
        unreadable=tuple(unreadable),
        unknown={label: times[label] for label in sorted(unknown)},
        absent=resolutions[0].absent,
        runs=tuple(_run(entry, examples, mistakes) for entry in entries if len(entry.notes)),
        frames=_frame_reports(entries, examples),
        against=_against(entries, examples),
    )


def _names(model: FileModel) -> Sequence[str]:
    """Of a file without names, it takes a picture to count its classes."""
    if not model.class_names:
        channels, height, width = model.input_size
        model.probabilities(np.zeros((height, width, channels), np.uint8))
    return model.class_names


def _frames(model: FileModel, asked: Sequence[Mode]) -> list[tuple[Frame, str]]:
    """Each mode once, in the order asked."""
    wanted: Sequence[Mode | None] = list(dict.fromkeys(asked)) or [None, PLATFORM]
    found: dict[Mode, tuple[Frame, str]] = {}
    for mode in wanted:
        frame, source = model.frame(mode)
        if not asked and mode == PLATFORM:
            source = "the platform's default"
        found.setdefault(frame.mode, (frame, source))
    return list(found.values())


def _trained_entries(
    stack: contextlib.ExitStack,
    against: str | SourceRequest,
    model: FileModel,
    entries: Sequence[_Entry],
    resolution: Resolution,
) -> list[_Entry]:
    from edgeworthy.against import Trained

    request = against if isinstance(against, SourceRequest) else SourceRequest(spec=against)
    trained = stack.enter_context(Trained(request, model).asking())
    first = [entry for entry in entries if entry.model is model]
    return [
        _Entry(name=trained.name, model=trained, frame=entry.frame, source=entry.source, truth=resolution.ids)
        for entry in first
    ]


def _carry_out(
    entries: Sequence[_Entry],
    examples: Sequence[Labelled],
    jobs: int,
    decoding: Decoding,
    on_picture: Callable[[], None] | None,
) -> list[Unreadable]:
    unreadable = []

    def show(place: int) -> Seen:
        return _seen(entries, place, examples[place], decoding)

    for seen in side_by_side(show, range(len(examples)), jobs):
        if on_picture:
            on_picture()
        if isinstance(seen, Unreadable):
            unreadable.append(seen)
            continue
        place, notes = seen
        for entry, one in zip(entries, notes, strict=True):
            if one is not None:
                entry.notes.add(one)
                entry.places.append(place)
    return unreadable


def _seen(entries: Sequence[_Entry], place: int, example: Labelled, decoding: Decoding) -> Seen:
    """Show one picture to everybody who knows its label."""
    wanted = [entry for entry in entries if example.label in entry.truth]
    try:
        frames = dict.fromkeys(entry.frame for entry in wanted)
        pictures = {
            order: open_picture(example.path, order, decoding=decoding, frames=frames)
            for order in dict.fromkeys(frame.channel_order for frame in frames)
        }
        framed = {frame: frame_picture(pictures[frame.channel_order], frame) for frame in frames}
    except ImageError as error:
        return Unreadable(path=example.path, message=error.message)
    notes = (
        note(entry.model.probabilities(framed[entry.frame]), entry.truth[example.label])
        if example.label in entry.truth
        else None
        for entry in entries
    )
    return place, tuple(notes)


def _run(entry: _Entry, examples: Sequence[Labelled], mistakes: int) -> Run:
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
    )


def _surest(notes: Notes, count: int) -> list[int]:
    wrong = np.flatnonzero(~notes.right)
    return heapq.nsmallest(count, wrong.tolist(), key=lambda at: (-notes.confidence[at], at))


def _answer(entry: _Entry, at: int, examples: Sequence[Labelled]) -> Answer:
    notes, names = entry.notes, entry.model.class_names
    return Answer(
        path=examples[entry.places[at]].path,
        truth=names[notes.truth[at]],
        predicted=names[notes.predicted[at]],
        confidence=round(float(notes.confidence[at]), 6),
        likelihood=round(float(notes.likelihood[at]), 6),
    )


def _frame_reports(entries: Sequence[_Entry], examples: Sequence[Labelled]) -> tuple[FrameReport, ...]:
    found = []
    for same in _by_model(entries):
        if len(same) > 1 and isinstance(same[0].model, FileModel) and len(same[0].notes):
            found.append(_frame_report(same, examples))
    return tuple(found)


def _by_model(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    models = {id(entry.model): entry.model for entry in entries}
    for model in models.values():
        yield [entry for entry in entries if entry.model is model]


def _frame_report(entries: Sequence[_Entry], examples: Sequence[Labelled]) -> FrameReport:
    right = {entry.frame.mode: entry.notes.right for entry in entries}
    top1 = {mode: float(hits.mean()) for mode, hits in right.items()}
    platform = PLATFORM if PLATFORM in top1 else next(iter(top1))
    best = max(top1, key=lambda mode: (top1[mode], mode == platform))
    *_, p_value = discordance(right[best], right[platform])
    if p_value >= _SURELY:
        best = platform
    changing = np.flatnonzero(~np.all([hits == right[platform] for hits in right.values()], axis=0))
    flips = []
    for at in changing[:_FLIPS_SHOWN].tolist():
        answers = {entry.frame.mode: _answer(entry, at, examples) for entry in entries}
        one = answers[platform]
        predicted = {mode: answer.predicted for mode, answer in answers.items()}
        flips.append(Flip(path=one.path, truth=one.truth, predicted=predicted))
    return FrameReport(
        file=entries[0].name,
        top1={mode: round(share, 6) for mode, share in top1.items()},
        platform=platform,
        best=best,
        p_value=round(p_value, 6),
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


def _against(entries: Sequence[_Entry], examples: Sequence[Labelled]) -> tuple[Against, ...]:
    """Each file against the trained model, in the frames and on the pictures that both have."""
    trained = [entry for entry in entries if not isinstance(entry.model, FileModel)]
    found = []
    for mine in entries:
        for theirs in trained:
            same = theirs.frame == mine.frame and list(theirs.model.class_names) == list(
                mine.model.class_names
            )
            if isinstance(mine.model, FileModel) and same:
                found.append(_compared(mine, theirs, examples))
    return tuple(found)


def _compared(mine: _Entry, theirs: _Entry, examples: Sequence[Labelled]) -> Against:
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


def _why(unreadable: Sequence[Unreadable]) -> str:
    return unreadable[0].message if unreadable else "no label is known."
