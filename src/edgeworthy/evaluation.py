"""evaluate(): labelled pictures in, figures of merit out, for several files and frames in one pass.

Each picture is decoded once, framed once in each way that is asked about, and shown to every file.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from edgeworthy.cluster import Cluster, cluster, landed
from edgeworthy.contract import Normalization
from edgeworthy.crew import Pool, pooled
from edgeworthy.decoding import STRICT, Decoding
from edgeworthy.errors import ImageError, OptionError
from edgeworthy.filemodel import LOADED, FileModel, shared_out
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import frame_picture, open_picture
from edgeworthy.labelled import Labelled, read_labelled, resolve
from edgeworthy.metrics import Note, note, require_library
from edgeworthy.pictures import Picture
from edgeworthy.pictures.addresses import absolute
from edgeworthy.pictures.parquet import is_row, pictures_of
from edgeworthy.results import Evaluation, Unreadable
from edgeworthy.runtime import Provider
from edgeworthy.sources.base import SourceRequest
from edgeworthy.verdicts import PLATFORM, Entry, comparisons, frame_reports, run_of

DEFAULT_MISTAKES = 24

Notes = tuple[Note, ...] | Unreadable  # of all entries; none of a picture whose label counts nowhere
Item = tuple[int, str, Picture]  # a picture, with its place among the others and its label
Seen = tuple[int, Notes]  # the picture's place, and what came of it
Seat = tuple[int, Frame, Mapping[str, int]]  # an entry: which of the models, its frame, ids of the labels
Engine = Literal["local", "ray"]

_TOGETHER = 64  # pictures in a task for a cluster


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
    engine: Engine = "local",
    address: str | None = None,
    workers: int = 0,
    pool: Pool = "threads",
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
        jobs: pictures at a time on this machine; 0 takes all cores.
        decoding: what to do about files that end too early, and with JPEG files far larger than the input.
        provider: what computes the files' answers.
        engine: `ray` has the pictures seen by a Ray cluster's workers; the figures are the same.
        address: of a cluster that is running; one is started on this machine if left out.
        workers: processes of the cluster; 0 takes all its cores.
        pool: who works on this machine, as for `Predictor`; beside a trained model, it is threads.
        on_start: called with the number of pictures.
        on_picture: called after each picture.

    Raises:
        OptionError: where there is nothing to measure: no pictures, none that can be read, no label known;
            and for what a cluster cannot do.
        ModelFileError: where a file is no classifier of pictures.
        MissingExtraError: without scikit-learn; with `against`, without torch.
    """
    require_library()  # before work is done
    _refuse_mixtures(engine, against=against, jobs=jobs, pool=pool)
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
    resolutions = [resolve(labels, model.count_classes(), who=str(model.path)) for model in models]
    known = set.intersection(*(set(resolution.ids) for resolution in resolutions))
    if not known:
        raise OptionError(
            "The files know no label in common, and would be measured on different pictures.",
            hint="Evaluate them one by one.",
        )
    truths = [{label: resolution.ids[label] for label in known} for resolution in resolutions]
    with contextlib.ExitStack() as stack:
        entries = [
            Entry(name=str(model.path), model=model, frame=frame, source=source, truth=truth)
            for model, truth in zip(models, truths, strict=True)
            for frame, source in _frames(model, frames)
        ]
        if against is not None:
            entries += _trained_entries(stack, against, models[0], entries)
        if on_start:
            on_start(len(examples))
        seen: Iterable[Seen]
        if engine == "ray":
            running = stack.enter_context(cluster(address, workers))
            seen = _seen_on(running, entries, models, examples, decoding=decoding, on_picture=on_picture)
            on_picture = None  # it has been told
        else:
            pictures = pictures_of((example.path for example in examples), path_column)
            items = ((at, examples[at].label, picture) for at, picture in enumerate(pictures))
            repeat = pool == "processes" or all(model.worth_repeating for model in models)
            loaded = [(model.path.absolute(), model.normalization, model.provider) for model in models]
            seen = pooled(
                lambda item: _seen(entries, item, decoding),
                items,
                jobs,
                pool=pool if repeat and against is None else "threads",
                make=local_observer,
                arguments=(loaded, _seats(entries, models), decoding),
                each_bytes=LOADED * sum(model.size_bytes for model in models),
                same=lambda: not any(model.is_stale for model in models),
            )
        unreadable = _noted(entries, seen, on_picture)
    if not len(entries[0].notes):
        raise OptionError(
            f"None of the {len(examples)} pictures could be evaluated: {_why(unreadable)}",
            hint="Are the paths right, and the pictures whole?",
        )
    times = Counter(example.label for example in examples if example.label not in known)
    return Evaluation(
        data=str(data) if isinstance(data, str | Path) else "",
        pictures=len(entries[0].notes),
        labels=resolutions[0].scheme,
        unreadable=tuple(unreadable),
        unknown=dict(sorted(times.items())),
        absent=resolutions[0].absent,
        runs=tuple(run_of(entry, examples, mistakes) for entry in entries),
        frames=frame_reports(entries, examples),
        against=comparisons(entries, examples),
    )


