"""quantize(): a classifier's file in 8 bits or half precision, judged by pictures before it is written."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgeworthy import linter
from edgeworthy._version import __version__
from edgeworthy.contract import Normalization
from edgeworthy.decoding import STRICT, Decoding
from edgeworthy.errors import AccuracyError, NotConformantError, OptionError
from edgeworthy.evidence import PREFIX
from edgeworthy.examination import Examination, memory_for
from edgeworthy.filemodel import FileModel, shared_out
from edgeworthy.frames import Mode
from edgeworthy.metrics import require_library
from edgeworthy.model import Draft, append_metadata, digest, draft, parse, read_bytes, to_bytes
from edgeworthy.quantizing.bench import Bench
from edgeworthy.quantizing.judging import Jury
from edgeworthy.quantizing.material import gather
from edgeworthy.quantizing.preparing import require_single_precision
from edgeworthy.quantizing.qdq import ActivationType, Scheme
from edgeworthy.quantizing.road import Progress, Road
from edgeworthy.results import Gate, LintReport, Precision, Quantized, RangeMethod
from edgeworthy.sandbox import Sandbox

if TYPE_CHECKING:
    pass

RECORD = PREFIX + "quantization"
PICTURES = 512  # to calibrate with, at most
ENOUGH = 100  # pictures to calibrate with; fewer are warned of

_HALF = "float16: for GPUs and accelerators; on CPUs ONNX Runtime computes it in float32, and no faster."


def quantize(
    source: str | Path,
    target: str | Path,
    *,
    calibration: str | Path | Sequence[str | Path],
    judge: str | Path | None = None,
    precision: Precision = "int8",
    ranges: RangeMethod = "mse",
    activations: ActivationType = "uint8",
    reduce_range: bool = False,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    keep: Collection[str] = (),
    pictures: int = PICTURES,
    frame: Mode | None = None,
    normalization: Normalization | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    jobs: int = 0,
    decoding: Decoding = STRICT,
    force: bool = False,
    progress: Progress | None = None,
) -> Quantized:
    """Make a smaller and quicker file, and write it only if it holds the gate.

    Where the plain recipe misses the gate, biases are corrected, layers equalised, other ranges tried, and
    layers left in float32, in that order, until it holds. The same call gives the same bytes.

    Args:
        source: the classifier's file; it has to keep the contract.
        target: the file to write; whole or absent afterwards.
        calibration: pictures like those that the camera will see: a folder, a pattern, a table, or several.
        judge: pictures that the gate is about, with labels where there are any: a folder of class folders, a
            table, or any pictures. If left out, every second picture of `calibration` is kept for it.
        precision: `int8` in QDQ form, or `float16`.
        ranges: how the bounds of 8-bit values are chosen at first: `quantizing.calibration.bounds`.
        activations: `uint8` with a zero point, or `int8`, symmetric.
        reduce_range: weights of 7 bits, for x86 processors without VNNI.
        max_drop: how many points of top-1 may be lost; 0.5 by default where there are labels.
        min_agreement: which share of the best classes has to stay, 0..1; 0.97 by default without labels.
        keep: names of layers that stay in float32.
        pictures: how many to calibrate with at most, evenly spread over all.
        frame: how pictures meet the input; as the file's evidence says if left out.
        normalization: in place of the file's.
        path_column: of a table, where its name is none of the usual ones.
        label_column: likewise.
        jobs: pictures at a time; 0 takes all cores.
        decoding: what to do about files that end too early.
        force: overwrite the target.
        progress: whom to tell what is being done.

    Raises:
        AccuracyError: where nothing holds the gate; its `outcome` has the steps and the layers to blame.
        NotConformantError: where the file breaks a rule of the contract.
        NotAClassifierError: where it has no weights to quantize.
        OptionError: where an option cannot be used, or no pictures are left to judge by.
        MissingExtraError: without SciPy.
    """
    _require(precision=precision, ranges=ranges, activations=activations)
    _require_shares(max_drop, min_agreement)
    if Path(target).exists() and Path(source).exists() and Path(target).samefile(source):
        raise OptionError(f"{target} is the file itself.", hint="Give the smaller one another name.")
    require_library("quantize")
    jobs, _ = shared_out(jobs, 1)
    progress = progress or Progress()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeworthy-")))
        file = stack.enter_context(draft(Path(target), force=force))
        sandbox = stack.enter_context(Sandbox(memory_bytes=memory_for([Path(source)])))
        progress.on_start("checking the file", 1)
        content = _conforming(Path(source), sandbox)
        model = parse(content, str(source))
        require_single_precision(model)
        original = FileModel(source, normalization=normalization, jobs=jobs)
        material = stack.enter_context(
            gather(
                original,
                calibration,
                judge,
                most=pictures,
                frame=frame,
                columns=(path_column, label_column),
                need_labels=max_drop is not None,
                decoding=decoding,
                jobs=jobs,
                scratch=scratch,
                on_start=progress.on_start,
                on_picture=progress.on_step,
            )
        )
        progress.on_start("asking the original", len(material.judged))
        jury = Jury(
            original,
            material.judged,
            material.truths,
            max_drop=max_drop,
            min_agreement=min_agreement,
            jobs=jobs,
            on_picture=progress.on_step,
        )
        bench = Bench(
            original,
            material.calibration,
            scratch,
            jobs=jobs,
            on_start=progress.on_start,
            on_picture=progress.on_step,
        )
        road = Road(model, material, bench, jury, progress)
        scheme = Scheme(activations=activations, reduced=reduce_range)
        if precision == "float16":
            road.halve()
        else:
            road.walk(scheme, ranges, keep)
        return _finished(
            road,
            content,
            (Path(source), Path(target)),
            file,
            sandbox,
            precision=precision,
            processors=_HALF if precision == "float16" else scheme.processors,
        )


def _require(**choices: str) -> None:
    known: dict[str, Any] = {"precision": Precision, "ranges": RangeMethod, "activations": ActivationType}
    for name, value in choices.items():
        if value not in get_args(known[name]):
            options = ", ".join(get_args(known[name]))
            raise OptionError(f"{name} is {value!r}.", hint=f"Use one of: {options}.")


def _require_shares(max_drop: float | None, min_agreement: float | None) -> None:
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise OptionError(f"max_drop={max_drop:g} is no number of points in 0..100.")
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        hint = f"Did you mean {min_agreement / 100:g}?" if 1 < min_agreement <= 100 else ""
        raise OptionError(f"min_agreement={min_agreement:g} is no share in 0..1.", hint=hint)


def _conforming(source: Path, sandbox: Sandbox) -> bytes:
    content = read_bytes(source)
    errors = linter.check(source, examination=Examination(source, sandbox)).of("error")
    if errors:
        listed = "; ".join(f"{finding.code} {finding.message}" for finding in errors[:3])
        raise NotConformantError(
            f"{source} breaks {len(errors)} rules of the contract: {listed}",
            hint="Mend it first: edgeworthy repair.",
        )
    return content


def _finished(
    road: Road,
    content: bytes,
    paths: tuple[Path, Path],
    file: Draft,
    sandbox: Sandbox,
    *,
    precision: Precision,
    processors: str,
) -> Quantized:
    gate = road.gate
    assert gate is not None  # noqa: S101 - the first step is always judged
    written = file.write(to_bytes(road.best))
    record = _record(road, content, gate, precision)
    final = append_metadata(file, written, {RECORD: json.dumps(record, sort_keys=True)})
    lint: LintReport | None = None
    if gate.held:
        lint = linter.check(file.path, examination=Examination(file.path, sandbox))
        for finding in lint.of("error"):
            raise NotConformantError(f"The smaller file breaks {finding.code}: {finding.message}")
    source, target = paths
    outcome = Quantized(
        source=str(source),
        path=str(target) if gate.held else None,
        sha256=final.sha256,
        size_bytes=final.size_bytes,
        source_bytes=len(content),
        precision=precision,
        ranges=road.ranges,
        processors=processors,
        layers=road.layers,
        float_layers=tuple(sorted(road.floats)),
        calibration_pictures=len(road.material.calibration),
        attempts=tuple(road.attempts),
        gate=gate,
        blames=road.blames,
        lint=lint,
        notes=tuple(_notes(road, gate)),
    )
    if not gate.held:
        raise AccuracyError(_missed(gate), hint="No file was written.", outcome=outcome)
    file.commit()
    return outcome


def _missed(gate: Gate) -> str:
    told = []
    if gate.max_drop is not None and gate.drop is not None and gate.drop.value > gate.max_drop:
        told.append(f"top-1 falls by {gate.drop.value:.2f} points, allowed are {gate.max_drop:g}")
    if gate.min_agreement is not None and gate.agreement.value < gate.min_agreement:
        told.append(
            f"{gate.agreement.value:.4f} of the best classes stay, asked for are {gate.min_agreement:g}"
        )
    return f"No step holds the gate: on {gate.pictures} pictures, {'; '.join(told)}."


def _notes(road: Road, gate: Gate) -> Iterator[str]:
    count = len(road.material.calibration)
    if count < ENOUGH:
        yield f"Only {count} pictures to calibrate with; {ENOUGH} or more make ranges that last."
    if gate.pictures < ENOUGH:
        yield f"Only {gate.pictures} pictures to judge by: the intervals say how little that tells."
    yield from road.material.notes


def _record(road: Road, content: bytes, gate: Gate, precision: Precision) -> dict[str, Any]:
    """What the file remembers: no time, no path, so that two runs give the same bytes."""
    return {
        "version": __version__,
        "original": f"sha256:{digest(content)}",
        "precision": precision,
        "ranges": road.ranges,
        "steps": [attempt.name for attempt in road.attempts if attempt.gate is not None],
        "float_layers": sorted(road.floats),
        "calibration": {
            "pictures": len(road.material.calibration),
            "sha256": road.material.calibration_digest,
        },
        "judged": {"pictures": gate.pictures, "sha256": road.material.judged_digest},
        "gate": asdict(gate),
    }
