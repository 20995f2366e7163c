"""check(): select rules, apply them to a file, and say what each came to."""

from __future__ import annotations

import contextlib
import difflib
import queue
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import ModelFileError, OptionError, first_line
from edgeworthy.examination import Examination, memory_for, size_of
from edgeworthy.results import Finding, LintReport, Skipped, Unchecked
from edgeworthy.rules import RULES
from edgeworthy.rules.base import NotApplicableError, Rule
from edgeworthy.rules.container import too_large
from edgeworthy.rules.subject import Subject
from edgeworthy.sandbox import Sandbox


def check(
    path: str | Path,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] | Mapping[str, str] = (),
    examination: Examination | None = None,
) -> LintReport:
    """Say what is wrong with a classifier's ONNX file, whoever made it.

    Args:
        path: of the file.
        select: codes, or beginnings of codes such as `EW3`, to apply; all if empty.
        ignore: codes or beginnings of codes to leave out, with a reason each if it is a mapping; their
            rules count as skipped.
        examination: one that is under way, of the same graph.

    Raises:
        ModelFileError: where the file is no ONNX model.
        OptionError: on a code that no rule has.
    """
    reasons = dict(ignore) if isinstance(ignore, Mapping) else dict.fromkeys(ignore, "")
    rules = choose(select)
    choose(reasons)
    if size := _oversize(Path(path)):
        return _too_large(str(path), size, rules)
    with contextlib.ExitStack() as stack:
        if examination is None:
            sandbox = stack.enter_context(Sandbox(memory_bytes=memory_for([Path(path)])))
            examination = Examination(Path(path), sandbox)
        subject = Subject(Path(path), examination)
        findings: list[Finding] = []
        passed: list[str] = []
        skipped: list[Skipped] = []
        for rule in rules:
            if ignored := _ignored(rule, reasons):
                skipped.append(Skipped(code=rule.code, name=rule.name, reason=ignored))
                continue
            try:
                found = [_finding(rule, message, where) for message, where in rule.check(subject)]
            except NotApplicableError as reason:
                skipped.append(Skipped(code=rule.code, name=rule.name, reason=str(reason)))
            except Exception as error:  # a hostile graph must not take the other rules down
                reason_text = f"the rule failed on this file: {first_line(error)}"
                skipped.append(Skipped(code=rule.code, name=rule.name, reason=reason_text))
            else:
                findings += found
                passed += [] if found else [rule.code]
    return LintReport(path=str(path), findings=tuple(findings), passed=tuple(passed), skipped=tuple(skipped))


def check_all(
    paths: Iterable[str | Path],
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] | Mapping[str, str] = (),
    jobs: int = 1,
) -> Iterator[LintReport | Unchecked]:
    """Check files beside each other, `jobs` at a time, each with a child process; results come in order.

    Raises:
        OptionError: at once, on a code that no rule has.
    """
    choose(select)
    choose(ignore)
    files = [Path(path) for path in paths]
    sandboxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()

    def one(path: Path) -> LintReport | Unchecked:
        sandbox = sandboxes.get()
        try:
            return check(path, select=select, ignore=ignore, examination=Examination(path, sandbox))
        except ModelFileError as error:
            return Unchecked(path=str(path), message=str(error))
        finally:
            sandboxes.put(sandbox)

    with contextlib.ExitStack() as stack:
        workers = max(1, min(jobs, len(files)))
        for _ in range(workers):
            sandboxes.put(stack.enter_context(Sandbox(memory_bytes=memory_for(files))))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        yield from pool.map(one, files)


def choose(codes: Iterable[str]) -> list[Rule]:
    """The rules with these codes or beginnings of codes; all without any.

    Raises:
        OptionError: on a code that no rule has.
    """
    known = [rule.code for rule in RULES]
    wanted = [code.upper() for code in codes]
    for code in wanted:
        if not code or not any(other.startswith(code) for other in known):
            close = difflib.get_close_matches(code, known, n=3)
            hint = f"Did you mean {', '.join(close)}?" if close else "edgeworthy rule lists them all."
            raise OptionError(f"No rule has the code {code!r}.", hint=hint)
    return [rule for rule in RULES if not wanted or rule.code.startswith(tuple(wanted))]


def _oversize(path: Path) -> int:
    """Bytes of a file that no protobuf message can be; 0 for any other."""
    size = size_of(path)
    return size if size > MAX_FILE_BYTES else 0


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


def _ignored(rule: Rule, reasons: Mapping[str, str]) -> str:
    """Why a rule is left out, "" if it is not; the longest of several codes that fit decides."""
    fitting = [code for code in reasons if rule.code.startswith(code.upper())]
    if not fitting:
        return ""
    reason = reasons[max(fitting, key=len)]
    return f"ignored: {reason}" if reason else "ignored, as asked"


def _finding(rule: Rule, message: str, where: str) -> Finding:
    return Finding(
        code=rule.code, name=rule.name, severity=rule.severity, message=message, where=where, why=rule.why
    )