def _refuse_mixtures(engine: Engine, *, against: str | SourceRequest | None, jobs: int, pool: Pool) -> None:
    """Stop before work is done for what cannot be."""
    for name, given, known in (("engine", engine, Engine), ("pool", pool, Pool)):
        if given not in get_args(known):
            raise OptionError(f"Unknown {name} {given!r}.", hint=f"Use one of: {', '.join(get_args(known))}.")
    if engine == "local":
        if pool == "processes" and against is not None:
            raise OptionError(
                "The trained model is not sent to other processes.",
                hint="Beside it, threads work: --pool threads.",
            )
        return
    if against is not None:
        raise OptionError(
            "The trained model is not sent to a cluster.",
            hint="Compare with it on one machine: --engine local.",
        )
    if jobs:
        raise OptionError(
            "--jobs and --engine ray exclude each other.",
            hint=f"A worker is one process on one core: --workers {jobs}.",
        )


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
    entries: Sequence[Entry],
) -> list[Entry]:
    from edgeworthy.against import Trained

    request = against if isinstance(against, SourceRequest) else SourceRequest(spec=against)
    trained = stack.enter_context(Trained(request, model).asking())
    first = [entry for entry in entries if entry.model is model]
    return [
        Entry(
            name=trained.name,
            model=trained,
            frame=entry.frame,
            source=entry.source,
            truth=entry.truth,
            trained=True,
        )
        for entry in first
    ]


def _noted(
    entries: Sequence[Entry], seen: Iterable[Seen], on_picture: Callable[[], None] | None
) -> list[Unreadable]:
    """Enter what comes, in the order of the pictures."""
    unreadable = []
    for place, found in seen:
        if on_picture:
            on_picture()
        if isinstance(found, Unreadable):
            unreadable.append(found)
            continue
        for entry, one in zip(entries, found, strict=bool(found)):
            entry.notes.add(one)
            entry.places.append(place)
    return unreadable


def _seats(entries: Sequence[Entry], models: Sequence[FileModel]) -> list[Seat]:
    """The entries without what only this process has."""
    return [
        (next(at for at, model in enumerate(models) if model is entry.model), entry.frame, entry.truth)
        for entry in entries
        if not entry.trained
    ]


def _seen(entries: Sequence[Entry], item: Item, decoding: Decoding) -> Seen:
    """Show one picture to everybody."""
    place, label, picture = item
    if label not in entries[0].truth:
        return place, ()
    try:
        frames = dict.fromkeys(entry.frame for entry in entries)
        pictures = {
            order: open_picture(picture, order, decoding=decoding, frames=frames)
            for order in dict.fromkeys(frame.channel_order for frame in frames)
        }
        framed = {frame: frame_picture(pictures[frame.channel_order], frame) for frame in frames}
    except ImageError as error:
        return place, Unreadable(path=picture.name, message=error.message)
    return place, tuple(
        note(entry.model.probabilities(framed[entry.frame]), entry.truth[label]) for entry in entries
    )


def _seen_on(
    running: Cluster[list[Item], list[Seen]],
    entries: Sequence[Entry],
    models: Sequence[FileModel],
    examples: Sequence[Labelled],
    *,
    decoding: Decoding,
    on_picture: Callable[[], None] | None,
) -> list[Seen]:
    """As `_seen` of all examples, by a cluster's workers; in the order of the examples."""
    rows = next((example.path for example in examples if is_row(example.path)), None)
    if rows is not None:
        raise OptionError(
            f"{rows} is in no file of its own, which another process could open.",
            hint="On a cluster, give paths of pictures; or evaluate on one machine: --engine local.",
        )
    files = [(m.path.read_bytes(), m.path.name, m.normalization, m.provider) for m in models]
    placed = (
        (at, example.label, Picture(name=example.path, source=absolute(example.path)))
        for at, example in enumerate(examples)
    )
    tasks = iter(lambda: list(islice(placed, _TOGETHER)), [])
    seen: list[Seen] = []
    for some in running.map(observer, (files, _seats(entries, models), decoding), tasks):
        for one in some:
            seen.append(one)
            if on_picture:
                on_picture()
    return sorted(seen, key=lambda one: one[0])


def observer(
    files: Sequence[tuple[bytes, str, Normalization, Provider]], seats: Sequence[Seat], decoding: Decoding
) -> Callable[[list[Item]], list[Seen]]:
    """In a cluster's worker: what shows pictures to the files that were sent."""
    models = []
    for content, name, normalization, provider in files:
        with landed(content, name) as file:
            models.append(FileModel(file, normalization=normalization, provider=provider))
    show = _showing(models, seats, decoding)
    return lambda task: list(map(show, task))


def local_observer(
    files: Sequence[tuple[Path, Normalization, Provider]], seats: Sequence[Seat], decoding: Decoding
) -> Callable[[Item], Seen]:
    """In a process of a pool: what shows pictures to the files."""
    models = [FileModel(file, normalization=means, provider=provider) for file, means, provider in files]
    return _showing(models, seats, decoding)


def _showing(
    models: Sequence[FileModel], seats: Sequence[Seat], decoding: Decoding
) -> Callable[[Item], Seen]:
    entries = [
        Entry(name="", model=models[at], frame=frame, source="", truth=truth) for at, frame, truth in seats
    ]
    return lambda item: _seen(entries, item, decoding)


def _why(unreadable: Sequence[Unreadable]) -> str:
    return unreadable[0].message if unreadable else "no label is known."
