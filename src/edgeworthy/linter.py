"""check(): select rules, apply them to a file, and say what each came to."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypedDict, Unpack

from edgeworthy import native
from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import ModelFileError, OptionError, first_line
from edgeworthy.examination import Examination, memory_for, size_of
from edgeworthy.results import Finding, LintReport, Skipped, Unchecked
from edgeworthy.rules import RULES, TARGETS
from edgeworthy.rules.base import NotApplicableError, Rule
from edgeworthy.rules.container import too_large
from edgeworthy.rules.subject import Subject
from edgeworthy.sandbox import Sandbox

IGNORED = "ignored"  # how the reason of a rule that was left out begins


class CheckOptions(TypedDict, total=False):
    """Which rules to apply: the keywords of `check`."""

    select: Sequence[str]
    ignore: Sequence[str] | Mapping[str, str]
    targets: Sequence[str]
    static: bool


def check(
    path: str | Path,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] | Mapping[str, str] = (),
    targets: Sequence[str] = (),
    static: bool = False,
    examination: Examination | None = None,
) -> LintReport:
    """Say what is wrong with a classifier's ONNX file, whoever made it.

    Args:
        path: of the file.
        select: codes, or beginnings of codes such as `EW3`, to apply; all if empty.
        ignore: codes or beginnings of codes to leave out, with a reason each if it is a mapping; their
            rules count as skipped.
        targets: accelerators to give advice for, such as `hailo`: without them the rules EW6 are off.
        static: neither run the model nor simplify it; the rules that need it count as skipped.
        examination: one that is under way, of the same graph.

    Raises:
        ModelFileError: where the file is no ONNX model.
        OptionError: on a code that no rule has, or a target that no rule knows.
    """
    plan = Plan.of(select=select, ignore=ignore, targets=targets, static=static)
    if examination is not None:
        return _apply(plan, Path(path), examination)
    with plan.sandbox([Path(path)]) as sandbox:
        return _apply(plan, Path(path), Examination(Path(path), sandbox))


def check_all(
    paths: Iterable[str | Path], *, jobs: int = 1, **options: Unpack[CheckOptions]
) -> Iterator[LintReport | Unchecked]:
    """Check files beside each other, `jobs` at a time, each with a child process; results come in order.

    Raises:
        OptionError: at once, on a code that no rule has, or a target that no rule knows.
    """
    plan = Plan.of(**options)
    files = [Path(path) for path in paths]
    sandboxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()

    def one(path: Path) -> LintReport | Unchecked:
        sandbox = sandboxes.get()
        try:
            return _apply(plan, path, Examination(path, sandbox))
        except ModelFileError as error:
            return Unchecked(path=str(path), message=str(error))
        finally:
            sandboxes.put(sandbox)

    with contextlib.ExitStack() as stack:
        workers = max(1, min(jobs, len(files)))
        for _ in range(workers):
            sandboxes.put(stack.enter_context(plan.sandbox(files)))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        yield from pool.map(one, files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a call asks for, settled once for all its files.

    Attributes:
        rules: those that are selected, without advice for targets that nobody asked for.
        reasons: why to leave rules out, by the beginning of their code.
        targets: that advice is given for.
        static: whether the model is neither run nor simplified.
    """

    rules: tuple[Rule, ...]
    reasons: Mapping[str, str]
    targets: frozenset[str]
    static: bool

    @classmethod
    def of(
        cls,
        *,
        select: Sequence[str] = (),
        ignore: Sequence[str] | Mapping[str, str] = (),
        targets: Sequence[str] = (),
        static: bool = False,
    ) -> Self:
        """Settle the options of `check`.

        Raises:
            OptionError: on a code that no rule has, or a target that no rule knows.
        """
        reasons = dict(ignore) if isinstance(ignore, Mapping) else dict.fromkeys(ignore, "")
        choose(reasons)
        wanted = _known_targets(targets)
        for code in select:
            if not _asked_for(choose([code]), wanted):
                raise OptionError(
                    f"The rules {code.upper()} give advice for a target, and none is named.",
                    hint=f"Say which: --target {' or '.join(TARGETS)}.",
                )
        rules = tuple(_asked_for(choose(select), wanted))
        return cls(rules=rules, reasons=reasons, targets=wanted, static=static)

    @property
    def needs(self) -> set[str]:
        """What of the examination the rules will ask for."""
        return {rule.needs for rule in self.rules if rule.needs and not self.left_out(rule)}

    def left_out(self, rule: Rule) -> str:
        """Why a rule is not applied, "" if it is; the longest of several codes that fit decides."""
        fitting = [code for code in self.reasons if rule.code.startswith(code.upper())]
        if fitting:
            reason = self.reasons[max(fitting, key=len)]
            return f"{IGNORED}: {reason}" if reason else f"{IGNORED}, as asked"
        return "--static" if self.static and not rule.static else ""

    def sandbox(self, files: Sequence[Path]) -> Sandbox:
        """A child process for files, which starts at once where it will be needed."""
        return Sandbox(memory_bytes=memory_for(files), preload=native.MODULE if self.needs else "")


