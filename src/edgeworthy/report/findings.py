"""A rule report as a person sees it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from edgeworthy.results import SEVERITIES, LintReport, Severity

if TYPE_CHECKING:
    from rich.text import Text

    from edgeworthy.rules.base import Rule

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_WIDTH = 96


def render_report(report: LintReport) -> Text:
    """A line for the file, then each finding with why it matters, then the rules that were skipped."""
    from rich.text import Text

    text = Text()
    text.append("✓ " if report.conforms else "✗ ", "green" if report.conforms else "bold red")
    text.append(report.path, "bold")
    text.append(f"  {summary(report)}\n")
    for finding in sorted(report.findings, key=lambda found: SEVERITIES.index(found.severity)):
        text.append(f"  {finding.severity:<8}", _STYLES[finding.severity])
        text.append(f"{finding.code} ", "bold")
        text.append(finding.name, "bold")
        text.append(f"  [{finding.where}]\n" if finding.where else "\n", "dim")
        text.append(_indented(finding.message))
        text.append(_indented(finding.why), "dim")
    reasons = dict.fromkeys(skipped.reason for skipped in report.skipped)
    for reason in reasons:
        codes = ", ".join(skipped.code for skipped in report.skipped if skipped.reason == reason)
        text.append(f"  skipped {codes}: {reason}\n", "dim")
    text.rstrip()
    return text


def render_rule(rule: Rule, *, whole: bool) -> Text:
    """A rule in one line, or with what it requires, why, and where that comes from."""
    from rich.text import Text

    text = Text.assemble((f"{rule.code} {rule.name}", "bold"), "  ", (rule.severity, _STYLES[rule.severity]))
    if whole:
        text.append(f"\n{_indented(rule.title)}{_indented(rule.why)}")
        rows = ", ".join(map(str, rule.rows))
        text.append(f"          Row {rows} of the contract (docs/contract.md).\n", "dim")
    return text


def summary(report: LintReport) -> str:
    """The counts in one line."""
    counts = [(len(report.of(severity)), severity) for severity in _STYLES]
    found = ", ".join(counted(count, severity) for count, severity in counts if count)
    passed = counted(len(report.passed), "rule")
    return f"{found or 'no findings'}; {passed} passed, {len(report.skipped)} skipped"


def counted(count: int, noun: str) -> str:
    """`1 error`, `2 errors`; information has no plural."""
    return f"{count} {noun}{'' if count == 1 or noun == 'info' else 's'}"


def _indented(paragraph: str) -> str:
    lines = textwrap.wrap(paragraph, _WIDTH - 10, break_long_words=False) if paragraph else []
    return "".join(f"          {line}\n" for line in lines)
