"""A rule report as a person sees it."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from typing import Any

from edgeworthy.report.tables import counted, printable
from edgeworthy.results import SEVERITIES, LintReport, Severity
from edgeworthy.rules import RULES
from edgeworthy.rules.base import MENDINGS, Rule
from edgeworthy.rules.rows import explained

Piece = tuple[str, str]  # text and its style

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_WIDTH = 96


def report_pieces(report: LintReport) -> Iterator[Piece]:
    """A line for the file, then each finding with why it matters, then the rules that were skipped."""
    yield "✓ " if report.conforms else "✗ ", "green" if report.conforms else "bold red"
    yield printable(report.path), "bold"
    yield f"  {summary(report)}\n", ""
    for finding in sorted(report.findings, key=lambda found: SEVERITIES.index(found.severity)):
        yield f"  {finding.severity:<8}", _STYLES[finding.severity]
        yield f"{finding.code} {finding.name}", "bold"
        yield f"  [{finding.where}]\n" if finding.where else "\n", "dim"
        yield _indented(finding.message), ""
        yield _indented(finding.why), "dim"
    reasons = dict.fromkeys(skipped.reason for skipped in report.skipped)
    for reason in reasons:
        codes = ", ".join(skipped.code for skipped in report.skipped if skipped.reason == reason)
        yield f"  skipped {codes}: {reason}\n", "dim"
    step = next_step(report)
    if step:
        yield f"  next: {printable(step)}\n", "bold"


def rule_pieces(rule: Rule, *, whole: bool) -> Iterator[Piece]:
    """A rule in one line, or with what it requires, why, an example, and where that comes from."""
    yield f"{rule.code} {rule.name}", "bold"
    yield "  ", ""
    yield f"{rule.severity}\n", _STYLES[rule.severity]
    if not whole:
        return
    yield f"{_indented(rule.title)}{_indented(rule.why)}{_indented(f'Example: {rule.example}')}", ""
    rows = ", ".join(map(str, rule.rows))
    yield _indented(f"{rule.family}: row {rows} of the contract (docs/contract.md)."), "dim"
    yield _indented(f"Source: {'; '.join(map(explained, rule.sources))}."), "dim"
    if rule.targets:
        yield _indented(f"Applied with --target {' or '.join(rule.targets)}."), "dim"
    yield _indented(MENDINGS[rule.mending].replace("`", "")), "dim"


def rule_facts(rule: Rule) -> dict[str, Any]:
    """A rule as JSON values: what docs/schemas/rule.json describes."""
    return {
        "code": rule.code,
        "name": rule.name,
        "family": rule.family,
        "severity": rule.severity,
        "title": rule.title,
        "why": rule.why,
        "example": rule.example,
        "rows": list(rule.rows),
        "sources": list(map(explained, rule.sources)),
        "mending": rule.mending,
        "static": rule.static,
        "targets": list(rule.targets),
    }


# What `edgeworthy repair` has to be told for a finding; "" where it needs nothing.
_OPTIONS = {
    "EW102": "--opset 16",
    "EW207": "--input-size C H W",
    "EW301": "--classes FILE",
    "EW302": "--classes FILE",
    "EW304": "--classes FILE",
    "EW401": "--mean M --std S",
    "EW402": "--mean M --std S",
    "EW403": "--mean M --std S",
    "EW404": "--mean M --std S",
    "EW405": "--allow unit-scale",
    "EW504": "--allow softmax-twice",
}


def option_for(code: str) -> str:
    """What `edgeworthy repair` has to be told to mend a finding, "" for nothing that helps or is needed."""
    return _OPTIONS.get(code, "")


def next_step(report: LintReport) -> str:
    """The command that mends a file, "" where none of its errors can be mended."""
    mending = {rule.code: rule.mending for rule in RULES}
    found = [finding.code for finding in report.findings if mending.get(finding.code, "no") != "no"]
    if report.conforms or not found:
        return ""
    options = dict.fromkeys(filter(None, map(option_for, found)))
    return " ".join(["edgeworthy repair", shlex.quote(report.path), *options, "-o MENDED.onnx"])


def summary(report: LintReport) -> str:
    """The counts in one line."""
    counts = [(len(report.of(severity)), severity) for severity in _STYLES]
    found = ", ".join(counted(count, severity) for count, severity in counts if count)
    passed = counted(len(report.passed), "rule")
    return f"{found or 'no findings'}; {passed} passed, {len(report.skipped)} skipped"


def _indented(paragraph: str) -> str:
    lines = textwrap.wrap(paragraph, _WIDTH - 10, break_long_words=False) if paragraph else []
    return "".join(f"          {line}\n" for line in lines)
