"""repair(): make a file keep the contract, prove that it predicts the same, and check it again."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy import linter
from edgeworthy._version import __version__
from edgeworthy.errors import EdgeworthyError, IrreparableError, OptionError, ParityError, first_line
from edgeworthy.evidence import PREFIX, repairs_of
from edgeworthy.examination import Examination, memory_for
from edgeworthy.model import (
    Draft,
    append_metadata,
    damaged_name,
    digest,
    draft,
    metadata_of,
    parse,
    read,
    read_bytes,
    to_bytes,
)
from edgeworthy.outline import difference
from edgeworthy.parity import ROUGHEST, ROUGHEST_HALF, verify
from edgeworthy.repairs import REPAIRS
from edgeworthy.repairs.base import Repair
from edgeworthy.repairs.bench import Bench
from edgeworthy.repairs.container import external_data
from edgeworthy.repairs.inputs import unread_inputs
from edgeworthy.repairs.names import NUMBERED
from edgeworthy.repairs.patient import Patient
from edgeworthy.repairs.precision import has_halves, widened
from edgeworthy.repairs.wishes import Wishes
from edgeworthy.results import Change, LintReport, Parity, Repaired
from edgeworthy.rules.behaviour import picture_ignored
from edgeworthy.sandbox import Sandbox

if TYPE_CHECKING:
    from onnx import ModelProto

_RECORD, _ACTIVATION = PREFIX + "repair", PREFIX + "activation"
UNSAFE = (*(repair.name for repair in REPAIRS if repair.safety == "unsafe"), NUMBERED)


def repair(
    source: str | Path,
    target: str | Path | None = None,
    *,
    force: bool = False,
    in_place: bool = False,
    dry_run: bool = False,
    strict: bool = False,
    diff: bool = False,
    allow: Iterable[str] = (),
    sandbox: Sandbox | None = None,
    **wishes: Any,
) -> Repaired:
    """Make a classifier's ONNX file keep the contract without changing what it predicts.

    A file that conforms is left as it is, byte for byte, unless something is asked for.

    Args:
        source: the file; it is not touched unless `in_place` says so.
        target: the file to write; whole or absent afterwards.
        force: overwrite the target.
        in_place: replace the file itself, in one step at the very end.
        dry_run: do all the work, the proof included, and write nothing.
        strict: mend what only warnings speak of, too.
        diff: whether the result shall hold a difference of both graphs.
        sandbox: one that is under way.
        allow: names of unsafe repairs (`UNSAFE`) to make.
        **wishes: the fields of `repairs.wishes.Wishes`: classes, mean, std, input_size, opset and others.

    Raises:
        IrreparableError: where the file cannot be made to keep the contract; the message says why.
        ParityError: where the repaired file would predict something else.
        EdgeworthyError: of other kinds that `edgeworthy.errors` lists; nothing is written then.
    """
    wanted = _wishes(wishes, allow)
    if not isinstance(source, str | Path):
        raise OptionError(f"The source is {type(source).__name__}, expected the path of a file.")
    path = Path(source)
    target = path if in_place else target
    if target is not None and not in_place and not dry_run and _is_same(path, Path(target)):
        raise OptionError(f"{target} is the file itself.", hint="To replace it, say so: --in-place.")
    if target is None and not dry_run:
        raise OptionError("No target is given.", hint="Name one, or leave everything as it is: dry_run=True.")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeworthy-")))
        place = scratch / "repaired.onnx" if dry_run or target is None else Path(target)
        file = stack.enter_context(draft(place, force=force or in_place))
        sandbox = sandbox or stack.enter_context(Sandbox(memory_bytes=memory_for([path])))
        operation = _Operation(path, wanted, sandbox, scratch, strict=strict)
        operation.operate()
        result = operation.finish(file, diff=diff)
        if dry_run or target is None:
            return result
        if result.changes or not in_place:
            file.commit()
    return replace(result, path=str(target), after=replace(result.after, path=str(target)))


def _is_same(path: Path, target: Path) -> bool:
    return path.exists() and target.exists() and path.samefile(target)


def _wishes(values: Mapping[str, Any], allow: Iterable[str]) -> Wishes:
    known = set(Wishes.__dataclass_fields__)
    unknown = sorted(set(values) - known)
    if unknown:
        raise OptionError(f"Unknown option {unknown[0]!r}.", hint=f"Known are: {', '.join(sorted(known))}.")
    allowed = frozenset([allow] if isinstance(allow, str) else allow)
    for name in sorted(allowed - set(UNSAFE)):
        raise OptionError(f"No unsafe repair is called {name!r}.", hint=f"There are {', '.join(UNSAFE)}.")
    return Wishes(allow=allowed, **values)


def _codes(lint: LintReport) -> set[str]:
    return {finding.code for finding in lint.findings}


def _of(codes: Iterable[str], found: Container[str]) -> tuple[str, ...]:
    return tuple(code for code in codes if code in found)


@dataclass
class _Original:
    """The file as it came: its bytes, what the rules say of it, and the model in it."""

    content: bytes
    lint: LintReport
    model: ModelProto


def _require_text(model: ModelProto) -> None:
    bad = damaged_name(model)
    if bad is not None:
        raise IrreparableError(f"The file is damaged: the name {bad[:40]!r} is not valid UTF-8.")


class _Operation:
    """One file on the table."""

    def __init__(self, path: Path, wishes: Wishes, sandbox: Sandbox, scratch: Path, *, strict: bool) -> None:
        self._path = path
        self._sandbox = sandbox
        content = read_bytes(path)
        model = parse(content, str(path))
        _require_text(model)
        lint = linter.check(path, examination=Examination(path, sandbox))
        self._original = _Original(content, lint, model)
        mended = type(model)()
        mended.CopyFrom(model)
        self._bench = Bench(sandbox, scratch)
        self._patient = Patient(mended, wishes, self._bench, strict=strict, folder=path.parent)
        self.changes: list[Change] = []

    def operate(self) -> None:
        """Make all repairs that are needed or asked for."""
        wishes, lint = self._patient.wishes, self._original.lint
        if lint.conforms and not wishes.any and not (self._patient.strict and lint.of("warning")):
            return
        for repair in REPAIRS:
            if repair.safety == "unsafe" and repair.name not in wishes.allow:
                continue
            for message in self._apply(repair):
                self.changes.append(
                    Change(repair=repair.name, mends=repair.mends, safety=repair.safety, message=message)
                )
            if repair is unread_inputs:
                self._patient.originals = self._patient.names
            if repair is external_data:
                # what the repaired file will be compared with
                self._complete = self._bench.save_loadable(self._patient.model, "complete.onnx")

    def finish(self, file: Draft, *, diff: bool) -> Repaired:
        """Prove, write and check the result.

        Raises:
            ParityError: where it predicts something else.
            IrreparableError: where it still breaks a rule.
        """
        if not self.changes:
            return self._unchanged(file)
        self._forget_earlier_repairs()
        written = file.write(to_bytes(self._patient.model))
        parity = self._prove(file.path)
        final = append_metadata(file, written, self._record(parity))
        found = _codes(self._original.lint)
        after = linter.check(file.path, examination=Examination(file.path, self._sandbox))
        self._require_conformance(after)
        return Repaired(
            source=str(self._path),
            path=None,
            sha256=final.sha256,
            size_bytes=final.size_bytes,
            changes=tuple(replace(change, mends=_of(change.mends, found)) for change in self.changes),
            before=self._original.lint,
            after=after,
            parity=parity,
            exact=self._patient.border.exact,
            difference=difference(self._original.model, self._patient.model) if diff else (),
        )

    def _apply(self, repair: Repair) -> list[str]:
        try:
            return list(repair.apply(self._patient))
        except EdgeworthyError:
            raise
        except Exception as error:  # a hostile graph trips over anything
            raise IrreparableError(
                f"The repair {repair.name} failed on this file: {type(error).__name__}: {first_line(error)}"
            ) from error

    def _unchanged(self, file: Draft) -> Repaired:
        content, lint = self._original.content, self._original.lint
        self._require_conformance(lint)
        written = file.write(content)
        return Repaired(
            source=str(self._path),
            path=None,
            sha256=written.sha256,
            size_bytes=written.size_bytes,
            changes=(),
            before=lint,
            after=lint,
            parity=None,
            exact=True,
        )

    def _prove(self, repaired: Path) -> Parity:
        """Ask the original and the repaired file about the probes, each in its own way.

        Names, shapes and metadata alone leave every bit; other changes may differ as float32 rounds.
        """
        patient, complete = self._patient, self._complete
        border, pictures = patient.border, patient.pictures()
        fed = border.to_original(pictures)
        reference = border.from_original(patient.ask(complete, fed, patient.originals))[:, 0]
        candidate = patient.ask(repaired, pictures, patient.names)[:, 0]
        if border.exact and not np.array_equal(reference, candidate):
            # the runtime fuses other nodes where weights are no inputs, or an output less is wanted
            plain = patient.ask(complete, fed, patient.originals, optimize=False)
            reference = border.from_original(plain)[:, 0]
            candidate = patient.ask(repaired, pictures, patient.names, optimize=False)[:, 0]

        parity = verify(
            probes=[probe.name for probe in patient.probes()],
            reference=reference,
            candidate=candidate,
            logits=reference,
            activation="none",
            otherwise=self._yardstick(pictures),
            atol=0.0 if border.exact else None,
            roughest=ROUGHEST_HALF if has_halves(self._original.model) else ROUGHEST,
        )
        if parity.verdict == "different":
            raise ParityError(
                f"The repaired file would predict something else: on the probe {parity.worst_probe!r} a "
                f"probability differs by {parity.max_abs_diff:.2g}, allowed is {parity.tolerance:.2g}.",
                hint="No file was written.",
            )
        return parity

    def _yardstick(self, pictures: Any) -> Callable[[int], Any]:
        """The original in other arithmetic: without the runtime's optimisation, or half precision in single.

        ONNX Runtime computes half precision on the CPU in single, and rounds where the graph happens to have
        a Cast; a repair that adds one at the border moves where it rounds.
        """
        patient, path, half = self._patient, self._complete, has_halves(self._original.model)
        if half:
            path = self._bench.save(widened(read(self._complete)), "widened.onnx")

        def otherwise(probe: int) -> Any:
            fed = patient.border.to_original(pictures[probe : probe + 1], rounded=not half)
            answers = patient.ask(path, fed, patient.originals, optimize=half)
            return patient.border.from_original(answers)[:, 0]

        return otherwise

    def _record(self, parity: Parity) -> dict[str, str]:
        """What the file remembers of its repair: no time, no path, so that two runs give the same bytes."""
        record = {
            "version": __version__,
            "original": f"sha256:{digest(self._original.content)}",
            "repairs": list(dict.fromkeys(change.repair for change in self.changes)),
            "earlier": [
                {"original": one.get("original"), "repairs": one["repairs"]}
                for one in repairs_of(metadata_of(self._original.model))
            ],
            "parity": asdict(parity),
        }
        entries = {_RECORD: json.dumps(record, sort_keys=True)}
        if self._patient.wishes.activation == "sigmoid":
            entries[_ACTIVATION] = "sigmoid"
        return entries

    def _forget_earlier_repairs(self) -> None:
        properties = self._patient.model.metadata_props
        ours = {_RECORD, _ACTIVATION} if self._patient.wishes.activation == "sigmoid" else {_RECORD}
        for entry in [entry for entry in properties if entry.key in ours]:
            properties.remove(entry)

    def _require_conformance(self, lint: LintReport) -> None:
        errors = lint.of("error")
        still = picture_ignored.code
        if still in _codes(lint) and still not in _codes(self._original.lint):
            raise IrreparableError(
                "The repaired file would give the same scores for every picture, the original does not.",
                hint="Is --activation right for this model?",
            )
        if errors:
            listed = "; ".join(f"{finding.code} {finding.message}" for finding in errors[:4])
            more = f"; and {len(errors) - 4} more" if len(errors) > 4 else ""
            raise IrreparableError(
                f"No repair mends what is left: {listed}{more}",
                hint=f"Export the model again, or see: edgeworthy rule {errors[0].code}.",
            )
