"""A smaller file as a person sees it: the steps, what it was judged by, and the layers to blame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeworthy.report.tables import facts_table, printable
from edgeworthy.results import Attempt, Gate, Interval, Quantized

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_BLAMED = 12
_FLOATS = 4


def render_quantized(found: Quantized) -> Iterator[RenderableType]:
    """Block by block."""
    from rich.text import Text

    held = found.path is not None
    name = printable(Path(found.source).name)
    yield Text.assemble(
        ("✓ " if held else "✗ ", "green" if held else "red"), (f"{name} as {found.precision}", "bold")
    )
    yield _steps(found.attempts)
    yield facts_table(_facts(found))
    if found.blames:
        yield _blames(found)
    for note in found.notes:
        yield Text(f"note: {printable(note)}", "yellow")


def _steps(attempts: tuple[Attempt, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("step", no_wrap=True)
    table.add_column("what")
    for heading in ("divergence", "agreement", "top-1 lost", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for attempt in attempts:
        gate = attempt.gate
        drop = gate.drop if gate else None
        table.add_row(
            Text(attempt.name, "bold" if gate and gate.held else ""),
            Text(printable(attempt.detail)),
            f"{attempt.divergence:.4f}",
            f"{gate.agreement.value:.4f}" if gate else "-",
            f"{drop.value:.2f}" if drop else "-",
            f"{attempt.seconds:.0f}",
        )
    return table


def _facts(found: Quantized) -> Iterator[tuple[str, str]]:
    yield "Gate", _gate(found.gate)
    for line in _measured(found.gate):
        yield "", line
    if found.precision == "int8":
        yield "Layers", _layers(found)
    share = found.size_bytes / found.source_bytes
    yield (
        "Size",
        f"{found.size_bytes / 1e6:.1f} MB, {share:.2f} of the original's {found.source_bytes / 1e6:.1f} MB",
    )
    yield "Processors", found.processors
    yield "Calibrated", f"with {found.calibration_pictures} pictures; judged by {found.gate.pictures} others"
    if found.path is not None:
        yield "Written", f"{found.path}  (sha256 {found.sha256[:16]}…)"


def _gate(gate: Gate) -> str:
    asked = []
    if gate.max_drop is not None:
        asked.append(f"at most {gate.max_drop:g} points of top-1 lost")
    if gate.min_agreement is not None:
        asked.append(f"at least {gate.min_agreement:g} of the best classes kept")
    return f"{'held' if gate.held else 'missed'}: {' and '.join(asked)}"


def _measured(gate: Gate) -> Iterator[str]:
    yield f"agreement {_between(gate.agreement)}, a probability moves by {gate.max_abs_diff:.3f} at most"
    if gate.top1 and gate.top1_before and gate.drop:
        some = f" of the {gate.labelled} with a label" if gate.labelled < gate.pictures else ""
        yield f"top-1{some} {_between(gate.top1)}, before {gate.top1_before.value:.4f}; {_lost(gate.drop)}"


def _lost(drop: Interval) -> str:
    word = "lost" if drop.value >= 0 else "won"
    return f"{abs(drop.value):.2f} points {word} (95 %: {-drop.high:+.2f} to {-drop.low:+.2f})"


def _between(figure: Interval) -> str:
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def _layers(found: Quantized) -> str:
    floats = found.float_layers
    if not floats:
        return f"all {found.layers} in 8 bits"
    more = f" and {len(floats) - _FLOATS} more" if len(floats) > _FLOATS else ""
    names = ", ".join(floats[:_FLOATS])
    return f"{found.layers - len(floats)} of {found.layers} in 8 bits; in float32: {names}{more}"


def _blames(found: Quantized) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title="Layers to blame", title_justify="left", title_style="bold")
    table.add_column("layer", overflow="fold")
    table.add_column("operator")
    table.add_column("parameters", justify="right")
    table.add_column("divergence won in float32", justify="right")
    for blame in found.blames[:_BLAMED]:
        table.add_row(
            Text(printable(blame.layer)), blame.operator, f"{blame.parameters:,}", f"{blame.gain:.5f}"
        )
    return table
