"""One trained model on its way to a graph: traced, simplified, stamped, proven."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeworthy._version import __version__
from edgeworthy.contract import Contract, Normalization
from edgeworthy.errors import (
    FallsShortError,
    MissingExtraError,
    ModelFileError,
    NotConformantError,
    OptionError,
    ParityError,
    SimplifyError,
    TracedBranchError,
    UnconvertibleError,
    UnexportableError,
)
from edgeworthy.evidence import Evidence
from edgeworthy.images import normalise
from edgeworthy.memory import give_back
from edgeworthy.model import Draft, Written, no_room, read, to_bytes
from edgeworthy.parity import ROUGHEST, Floats
from edgeworthy.reference import Reference
from edgeworthy.results import Parity
from edgeworthy.runtime import Session, facts_of
from edgeworthy.sandbox import Sandbox
from edgeworthy.settling import ExportOptions, Settled, contract_for
from edgeworthy.silence import quiet
from edgeworthy.sources.base import TrainedModel

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edgeworthy.exporting.classifier import Classifier

EXPORTERS = ("torchscript", "dynamo")  # in the order in which `auto` tries them

_NAMES_OPSET = re.compile(r"--opset \d")


class Conversion:
    """One model on its way to a graph: what was asked, and what came out."""

    def __init__(
        self, trained: TrainedModel, settled: Settled, options: ExportOptions, scratch: Path
    ) -> None:
        from edgeworthy.exporting.settings import prepared

        self._trained = trained
        self._settled = settled
        self._options = options
        self._scratch = scratch
        self._raw = self._current = self.copy = scratch
        self._module = prepared(trained.module)
        self.reference = Reference(self._module, settled, options)
        self.baked_branch = False
        chosen = options.exporter
        self._exporter = ""
        self.splits_sums = False
        self._long_sums: bool | None = None  # whether there are any; None before somebody has looked
        self._untried: list[str] = list(EXPORTERS) if chosen == "auto" else [chosen]
        self._refusals: list[tuple[str, FallsShortError]] = []

    def attempt(self) -> Contract:
        """Ask the original what it takes to settle the activation and the contract."""
        self.contract = contract_for(self._settled, self._options, max(2, self.reference.begin()))
        return self.contract

    def trace(self) -> str:
        """Trace the classifier into the scratch folder; says by which exporter."""
        import torch

        from edgeworthy.exporting.classifier import Classifier
        from edgeworthy.exporting.rewriting import Rewriting
        from edgeworthy.exporting.settings import traceable

        embedded = self._options.normalization_in == "graph"
        classifier: Classifier = Classifier(
            self._module,
            self.reference.accessor,
            self.reference.activation,
            layout=self._options.layout,
            normalization=self._settled.normalization if embedded else None,
        ).eval()
        normalization = self.contract.normalization or self._settled.normalization
        probes = self.reference.probes
        middle = probes[len(probes) // 2].pixels
        picture = torch.from_numpy(normalise(middle, normalization, self._options.layout))
        rewriting = Rewriting()
        with traceable(), torch.no_grad(), self.reference.leaner():
            with rewriting, quiet():
                classifier(picture)
            with rewriting:
                self._trace_by_any(classifier, picture)
        give_back()
        return self._exporter

    def another_way(self, error: FallsShortError) -> None:
        """Go back to before the trace, for the exporter that has not been tried.

        Raises:
            FallsShortError: where there is none; it says what stands in the way of each.
        """
        self._refusals.append((self._exporter, _without_frames(error)))
        if not self._untried:
            raise _joined(self._refusals) from error

    def _trace_by_any(self, classifier: Classifier, picture: torch.Tensor) -> None:
        """Let the first of the exporters that are left write the graph that can."""
        from edgeworthy.exporting.tracing import DynamoExporter, Exporter, TorchScriptExporter

        by_name: dict[str, Callable[[], Exporter]] = {
            "torchscript": lambda: TorchScriptExporter(allow_branch=self._options.allow_traced_branch),
            "dynamo": DynamoExporter,
        }
        while self._untried:
            exporter = by_name[self._untried.pop(0)]()
            self._raw = self._current = self._scratch / f"{exporter.name}.onnx"
            self.copy = self._scratch / f"{exporter.name}-stamped.onnx"
            self.splits_sums, self._long_sums = False, None
            try:
                exporter.trace(classifier, picture, self.contract, self._raw)
            except (UnexportableError, UnconvertibleError, TracedBranchError) as error:
                if isinstance(error, TracedBranchError) and not self._refusals:
                    raise
                self._refusals.append((exporter.name, _without_frames(error)))
            except MissingExtraError as error:
                if not self._refusals:
                    raise
                raise _joined(self._refusals) from error
            else:
                self._exporter, self.baked_branch = exporter.name, exporter.baked_branch
                return
        raise _joined(self._refusals)

    def begin_simplifying(self, sandbox: Sandbox) -> None:
        """Start the simplifier in a process of its own."""
        from edgeworthy.exporting.simplifying import simplify

        if self._options.simplify:
            self._current = self._scratch / f"{self._exporter}-simplified.onnx"
            name = f"{simplify.__module__}:{simplify.__name__}"
            self._simplifying = sandbox.submit(name, str(self._raw), str(self._current))

    def simplify(self) -> str:
        """Wait for the simplifier; says what came of it."""
        if not self._options.simplify:
            return "left out, as asked"
        outcome = self._simplifying.result()
        if not outcome.done:
            if isinstance(outcome.error, SimplifyError):
                raise outcome.error
            if "No module named 'onnxsim'" in outcome.message:
                raise MissingExtraError("onnxsim", "export")
            raise SimplifyError(
                f"The graph cannot be simplified: {outcome.message}",
                hint="The platform's cloud simplifies every upload; to go on all the same: --no-simplify.",
            )
        return f"{outcome.value['before']} nodes to {outcome.value['after']}"

    def stamp(self, file: Draft) -> Written:
        """Fold, stamp, and write the draft, with a copy in the scratch folder that stays as it is."""
        content = self._stamped(self._current, in_two_steps=self.splits_sums)
        try:
            self.copy.write_bytes(content)
        except OSError as error:
            raise no_room(self._scratch, error) from error
        written = file.write(content)
        del content
        give_back()
        return written

    def split_sums(self) -> bool:
        """Whether the graph has long sums that can be taken in two steps, which stamping does from now on."""
        self.splits_sums = self._has_long_sums()
        if not self.splits_sums:
            return False
        self.copy = self.copy.with_stem(f"{self.copy.stem}-split")  # the first one is still being examined
        return True

    def load(self, path: Path) -> Session:
        """Load the file from the disk.

        Raises:
            UnexportableError: where ONNX Runtime refuses it.
        """
        try:
            return Session(path, lean=True)
        except ModelFileError as error:
            reason = error.message.replace(str(path), "it")
            raise UnexportableError(
                f"The graph was written, and {reason}", hint="Try another --opset, or --no-simplify."
            ) from error

    def scores(self, session: Session, some: slice = slice(None)) -> Floats:
        """Ask the file as the platform would: normalised and laid out as the file itself says.

        Args:
            session: has the file loaded.
            some: which probes to ask about.

        Returns:
            Its probabilities [probes, classes].
        """
        layout = facts_of(session).layout
        normalization = self._settled.normalization  # as it will be typed at upload
        if self.contract.normalization is not None:
            normalization = self._carved(session)
        feeds = (normalise(probe.pixels, normalization, layout) for probe in self.reference.probes[some])
        return np.concatenate([session.scores(feed) for feed in feeds])

    def prove(self, scores: Floats) -> Parity:
        """Compare the file's probabilities with the original's.

        Raises:
            ParityError: where they part; or where rounding on the worst probe does not explain why,
                and long sums in two steps mend it.
            SimplifyError: where they part, and did not before simplifying.
        """
        try:
            return self._proven(scores)
        finally:
            self.reference.rest()

    def evidence(self, parity: Parity) -> Evidence:
        """What the file shall remember."""
        import onnx
        import torch

        return Evidence(
            version=__version__,
            source=self._trained.name,
            weights=_weights_digest(self._module),
            torch=torch.__version__,
            onnx=onnx.__version__,
            exporter=self._exporter,
            activation=self.reference.activation,
            normalization=self._settled.normalization,
            normalization_in=self._options.normalization_in,
            frame=self._settled.frame,
            simplified=self._options.simplify,
            untrained=self._trained.untrained,
            traced_branch=self.baked_branch,
            parity=parity,
        )

    def _proven(self, scores: Floats) -> Parity:
        parity = self.reference.compared(scores, briefly=True)
        if parity.verdict != "different":
            return parity
        if self._two_steps_hold(parity.worst_probe):  # before all other probes: three answers to each
            raise ParityError("Long sums in one step change the predictions.", hint="Take them in two.")
        parity = self.reference.compared(scores)
        if parity.verdict != "different":
            return parity
        where = (
            f"on the probe {parity.worst_probe!r} a probability differs by {parity.max_abs_diff:.2g}, "
            f"allowed is {parity.tolerance:.2g}; the best class agrees on {parity.top1_agreement:.1%}"
        )
        if self._current != self._raw:
            unsimplified = self._sketch("unsimplified", self._raw, in_two_steps=self.splits_sums)
            if self._holds(unsimplified, parity.worst_probe):
                raise SimplifyError(
                    f"Simplifying changes the predictions: {where}.", hint="Use --no-simplify."
                )
        if parity.yardstick is not None and parity.tolerance == ROUGHEST:
            raise ParityError(
                f"The model is too rough to be proven: {where}, and rounding alone can move its own by "
                f"{parity.yardstick:.2g}.",
                hint="Does it draw random numbers, or compare values that differ by rounding alone?",
            )
        raise ParityError(
            f"The file predicts something else than the model: {where}.",
            hint="No file was written. Try another --opset, or see which operator the exporter changes.",
        )

    def _two_steps_hold(self, worst: str) -> bool:
        """Whether long sums in two steps are what it takes, told by the same few questions."""
        if not self._has_long_sums():
            return False
        split = self._sketch("two-steps", self._current, in_two_steps=True)
        try:
            return self._holds(split, worst, briefly=True)
        except (UnexportableError, ModelFileError):
            return False

    def _has_long_sums(self) -> bool:
        """That are still in one step; looked up once for each graph, which may be large."""
        from edgeworthy.exporting.summing import split_sums

        if self._long_sums is None:
            self._long_sums = split_sums(read(self._current)) > 0
        return self._long_sums and not self.splits_sums

    def _sketch(self, name: str, graph: Path, *, in_two_steps: bool) -> Path:
        """The file as it would be of another graph, to be asked only."""
        self.reference.rest()  # or it lies beside
        give_back()
        path = self._scratch / f"{name}.onnx"
        try:
            path.write_bytes(self._stamped(graph, in_two_steps=in_two_steps))
        except OSError as error:
            raise no_room(self._scratch, error) from error
        give_back()
        return path

    def _holds(self, path: Path, first: str, *, briefly: bool = False) -> bool:
        """Whether a file's probabilities are the original's, on one probe, and only then on all."""
        session = self.load(path)
        index = [probe.name for probe in self.reference.probes].index(first)
        for some in (slice(index, index + 1), slice(None)):
            parity = self.reference.compared(self.scores(session, some), some, briefly=briefly)
            if parity.verdict == "different":
                return False
        return True

    def _carved(self, session: Session) -> Normalization:
        try:
            return Normalization.from_doc_string(session.doc_string)
        except OptionError as error:
            raise NotConformantError(
                f"The file lost its normalisation: {error.message}", hint="Please report this."
            ) from error

    def _stamped(self, path: Path, *, in_two_steps: bool) -> bytes:
        from edgeworthy.exporting.boxes import write_boxes
        from edgeworthy.exporting.folding import fold_normalization
        from edgeworthy.exporting.stamping import stamp
        from edgeworthy.exporting.summing import split_sums

        model = read(path)
        write_boxes(model)
        if self._options.normalization_in == "graph":
            fold_normalization(model)
        stamp(model, self.contract)
        if in_two_steps:
            split_sums(model)
        return to_bytes(model)


def _without_frames(error: FallsShortError) -> FallsShortError:
    """The error alone: the frames of its traceback would keep the model's weights to the end."""
    above: BaseException | None = error
    while above is not None:
        above.__traceback__ = None
        above = above.__cause__ or above.__context__
    return error


def _joined(refusals: Sequence[tuple[str, FallsShortError]]) -> FallsShortError:
    """What stands in the way, on every road that was tried."""
    (_, first), *others = refusals
    if not others:
        return first
    told = " ".join(f"By way of {name}: {error.message}" for name, error in others)
    hints = [error.hint for _, error in refusals if error.hint]
    settled = [hint for hint in hints if _NAMES_OPSET.search(hint)]  # the nearest to what can be done
    return type(first)(f"{first.message} {told}", hint=next(iter(settled or hints), ""))


def _weights_digest(module: nn.Module) -> str:
    """SHA-256 over the state dict: names, dtypes, shapes and values, in the order of names."""
    summary = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        summary.update(f"{name}|{array.dtype}|{list(array.shape)}|".encode())
        summary.update(memoryview(array).cast("B") if array.size else b"")
    return f"sha256:{summary.hexdigest()}"
