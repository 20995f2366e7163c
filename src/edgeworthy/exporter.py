"""export(): the whole road from a trained classifier to one proven file."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edgeworthy import linter
from edgeworthy.contract import Normalization
from edgeworthy.conversion import Conversion
from edgeworthy.errors import (
    MissingExtraError,
    NotAClassifierError,
    NotConformantError,
    OptionError,
    ParityError,
    SimplifyError,
    UnexportableError,
    first_line,
)
from edgeworthy.examination import Examination
from edgeworthy.memory import collector_paused, give_back
from edgeworthy.model import Draft, Written, append_metadata, draft
from edgeworthy.results import Artefact, LintReport, Parity, Stage
from edgeworthy.rules.container import cannot_be_simplified
from edgeworthy.sandbox import Sandbox
from edgeworthy.settling import ExportKeywords, ExportOptions, settle
from edgeworthy.silence import quiet
from edgeworthy.sources.base import InputSize, SourceRequest, TrainedModel
from edgeworthy.sources.untrained import make_sensitive

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

Listener = Callable[[Stage], None]

_ONE_AT_A_TIME = threading.RLock()  # torch's tracers, and what keeps libraries quiet, belong to the process


def export(
    source: str | nn.Module | ExportedProgram,
    target: str | Path,
    *,
    checkpoint: str | Path | None = None,
    arch: str | None = None,
    prompts: Sequence[str] = (),
    untrained: bool = False,
    trust_pickle: bool = False,
    force: bool = False,
    on_stage: Listener | None = None,
    **options: Unpack[ExportKeywords],
) -> Artefact:
    """Turn a trained classifier into one ONNX file that keeps the contract and is proven to predict the same.

    A call waits for those of other threads. Meanwhile, what the process prints, warns of or logs is dropped
    while libraries do their work.

    Args:
        source: an `nn.Module` in memory, scripts included, a program of torch.export, or a text that names a
            model: see `sources.registry.FORMS`.
        target: the file to write; whole or absent afterwards.
        checkpoint: weights to load into the source's architecture.
        arch: the source whose architecture the weights belong to, where `source` is a file of weights.
        prompts: one text for each class, for a model of pictures and texts.
        untrained: use random weights from a fixed seed.
        trust_pickle: let a file run code when it is loaded.
        force: overwrite the target.
        on_stage: called after each stage of the road.
        **options: the fields of `ExportOptions`: classes, mean, std, input_size, opset and others.

    Returns:
        The finished file with its contract, rule report and proof.

    Raises:
        EdgeworthyError: of the kind that `edgeworthy.errors` lists; no file is left behind then.
    """
    chosen = _options(options)
    request = SourceRequest(
        spec=source if isinstance(source, str) else "",
        checkpoint=Path(checkpoint) if checkpoint else None,
        arch=arch,
        prompts=_prompts(prompts),
        untrained=untrained,
        trust_pickle=trust_pickle,
    )
    road = _Road(on_stage)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        file = stack.enter_context(draft(Path(target), force=force))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeworthy-"))
        sandbox = stack.enter_context(Sandbox(preload="onnxsim"))
        with road.stage("load") as done:
            with collector_paused():
                trained = _load(source, request)
            settled = settle(trained, chosen)
            if trained.untrained:
                _make_sensitive(trained, settled.input_size)
            done(trained.name, *trained.notes)
        graph = Conversion(trained, settled, chosen, Path(scratch))
        with graph.reference.asking():
            with road.stage("try") as done:
                contract = graph.attempt()
                done(f"{len(contract.class_names)} classes, {graph.reference.activation}")
            while True:
                with road.stage("trace") as done:
                    done(f"{graph.trace()}, opset {contract.opset}")
                try:
                    written, examination, parity = _proven(road, graph, sandbox, file)
                    break
                except (UnexportableError, SimplifyError, ParityError) as error:
                    graph.another_way(error)
        with road.stage("record") as done:
            final = append_metadata(file, written, graph.evidence(parity).to_metadata())
            notes = _notes(trained, chosen, settled.normalization, parity, graph.baked_branch)
            del trained, graph  # the model's weights have done their work
            give_back()
            done("read back, the graph is the one that was proved")
        with road.stage("check") as done:
            examination.finish()
            lint = _conformant(file.path, Path(target), examination, simplified=chosen.simplify)
            done(f"{len(lint.passed)} rules passed, {len(lint.skipped)} skipped")
        file.commit()
    return Artefact(
        path=str(target),
        sha256=final.sha256,
        size_bytes=final.size_bytes,
        contract=contract,
        lint=lint,
        parity=parity,
        frame=settled.frame,
        stages=tuple(road.stages),
        notes=notes,
    )


def _proven(
    road: _Road, graph: Conversion, sandbox: Sandbox, file: Draft
) -> tuple[Written, Examination, Parity]:
    """From the traced graph to a file that predicts what the model predicts."""
    graph.begin_simplifying(sandbox)  # beside the questions
    with road.stage("ask") as done:
        graph.reference.complete()
        done(f"{len(graph.reference.probes)} probes")
    with road.stage("simplify") as done:
        done(graph.simplify())
    try:
        return _stamped_and_proven(road, graph, sandbox, file)
    except ParityError:
        if not graph.split_sums():
            raise
    return _stamped_and_proven(road, graph, sandbox, file)


def _stamped_and_proven(
    road: _Road, graph: Conversion, sandbox: Sandbox, file: Draft
) -> tuple[Written, Examination, Parity]:
    with road.stage("stamp") as done:
        written = graph.stamp(file)
        sums = ("long sums in two steps",) if graph.splits_sums else ()
        done(f"IR {graph.contract.ir_version}, {written.size_bytes / 1e6:.1f} MB", *sums)
    examination = Examination(graph.copy, sandbox)
    with road.stage("prove") as done:
        if graph.reference.is_large:
            sandbox.rest()
        session = graph.load(file.path)
        if not graph.reference.is_large:
            examination.begin()  # beside the proof
        scores = graph.scores(session)
        del session  # its weights and activations, before the original may be asked for its yardstick
        give_back()
        parity = graph.prove(scores)
        give_back()
        done(f"largest difference {parity.max_abs_diff:.1g}, allowed {parity.tolerance:.1g}")
    return written, examination, parity


@dataclass
class _Road:
    """Measures the stages and tells the listener."""

    listener: Listener | None
    stages: list[Stage] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[..., None]]:
        started = time.perf_counter()
        details: list[str] = []
        yield lambda *texts: details.extend(texts)
        stage = Stage(name=name, detail="; ".join(details), seconds=round(time.perf_counter() - started, 3))
        self.stages.append(stage)
        if self.listener:
            self.listener(stage)


def _options(values: ExportKeywords) -> ExportOptions:
    known = {field.name for field in dataclasses.fields(ExportOptions)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]!r}.", hint=f"Known are: {', '.join(sorted(known))}.")
    return ExportOptions(**values)


def _prompts(texts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise OptionError(f"prompts={texts!r} is one text, expected a list of them.", hint="One a class.")
    return tuple(texts)


def _load(source: str | nn.Module | ExportedProgram, request: SourceRequest) -> TrainedModel:
    try:
        import torch

        from edgeworthy.exporting.settings import unwrapped
        from edgeworthy.sources.programs import program_of
        from edgeworthy.sources.registry import load_source
        from edgeworthy.sources.timm_library import describe_timm
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", "export") from error
    if isinstance(source, str):
        with quiet():
            return load_source(request)
    if not isinstance(source, torch.nn.Module | torch.export.ExportedProgram):
        raise OptionError(f"The source is {type(source).__name__}, expected a torch.nn.Module or a text.")
    if request != SourceRequest(spec=""):
        raise OptionError(
            "checkpoint, arch, prompts, untrained and trust_pickle are for sources that are named, not for "
            "modules.",
            hint="Load the weights into the module first.",
        )
    if isinstance(source, torch.nn.Module):
        source = unwrapped(source)
    name = f"module:{type(source).__module__}.{type(source).__qualname__}"
    with quiet():
        program = program_of(source)
    if program is None:
        return describe_timm(source, name)
    module, size = program
    return TrainedModel(module=module, name=name, input_size=size)


def _make_sensitive(trained: TrainedModel, size: InputSize) -> None:
    try:
        with quiet():
            make_sensitive(trained.module, size)
    except Exception as error:  # a model of anybody's raises anything
        raise NotAClassifierError(
            f"The model fails on {size[0]} channels of {size[1]}x{size[2]} px: {first_line(error)}",
            hint="Is --input-size C H W the size it was made for?",
        ) from error


def _conformant(path: Path, target: Path, examination: Examination, *, simplified: bool) -> LintReport:
    """The rules' report; what was knowingly left unsimplified need not be fit for it."""
    report = dataclasses.replace(linter.check(path, examination=examination), path=str(target))
    errors = [found for found in report.of("error") if simplified or found.code != cannot_be_simplified.code]
    if errors:
        listed = "; ".join(f"{finding.code} {finding.message}" for finding in errors[:3])
        raise NotConformantError(f"The finished file breaks {len(errors)} rules: {listed}")
    return report


def _notes(
    trained: TrainedModel,
    options: ExportOptions,
    normalization: Normalization,
    parity: Parity,
    baked_branch: bool,
) -> tuple[str, ...]:
    notes = list(trained.notes)
    if trained.untrained:
        notes.append("The weights are random: the file is for trying the road, not for recognising anything.")
    if parity.verdict == "inconclusive":
        notes.append(
            f"The proof is inconclusive: over all probes no probability moves by more than {parity.spread}."
        )
    if parity.widened:
        notes.append(f"The tolerance was widened to {parity.tolerance:g}.")
    if baked_branch:
        notes.append("One branch of the model's control flow is baked in, as allowed.")
    if not options.simplify:
        notes.append("The graph is not simplified; the platform's cloud will try to.")
    if options.normalization_in == "upload":
        notes.append(f"Type into the platform's upload form: {normalization.upload_form()}")
    return tuple(notes)
