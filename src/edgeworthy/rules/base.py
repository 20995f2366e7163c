"""What a rule is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeworthy.results import Severity
from edgeworthy.rules.rows import sources_of

if TYPE_CHECKING:
    from edgeworthy.rules.subject import Subject

Findings = Iterator[tuple[str, str]]  # message, where

Mending = Literal["safe", "asks", "unsafe", "no"]
Need = Literal["", "checked", "simplified", "ran"]

FAMILIES = {
    "EW1": "The file",
    "EW2": "The input",
    "EW3": "The output and the class names",
    "EW4": "The normalisation",
    "EW5": "What the model answers",
    "EW6": "Advice for one target",
}

MENDINGS: dict[Mending, str] = {
    "safe": "`edgeworthy repair` mends it, and predictions stay as they are.",
    "asks": "`edgeworthy repair` mends it once it is told what the file does not say, or what is wanted: "
    "`--classes`, `--mean` and `--std`, `--input-size`, `--opset`.",
    "unsafe": "`edgeworthy repair` mends it only when asked to: predictions change.",
    "no": "`edgeworthy repair` cannot mend it.",
}


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
        title, why, example: from the docstring of its function.
        sources: where the requirement comes from: tags of docs/contract.md, addresses, repositories.
        mending: whether `edgeworthy repair` mends the defect, and how safely.
        needs: what of the examination it looks at; "" for the file alone.
        targets: on which it gives advice, where it is asked for; () for a rule that always counts.
        check: yields a message and a place for each finding.
    """

    code: str
    name: str
    severity: Severity
    rows: tuple[int, ...]
    title: str
    why: str
    example: str
    sources: tuple[str, ...]
    mending: Mending
    needs: Need
    targets: tuple[str, ...]
    check: Callable[[Subject], Findings]

    @property
    def family(self) -> str:
        """What the rules whose codes begin alike are about."""
        return FAMILIES[self.code[:3]]

    @property
    def static(self) -> bool:
        """Whether it neither runs the model nor simplifies it."""
        return self.needs in {"", "checked"}


def rule(
    code: str,
    name: str,
    severity: Severity,
    *rows: int,
    mending: Mending,
    needs: Need = "",
    targets: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
) -> Callable[[Callable[[Subject], Findings]], Rule]:
    """Make a rule of a generator function with a docstring.

    The docstring's first line is the title, its last paragraph begins with `Example:`, and what stands
    between says why the rule matters. `sources` are those beside the sources of the rows.
    """

    def make(check: Callable[[Subject], Findings]) -> Rule:
        title, why, example = _paragraphs(check.__doc__ or "")
        return Rule(
            code=code,
            name=name,
            severity=severity,
            rows=rows,
            title=title,
            why=why,
            example=example,
            sources=(*sources_of(rows), *sources),
            mending=mending,
            needs=needs,
            targets=targets,
            check=check,
        )

    return make


def _paragraphs(docstring: str) -> tuple[str, str, str]:
    """Title, why, and the example without the word in front of it; each is one line."""
    title, _, rest = inspect.cleandoc(docstring).partition("\n")
    why, _, example = re.sub(r"\s+", " ", rest).strip().partition("Example: ")
    return title, why.strip(), example
