"""From the original to the candidate that is written, step by step, each judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeworthy.errors import OptionError
from edgeworthy.quantizing.bench import Bench
from edgeworthy.quantizing.half import halved
from edgeworthy.quantizing.judging import Jury
from edgeworthy.quantizing.material import Material
from edgeworthy.quantizing.qdq import Scheme
from edgeworthy.quantizing.search import Candidate, Search
from edgeworthy.results import Attempt, Blame, Gate, RangeMethod

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Whom to tell what is being done.

    Attributes:
        on_start: called with what is done, and with the number of steps that it takes.
        on_step: called after each of them.
    """

    on_start: Callable[[str, int], None] = lambda what, total: None
    on_step: Callable[[], None] = lambda: None


class Road:
    """From the original to the candidate that is written, step by step."""

    def __init__(
        self, model: ModelProto, material: Material, bench: Bench, jury: Jury, progress: Progress
    ) -> None:
        self.material, self._model = material, model
        self._bench, self._jury = bench, jury
        self._progress, self._since = progress, time.monotonic()
        self.attempts: list[Attempt] = []
        self.blames: tuple[Blame, ...] = ()
        self.layers, self.floats = 0, frozenset[str]()
        self.ranges: RangeMethod | None = None
        self.best: ModelProto = model
        self.gate: Gate | None = None

    def halve(self) -> None:
        """The only step to half precision."""
        model = halved(self._model)
        self._judge(
            "float16", "weights and arithmetic in half precision", model, self._bench.divergence(model)
        )

    def walk(self, scheme: Scheme, ranges: RangeMethod, keep: Collection[str]) -> None:
        """From the plain recipe on, until the gate holds."""
        search = Search(self._model, self._bench, scheme, ranges, _known(keep, self._model))
        self.layers = len(search.layers)
        best = search.plain()
        if self._took("plain", best):
            return
        steps: tuple[tuple[str, Callable[[Candidate], Candidate | None]], ...] = (
            ("bias correction", search.correct_biases),
            ("equalisation", search.equalise),
            ("other ranges", search.other_ranges),
        )
        for name, step in steps:
            after = step(best)
            if after is None:
                self._skip(name, "no two layers allow it", best.divergence)
            elif after.divergence >= best.divergence:
                self._skip(name, f"{after.detail}: no better", after.divergence)
                search.undo()
            else:
                best = after
                if self._took(name, best):
                    return
        blames = search.scan(best)
        self.blames = tuple(blames)
        for after in search.without(best, blames):
            if self._took("layers in float32", after):
                return

    def _took(self, name: str, candidate: Candidate) -> bool:
        self.floats, self.ranges = candidate.floats, candidate.method
        return self._judge(name, candidate.detail, candidate.model, candidate.divergence)

    def _judge(self, name: str, detail: str, model: ModelProto, divergence: float) -> bool:
        self._progress.on_start("judging", self._jury.size)
        self.best, self.gate = model, self._jury.judge(self._bench.load(model))
        self._note(name, detail, divergence, self.gate)
        return self.gate.held

    def _skip(self, name: str, detail: str, divergence: float) -> None:
        self._note(name, detail, divergence, None)

    def _note(self, name: str, detail: str, divergence: float, gate: Gate | None) -> None:
        now = time.monotonic()
        self.attempts.append(
            Attempt(
                name=name,
                detail=detail,
                divergence=round(divergence, 6),
                gate=gate,
                seconds=round(now - self._since, 1),
            )
        )
        self._since = now


def _known(keep: Collection[str], model: ModelProto) -> list[str]:
    names = {node.name for node in model.graph.node}
    for name in keep:
        if name not in names:
            some = ", ".join(sorted(names)[:3])
            raise OptionError(f"No node is called {name!r}.", hint=f"Names are such as: {some}.")
    return sorted(keep)
