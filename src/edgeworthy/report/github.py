"""Findings as annotations of a GitHub workflow.

The format, with its escapes, is documented at
https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from edgeworthy.results import Finding, LintReport, Unchecked

_LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


def render_annotations(result: LintReport | Unchecked) -> list[str]:
    """A line for each finding, or one for a file that could not be checked."""
    if isinstance(result, Unchecked):
        return [_annotation("error", result.path, "not checked", result.message)]
    return [_of_finding(result.path, finding) for finding in result.findings]


def _of_finding(path: str, finding: Finding) -> str:
    title = f"{finding.code} {finding.name}"
    return _annotation(_LEVELS[finding.severity], path, title, f"{finding.message} {finding.why}")


def _annotation(level: str, path: str, title: str, message: str) -> str:
    return f"::{level} file={_property(path)},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
