"""A repair as a person sees it: what was done, the proof, and what is left to the user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgeworthy.report.findings import option_for, summary
from edgeworthy.report.tables import printable
from edgeworthy.results import Parity, Repaired

if TYPE_CHECKING:
    from rich.text import Text

_DIFFERENCE_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def render_repair(repaired: Repaired) -> Text:
    """The file, each change with the rules that it satisfies, the proof, and what is left."""
    from rich.text import Text

    text = Text()
    text.append("✓ ", "green")
    text.append(printable(repaired.source), "bold")
    text.append(f"  {_outcome(repaired)}\n")
    for change in repaired.changes:
        text.append(f"  {change.repair:<22}", "bold" if change.safety == "safe" else "bold yellow")
        text.append(printable(change.message))
        text.append(f"  {' '.join(change.mends)}\n" if change.mends else "\n", "dim")
    if repaired.parity is not None:
        text.append(f"  {'proof':<22}", "bold")
        text.append(_proof(repaired.parity, exact=repaired.exact) + "\n")
    text.append(f"  {'rules':<22}", "bold")
    text.append(f"{summary(repaired.after)}\n")
    for finding in repaired.after.findings:
        text.append(f"  {'left':<22}", "yellow")
        option = option_for(finding.code)
        text.append(f"{finding.code} {printable(finding.message)}{f'  Try {option}.' if option else ''}\n")
    text.rstrip()
    return text


def render_difference(lines: Iterable[str]) -> Text:
    """A unified difference of two graphs, coloured."""
    from rich.text import Text

    text = Text()
    for line in lines:
        text.append(f"{printable(line)}\n", _DIFFERENCE_STYLES.get(line[:1], ""))
    text.rstrip()
    return text


def _outcome(repaired: Repaired) -> str:
    if not repaired.changes:
        copied = f"; {repaired.path} is the same, byte for byte" if repaired.path else ""
        return f"conforms, nothing to mend{copied}"
    count = f"{len(repaired.changes)} change{'' if len(repaired.changes) == 1 else 's'}"
    if repaired.path is None:
        return f"{count}, nothing written"
    return f"{count} → {printable(repaired.path)} ({repaired.size_bytes / 1e6:.1f} MB)"


def _proof(parity: Parity, *, exact: bool) -> str:
    where = f"{parity.verdict} on {parity.samples} probes"
    if exact:
        return f"{where}: every score is equal to the bit"
    return (
        f"{where}: probabilities differ by at most {parity.max_abs_diff:g} "
        f"(allowed {parity.tolerance:g}), best class agrees on {parity.top1_agreement:.1%}"
    )
