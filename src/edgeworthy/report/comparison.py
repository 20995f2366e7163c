"""A comparison as text: the verdict, the figures, what is different, and where the two part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgeworthy.report.evaluation import percent
from edgeworthy.report.tables import counted, facts_table, printable
from edgeworthy.results import Agreement, Comparison, Finding, GraphNode, Parting

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_STYLES = {"same": "green", "different": "red", "inconclusive": "yellow"}
_SHOWN = 5
_NODES = 6
_BARELY = 10  # times what rounding explains


def render_comparison(comparison: Comparison) -> Iterator[RenderableType]:
    """Block by block."""
    from rich.text import Text

    yield Text.assemble(
        (f"{comparison.verdict}: ", f"bold {_STYLES[comparison.verdict]}"),
        printable(f"{comparison.first} and {comparison.second}"),
    )
    yield facts_table(facts(comparison))
    if comparison.agreement is not None:
        yield from _disagreements(comparison.agreement)
    if comparison.structure:
        yield Text("What the files have different", "bold")
        yield facts_table(
            (one.what, f"{one.first or '-'}  →  {one.second or '-'}") for one in comparison.structure
        )
    for name, findings in only(comparison):
        yield Text(f"Rules that only {printable(name)} breaks", "bold")
        yield facts_table((one.code, one.message) for one in findings)
    if comparison.parting is not None:
        yield _parting(comparison.parting)


def facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """What was measured, line by line."""
    parity, agreement = comparison.parity, comparison.agreement
    yield (
        "On probes",
        f"probabilities differ by at most {parity.max_abs_diff:g} (allowed {parity.tolerance:g}), "
        f"{parity.mean_abs_diff:g} on average; the best class agrees on {parity.top1_agreement:.1%} of "
        f"{parity.samples}; the worst is {parity.worst_probe!r}",
    )
    if parity.verdict == "inconclusive":
        yield "", f"over all probes no probability moves by more than {parity.spread:g}: that proves little"
    if agreement is not None:
        differing = len(agreement.disagreements)
        yield (
            "On pictures",
            f"the best class agrees on {percent(agreement.share)} of {agreement.pictures}, and differs on "
            f"{differing}; probabilities differ by at most {agreement.max_abs_diff:g}, on "
            f"{agreement.worst_picture}",
        )
        one, other = (frame.describe() for frame in agreement.frames)
        yield "Frame", one if one == other else f"first: {one}; second: {other}"
        if agreement.unreadable:
            first = agreement.unreadable[0].message
            number = counted(len(agreement.unreadable), "picture")
            yield "Unread", f"{number} could not be read, the first: {first}"
    yield "Classes", comparison.classes
    if comparison.kind == "file" and not comparison.structure:
        yield "Structure", "the same format, operators and contract"


def only(comparison: Comparison) -> Iterator[tuple[str, Sequence[Finding]]]:
    """The files with what the rules say of one of them alone."""
    sides = ((comparison.first, comparison.only_first), (comparison.second, comparison.only_second))
    yield from ((name, findings) for name, findings in sides if findings)


def parting_lines(parting: Parting) -> Iterator[tuple[str, str]]:
    """Where the two part: a headline without a name, then facts with theirs."""
    seen = (
        f"{parting.compared} of {parting.values} values inside were compared, on the probe {parting.probe!r}"
    )
    if parting.outcome == "never":
        yield "", f"They part nowhere: {seen}."
        return
    healed = "; the scores agree all the same" if parting.outcome == "healed" else ""
    node = parting.first
    if node is None:
        yield "", "They part at the scores, which in one of them do not depend on the picture"
        return
    yield "", f"They part at {_named(node)}{healed}"
    yield (
        "differs",
        f"by {parting.distance:.2g} of its size (rounding explains {parting.allowed:.2g}): {parting.value}",
    )
    if parting.second is not None and _named(parting.second) != _named(node):
        yield "in the second", _named(parting.second)
    yield "agrees before", _listed(parting.agreeing) or "the picture alone"
    if len(parting.between_first) > 1:
        yield "between", f"{len(parting.between_first)} nodes: {_listed(parting.between_first)}"
    if parting.between_second and parting.between_second != parting.between_first:
        yield "in the second", f"{len(parting.between_second)} nodes: {_listed(parting.between_second)}"
    if parting.modules:
        yield "modules", _listed(parting.modules)
    if parting.distance < _BARELY * parting.allowed:
        yield "note", "that is little more than rounding: what makes it may stand before"
    yield from (("because", reason) for reason in parting.reasons[:_NODES])
    yield "compared", seen


def _named(node: GraphNode) -> str:
    return f"{node.op} {node.name or next(iter(node.outputs), '')}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NODES])
    return f"{shown} and {len(names) - _NODES} more" if len(names) > _NODES else shown


def _disagreements(agreement: Agreement) -> Iterator[Text]:
    from rich.text import Text

    cases = agreement.disagreements
    if not cases:
        return
    text = Text("They name another class", "bold")
    for case in cases[:_SHOWN]:
        told = (
            f"{case.path}: first {case.first_says} {case.first_probability:.3f}, second {case.second_says} "
            f"{case.second_probability:.3f}"
        )
        text.append(f"\n  {printable(told)}", "not bold")
    if len(cases) > _SHOWN:
        text.append(f"\n  and {len(cases) - _SHOWN} more: --json and -o show all", "not bold dim")
    yield text


def _parting(parting: Parting) -> Text:
    from rich.text import Text

    text = Text()
    for what, told in parting_lines(parting):
        if what:
            text.append(f"\n  {what:<14}", "bold").append(printable(told))
        else:
            text.append(printable(told), "bold" if parting.outcome == "parted" else "bold green")
    return text
