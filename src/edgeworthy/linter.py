"""check(): select rules, apply them to a file, and say what each came to."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path

from edgeworthy.errors import OptionError, first_line
from edgeworthy.examination import Examination
from edgeworthy.results import Finding, LintReport, Skipped
from edgeworthy.rules import RULES
from edgeworthy.rules.base import NotApplicableError, Rule
from edgeworthy.rules.subject import Subject
from edgeworthy.sandbox import Sandbox


def check(
    path: str | Path,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    examination: Examination | None = None,
) -> LintReport:
    """Say what is wrong with a classifier's ONNX file, whoever made it.

    Args:
        path: of the file.
        select: codes, or beginnings of codes such as `EW3`, to apply; all if empty.
        ignore: codes or beginnings of codes to leave out.
        examination: one that is under way, of the same graph.

    Raises:
        ModelFileError: where the file is no ONNX model.
        OptionError: on a code that no rule has.
    """
    rules = _chosen(select, ignore)
    with contextlib.ExitStack() as stack:
        if examination is None:
            sandbox = stack.enter_context(Sandbox())
            examination = Examination(Path(path), sandbox)
        subject = Subject(Path(path), examination)
        findings: list[Finding] = []
        passed: list[str] = []
        skipped: list[Skipped] = []
        for rule in rules:
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


def _finding(rule: Rule, message: str, where: str) -> Finding:
    return Finding(
        code=rule.code, name=rule.name, severity=rule.severity, message=message, where=where, why=rule.why
    )


def _chosen(select: Sequence[str], ignore: Sequence[str]) -> list[Rule]:
    codes = [rule.code for rule in RULES]
    for asked in (*select, *ignore):
        if not asked or not any(code.startswith(asked.upper()) for code in codes):
            close = difflib.get_close_matches(asked.upper(), codes, n=3)
            hint = f"Did you mean {', '.join(close)}?" if close else "docs/rules.md lists them all."
            raise OptionError(f"No rule has the code {asked!r}.", hint=hint)
    wanted = tuple(code.upper() for code in select) or ("EW",)
    unwanted = tuple(code.upper() for code in ignore)
    return [
        rule
        for rule in RULES
        if rule.code.startswith(wanted) and not (unwanted and rule.code.startswith(unwanted))
    ]
