"""compare(): two files, or a file and the trained model: what they say and are, and where they part."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeworthy import linter
from edgeworthy.errors import ImageError, ModelFileError, OptionError
from edgeworthy.examination import Examination, memory_for
from edgeworthy.filemodel import FileModel, shared_out
from edgeworthy.frames import Frame, Mode
from edgeworthy.images import frame_picture, open_picture
from edgeworthy.inspector import inspect
from edgeworthy.locating import locate
from edgeworthy.metrics import proportion, require_library
from edgeworthy.model import parse, read, read_bytes
from edgeworthy.modulewise import locate_module
from edgeworthy.outline import difference
from edgeworthy.pairing import Pair, other_of, paired, refuse_turned
from edgeworthy.parity import verify
from edgeworthy.pictures import Picture, list_pictures
from edgeworthy.pipeline import side_by_side
from edgeworthy.probes import Probe, moved, standard_probes
from edgeworthy.results import (
    Agreement,
    Apart,
    Comparison,
    Finding,
    Parity,
    Parting,
    Unreadable,
    Verdict,
)
from edgeworthy.sandbox import Sandbox
from edgeworthy.sources.base import SourceRequest
from edgeworthy.structure import differences
from edgeworthy.tapping import Tapped

Scores = npt.NDArray[np.floating[Any]]


def compare(
    first: str | Path,
    second: str | Path | SourceRequest,
    *,
    data: str | Path | Sequence[str | Path] = (),
    frame: Mode | None = None,
    tolerance: float | None = None,
    locating: bool = False,
    diff: bool = False,
    jobs: int = 0,
    sandbox: Sandbox | None = None,
    on_start: Callable[[int | None], None] | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Comparison:
    """Say how far two classifiers are apart, and why.

    Args:
        first: an ONNX file.
        second: another one, or a trained model as `export` takes it.
        data: pictures as `predict` takes them; no labels are needed.
        frame: how pictures meet both; as each file's evidence says, or letterboxed, if left out.
        tolerance: the largest difference in probability that is called the same, in place of the yardstick of
            rounding.
        locating: whether to look inside for the first node where they part.
        diff: whether the result shall hold a difference of both graphs.
        jobs: pictures at a time; 0 takes all cores.
        sandbox: one that is under way.
        on_start: called with the number of pictures, None where nobody knows it.
        on_picture: called after each picture.

    Raises:
        OptionError: where the two cannot be compared: other sizes or classes, no picture that can be read.
        ModelFileError: where a file is no classifier of pictures, or does not survive being run.
        MissingExtraError: with `data`, without SciPy; with a trained model, without torch.
    """
    if tolerance is not None and not 0 <= tolerance < 1:
        raise OptionError(
            f"The tolerance {tolerance} is not a difference in probability.", hint="Give one in 0..1."
        )
    given = [data] if isinstance(data, str | Path) else list(data)
    if given:
        require_library()  # before work is done
    pictures = list_pictures(given) if given else None
    jobs, _ = shared_out(jobs, 1)
    path, other = Path(first), other_of(second)
    refuse_turned(path, other)
    if diff and not isinstance(other, Path):
        raise OptionError("A difference of graphs takes two files.", hint="Leave out --diff.")
    paths = [path, other] if isinstance(other, Path) else [path]
    with contextlib.ExitStack() as stack:
        sandbox = sandbox or stack.enter_context(Sandbox(memory_bytes=memory_for(paths)))
        examinations = [_survivor(file, sandbox) for file in paths]
        pair = paired(stack, path, other, jobs)
        probes = _probes(pair)
        parity = _parity(pair, probes, tolerance)
        agreement = None
        if pictures is not None:
            if on_start:
                on_start(pictures.total)
            agreement = _agreement(pair, pictures, frame, jobs, on_picture)
        parting = None
        if locating:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeworthy-")))
            parting = _parting(pair, probes, parity, sandbox, scratch)
        only: tuple[tuple[Finding, ...], ...] = ((), ())
        if isinstance(other, Path):
            reports = [
                linter.check(file, examination=examination)
                for file, examination in zip(paths, examinations, strict=True)
            ]
            only = (
                _only(reports[0].findings, reports[1].findings),
                _only(reports[1].findings, reports[0].findings),
            )
    two_files = isinstance(other, Path)
    return Comparison(
        first=str(path),
        second=pair.name,
        kind="file" if two_files else "source",
        classes=pair.classes,
        parity=parity,
        agreement=agreement,
        verdict=_verdict(parity, agreement),
        structure=differences(inspect(path), inspect(paths[1])) if two_files else (),
        only_first=only[0],
        only_second=only[1],
        parting=parting,
        difference=difference(read(path), read(paths[1])) if diff else (),
    )


def _survivor(path: Path, sandbox: Sandbox) -> Examination:
    """The examination of a file that ONNX Runtime can run without harm to its process.

    Raises:
        ModelFileError: of any other.
    """
    parse(read_bytes(path), str(path))
    examination = Examination(path, sandbox)
    outcome = examination.ran
    if not outcome.done:
        raise ModelFileError(
            f"{path} does not survive being run: {outcome.message.rstrip('.')}.",
            hint="See: edgeworthy check",
        )
    if "refused" in outcome.value:
        raise ModelFileError(outcome.value["refused"], hint="See: edgeworthy check")
    return examination


def _probes(pair: Pair) -> list[Probe]:
    channels, height, width = pair.first.input_size
    return standard_probes(height, width, channels)


def _parity(pair: Pair, probes: Sequence[Probe], tolerance: float | None) -> Parity:
    """The trained model, or else the first file, is the original; its own rounding is the yardstick."""
    names = [probe.name for probe in probes]
    mine = np.stack([pair.first.probabilities(probe.pixels) for probe in probes])
    if not isinstance(pair.second, FileModel):
        trained = pair.second
        logits = np.concatenate([trained.logits(probe.pixels) for probe in probes])
        return verify(
            probes=names,
            reference=trained.scores(logits),
            candidate=mine,
            logits=logits,
            activation=trained.activation,
            otherwise=lambda at: trained.otherwise(probes[at].pixels),
            atol=tolerance,
        )
    theirs = np.stack([pair.second.probabilities(probe.pixels) for probe in probes])[:, pair.columns]
    plain: list[FileModel] = []

    def otherwise(at: int) -> Scores:
        if not plain:
            plain.append(FileModel(pair.first.path, optimize=False))
        return plain[0].probabilities(probes[at].pixels)[None]

    return verify(
        probes=names,
        reference=mine,
        candidate=theirs,
        logits=mine,
        activation="none",
        otherwise=otherwise,
        atol=tolerance,
    )


def _agreement(
    pair: Pair,
    pictures: Any,
    asked: Mode | None,
    jobs: int,
    on_picture: Callable[[], None] | None,
) -> Agreement:
    frames = _frames(pair, asked)
    apart: list[Apart] = []
    unreadable: list[Unreadable] = []
    count, largest, worst = 0, -1.0, ""
    for name, seen in side_by_side(lambda picture: _seen(pair, picture, frames), pictures, jobs):
        if on_picture:
            on_picture()
        if isinstance(seen, Unreadable):
            unreadable.append(seen)
            continue
        count += 1
        far, case = seen
        if far > largest:
            largest, worst = far, name
        if case is not None:
            apart.append(case)
    if not count:
        why = unreadable[0].message if unreadable else "there is none."
        raise OptionError(f"No picture could be compared: {why}", hint="Are the paths right?")
    return Agreement(
        pictures=count,
        share=proportion(count - len(apart), count),
        max_abs_diff=float(f"{largest:.2g}"),
        worst_picture=worst,
        disagreements=tuple(apart),
        frames=frames,
        unreadable=tuple(unreadable),
    )


def _frames(pair: Pair, asked: Mode | None) -> tuple[Frame, Frame]:
    first, _ = pair.first.frame(asked)
    second = pair.second.frame(asked)[0] if isinstance(pair.second, FileModel) else first
    return first, second


def _seen(
    pair: Pair, picture: Picture, frames: tuple[Frame, Frame]
) -> tuple[str, Unreadable | tuple[float, Apart | None]]:
    """How far both are apart on one picture, and what they say where that is not the same."""
    try:
        image = open_picture(picture, frames[0].channel_order)
        framed = {frame: frame_picture(image, frame) for frame in dict.fromkeys(frames)}
    except ImageError as error:
        return picture.name, Unreadable(path=picture.name, message=error.message)
    mine, theirs = pair.ask([framed[frame] for frame in frames])
    far = np.abs(mine.astype(np.float64) - theirs)
    best = [int(np.nan_to_num(scores, nan=-1.0).argmax()) for scores in (mine, theirs)]
    case = None
    if best[0] != best[1]:
        names = pair.first.class_names
        case = Apart(
            path=picture.name,
            first_says=names[best[0]],
            first_probability=round(float(mine[best[0]]), 6),
            second_says=names[best[1]],
            second_probability=round(float(theirs[best[1]]), 6),
        )
    return picture.name, (float(np.where(np.isfinite(far), far, 1.0).max()), case)


def _parting(pair: Pair, probes: Sequence[Probe], parity: Parity, sandbox: Sandbox, scratch: Path) -> Parting:
    """On the probe with the largest difference, or where they say the same, on noise."""
    named = {probe.name: probe for probe in probes}
    probe = named[parity.worst_probe] if parity.verdict == "different" else probes[0]
    folders = [scratch / "first", scratch / "second"]
    for folder in folders:
        folder.mkdir()
    picture = pair.first.values(probe.pixels)
    scores = pair.first.scores_name
    if not isinstance(pair.second, FileModel):
        file = Tapped(pair.first.path, [picture], sandbox, folders[0])
        return locate_module(file, pair.second.taps(probe.pixels), scores=scores, probe=probe.name)
    first = Tapped(pair.first.path, [picture, next(moved(picture))], sandbox, folders[0])
    second = Tapped(
        pair.second.path,
        [pair.second.values(probe.pixels)],
        sandbox,
        folders[1],
        order=pair.order or (),
        scores=pair.second.scores_name,
    )
    return locate(first, second, scores=(scores, pair.second.scores_name), probe=probe.name)


def _only(mine: Sequence[Finding], theirs: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings of rules that the other one does not break."""
    broken = {finding.code for finding in theirs}
    return tuple(finding for finding in mine if finding.code not in broken)


def _verdict(parity: Parity, agreement: Agreement | None) -> Verdict:
    """A picture may show what no probe does."""
    if agreement is not None and agreement.max_abs_diff > parity.tolerance:
        return "different"
    return parity.verdict
