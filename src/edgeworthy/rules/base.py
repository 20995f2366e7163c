"""What a rule is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeworthy.results import Severity

if TYPE_CHECKING:
    from edgeworthy.rules.subject import Subject

Findings = Iterator[tuple[str, str]]  # message, where


class NotApplicableError(Exception):
    """A rule has nothing to say of this file; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One requirement that a file can break.

    Attributes:
        code: stable, `EW` and three digits; the first one is the family.
        name: short, stable, lower case with dashes.
        severity: of its findings.
        rows: of docs/contract.md.
        title, why: from the docstring of its function.
        check: yields a message and a place for each finding.
    """

    code: str
    name: str
    severity: Severity
    rows: tuple[int, ...]
    title: str
    why: str
    check: Callable[[Subject], Findings]


def rule(
    code: str, name: str, severity: Severity, *rows: int
) -> Callable[[Callable[[Subject], Findings]], Rule]:
    """Make a rule of a generator function with a docstring."""

    def make(check: Callable[[Subject], Findings]) -> Rule:
        title, _, why = inspect.cleandoc(check.__doc__ or "").partition("\n")
        return Rule(
            code=code,
            name=name,
            severity=severity,
            rows=rows,
            title=title,
            why=" ".join(why.split()),
            check=check,
        )

    return make