def choose(codes: Iterable[str]) -> list[Rule]:
    """The rules with these codes, beginnings of codes, or names; all without any.

    Raises:
        OptionError: on a code that no rule has.
    """
    known = [rule.code for rule in RULES]
    by_name = {rule.name: rule.code for rule in RULES}
    wanted = [by_name.get(code.lower(), code.upper()) for code in codes]
    for code in wanted:
        if not code or not any(other.startswith(code) for other in known):
            raise OptionError(f"No rule has the code {code!r}.", hint=_codes_like(code, known))
    return [rule for rule in RULES if not wanted or rule.code.startswith(tuple(wanted))]


def _codes_like(code: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(code, known, n=3)
    return f"Did you mean {', '.join(close)}?" if close else "edgeworthy rule lists them all."


def _known_targets(targets: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(target.lower() for target in targets)
    for target in sorted(wanted.difference(TARGETS)):
        raise OptionError(
            f"Nothing is known of the target {target!r}.", hint=f"Known are: {', '.join(TARGETS)}."
        )
    return wanted


def _asked_for(rules: Iterable[Rule], targets: frozenset[str]) -> list[Rule]:
    return [rule for rule in rules if not rule.targets or targets.intersection(rule.targets)]


def _apply(plan: Plan, path: Path, examination: Examination) -> LintReport:
    size = size_of(path)
    if size > MAX_FILE_BYTES:
        return _too_large(str(path), size, plan.rules)
    if size:
        examination.begin(plan.needs)
    subject = Subject(path, examination, plan.targets)
    findings: list[Finding] = []
    passed: list[str] = []
    skipped: list[Skipped] = []
    for rule in plan.rules:
        reason = plan.left_out(rule)
        found: list[Finding] = []
        if not reason:
            found, reason = _outcome(rule, subject)
        if reason:
            skipped.append(Skipped(code=rule.code, name=rule.name, reason=reason))
        elif found:
            findings += found
        else:
            passed.append(rule.code)
    return LintReport(path=str(path), findings=tuple(findings), passed=tuple(passed), skipped=tuple(skipped))


def _outcome(rule: Rule, subject: Subject) -> tuple[list[Finding], str]:
    """What a rule finds, and the reason where it cannot be applied."""
    try:
        return [_finding(rule, message, where) for message, where in rule.check(subject)], ""
    except NotApplicableError as reason:
        return [], str(reason)
    except Exception as error:  # a hostile graph must not take the other rules down
        return [], f"the rule failed on this file: {first_line(error)}"


def _too_large(path: str, size: int, rules: Sequence[Rule]) -> LintReport:
    message = f"The file has {size} bytes, at most {MAX_FILE_BYTES} are possible."
    reason = f"the file is too large to be read ({too_large.code})"
    return LintReport(
        path=path,
        findings=tuple(_finding(rule, message, "file") for rule in rules if rule is too_large),
        passed=(),
        skipped=tuple(
            Skipped(code=rule.code, name=rule.name, reason=reason) for rule in rules if rule is not too_large
        ),
    )


def _finding(rule: Rule, message: str, where: str) -> Finding:
    return Finding(
        code=rule.code, name=rule.name, severity=rule.severity, message=message, where=where, why=rule.why
    )
