"""What `check` returns: what the rules say of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that a file breaks: code, name and severity, what is wrong, where, and why it matters."""

    code: str
    name: str
    severity: Severity
    message: str
    where: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A rule that could not be applied, which is not the same as one that passed."""

    code: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """What the rules say of one file; every rule's code is in exactly one of the three."""

    path: str
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def conforms(self) -> bool:
        """Whether no error was found; warnings leave a file conformant."""
        return not self.of("error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """A file that no rule could be applied to, and why."""

    path: str
    message: str
