"""An export as a person sees it: a ladder of stages while it runs, a table at the end."""

from __future__ import annotations

import shlex
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgeworthy.report.findings import summary
from edgeworthy.report.tables import facts_table, first_and_last, printable
from edgeworthy.results import Artefact, Stage

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_STAGES = {
    "load": "Load the model",
    "try": "Try one picture",
    "trace": "Trace the graph",
    "ask": "Ask the original",
    "simplify": "Simplify it",
    "stamp": "Stamp the contract",
    "prove": "Prove the file",
    "record": "Record the evidence",
    "check": "Check the rules",
}
_LONGEST = max(map(len, _STAGES.values()))


class Ladder:
    """Prints each finished stage with its time, and on a terminal a spinner for the one under way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._left = list(_STAGES.values())
        self._status: Any = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status(self._left[0])
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def add(self, stage: Stage) -> None:
        """Show a finished stage."""
        from rich.text import Text

        name = _STAGES.get(stage.name, stage.name)
        line = Text.assemble(
            ("✓ ", "green"),
            f"{name:<{_LONGEST}}",
            (f" {stage.seconds:5.1f} s  ", "dim"),
            printable(stage.detail),
        )
        self._console.print(line, soft_wrap=True)
        if name in self._left:
            self._left.remove(name)
        if self._status is not None and self._left:
            self._status.update(self._left[0])


def render_artefact(artefact: Artefact) -> RenderableType:
    """The final table, the notes, and the next commands to try."""
    from rich.console import Group
    from rich.text import Text

    table = facts_table(_rows(artefact))
    notes = [Text.assemble(("note: ", "yellow"), printable(note)) for note in artefact.notes]
    file = shlex.quote(artefact.path)
    steps = [f"edgeworthy check {file}", f"edgeworthy predict {file} PHOTOS", f"edgeworthy inspect {file}"]
    following = Text("Next: " + "\n      ".join(steps), style="dim")
    return Group("", table, *notes, "", following)


def _rows(artefact: Artefact) -> list[tuple[str, str]]:
    contract, parity = artefact.contract, artefact.parity
    yardstick = f", its own float32 is off by {parity.yardstick:g}" if parity.yardstick else ""
    rows = [
        ("File", f"{artefact.path}  ({artefact.size_bytes / 1e6:.1f} MB)"),
        ("Input", f"{contract.input_name}  float32 {list(contract.input_shape)}"),
        ("Classes", first_and_last(contract.class_names.names)),
        ("Pixels", _normalization(artefact)),
        ("Frame", artefact.frame.describe() if artefact.frame else "not known; predict will letterbox"),
        ("Format", f"opset {contract.opset}, IR {contract.ir_version}"),
        (
            "Proof",
            f"{parity.verdict} on {parity.samples} probes: probabilities differ by at most "
            f"{parity.max_abs_diff:g} (allowed {parity.tolerance:g}{yardstick}), "
            f"best class agrees on {parity.top1_agreement:.1%}",
        ),
        ("Rules", summary(artefact.lint)),
    ]
    shown = (*artefact.lint.of("error"), *artefact.lint.of("warning"))
    rows += [("", f"{finding.code} {finding.message}") for finding in shown]
    return rows


def _normalization(artefact: Artefact) -> str:
    normalization = artefact.contract.normalization
    if normalization is None:
        return "to be typed into the platform's upload form"
    if normalization.is_identity:
        return "0..255, normalised in the graph"
    return f"0..255, then {normalization.upload_form()}"
