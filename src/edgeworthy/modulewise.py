"""The modules of a trained model between which its file departs from it.

A value of the file that equals what some module takes or gives is known to be right. From the scores the
search walks up to where all that feeds a node is right. What lies between there and the next thing that a
module gives holds the fault. Not every module has a counterpart: a convolution's own output is gone where a
normalisation was folded into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeworthy.locating import ROUNDING, graph_node
from edgeworthy.parity import YARDSTICKS
from edgeworthy.results import Parting
from edgeworthy.sketches import Known, Tap, distance
from edgeworthy.tapping import Tapped
from edgeworthy.wiring import Wiring, described, module_of

if TYPE_CHECKING:
    from onnx import NodeProto

_NEAR = 0.3  # relative distance below which a wrong value is taken for a module's
_BARELY = 100  # times what rounding explains, below which a difference has perhaps grown from a smaller one
_AHEAD = 8  # things that modules give, in which the first wrong one is looked for


def locate_module(file: Tapped, taps: Sequence[Tap], *, scores: str, probe: str) -> Parting:
    """Find where a file departs from the model.

    Args:
        file: with one picture.
        taps: of the model, for the same picture and for it moved by rounding; the last is the scores.
        scores: name of the file's output.
        probe: name of the picture.
    """
    return _Search(file, taps).run(scores, probe)


class _Search:
    """For the nodes and modules between what is right and what is not."""

    def __init__(self, file: Tapped, taps: Sequence[Tap]) -> None:
        self._file, self._taps = file, taps
        self._wiring = Wiring(file.model)
        sizes = {tap.size for tap in taps}
        self._looked_at = dict.fromkeys(name for name in self._wiring.values if self._may_be(name, sizes))
        file.look(self._looked_at)
        self._allowed = [max(ROUNDING, YARDSTICKS * _rounding(tap)) for tap in taps]
        self._right = self._matched()
        self._good = set(self._right.values())
        for tap in (tap for at, tap in enumerate(taps) if at in self._good):
            self._explain(tap)

    def run(self, scores: str, probe: str) -> Parting:
        """Search."""
        never = Parting(
            outcome="never", probe=probe, compared=len(self._right), values=len(self._wiring.values)
        )
        if scores not in self._wiring.values:  # nothing that depends on the picture comes out
            return replace(never, outcome="parted", value=scores, distance=math.inf)
        end = len(self._taps) - 1
        if self._distance(scores, end) <= self._allowed[end]:
            return never
        nodes, _ = self._wiring.behind(scores, self._right.keys() - {scores})
        known, wrong, value = self._blamed(nodes, scores)
        between, feeders = self._wiring.behind(value, self._right.keys() - {value})
        agreeing = (self._told(name) for name in self._wiring.values if name in feeders)
        missing = [at for at in range(known + 1, wrong + 1) if at not in self._good]
        return replace(
            never,
            outcome="parted",
            first=graph_node(self._wiring.maker(value)),
            value=value,
            distance=self._distance(value, wrong),
            allowed=self._allowed[wrong],
            agreeing=tuple(dict.fromkeys(agreeing)),
            between_first=described(between),
            modules=tuple(dict.fromkeys(self._taps[at].module or "the model" for at in missing)),
        )

    def _blamed(self, nodes: Sequence[NodeProto], scores: str) -> tuple[int, int, str]:
        """The last tap that is right, the next that is wrong, and its value in the file."""
        entry = next(node for node in nodes if self._enters(node, nodes))
        feeding = [name for name in self._wiring.read_by(entry) if name in self._right]
        known = max((self._right[name] for name in feeding), default=0)
        wrong, value = self._next_wrong(known, nodes, scores)
        if self._distance(value, wrong) < _BARELY * self._allowed[wrong]:
            earlier = self._first_wrong(scores)  # a smaller difference may have grown
            if earlier is not None:
                return earlier[0] - 1, *earlier
        return known, wrong, value

    def _may_be(self, name: str, sizes: set[int]) -> bool:
        _, shape = self._file.shapes.get(name, (0, None))
        return shape is None or None in shape or math.prod(dim or 1 for dim in shape) in sizes

    def _matched(self) -> dict[str, int]:
        """Values of the file that equal what a module takes or gives: the last such tap for each."""
        known = Known(
            (tap.size, tap.sketches[0], allowed)
            for tap, allowed in zip(self._taps, self._allowed, strict=True)
        )
        found = {}
        for name in self._looked_at:
            seen = self._file[name]
            equal = [] if seen is None else known.equal(math.prod(seen.shape), seen.sketches[0])
            if equal:
                found[name] = equal[-1]
        return found

    def _explain(self, tap: Tap) -> None:
        """What leads to something right through modules alone is right, or has no counterpart in the file."""
        waiting = list(tap.before)
        while waiting:
            at = waiting.pop()
            if at not in self._good:
                self._good.add(at)
                waiting += self._taps[at].before

    def _enters(self, node: NodeProto, nodes: Sequence[NodeProto]) -> bool:
        """Whether nothing that a node reads is made by other nodes of a region."""
        made = {name for other in nodes for name in other.output}
        return not made.intersection(set(self._wiring.read_by(node)) - self._right.keys())

    def _next_wrong(self, known: int, nodes: Sequence[NodeProto], scores: str) -> tuple[int, str]:
        """The first tap behind a right one that is found wrong in the file, and its value there."""
        wrong = [at for at in range(known + 1, len(self._taps)) if at not in self._good]
        made = [name for node in nodes for name in node.output if name in self._looked_at]
        for at in wrong[:_AHEAD]:
            value = self._by_name(self._taps[at], nodes) or self._nearest(at, made)
            if value is not None:
                return self._folded(at, wrong, value), value
        return len(self._taps) - 1, scores

    def _first_wrong(self, scores: str) -> tuple[int, str] | None:
        """The first tap of all that is found wrong in the file by its values, and its value there."""
        nodes, _ = self._wiring.behind(scores, ())
        made = [name for node in nodes for name in node.output if name in self._looked_at]
        made = [name for name in made if name not in self._right]
        for at in range(len(self._taps)):
            value = None if at in self._good else self._nearest(at, made)
            if value is not None:
                return at, value
        return None

    def _folded(self, at: int, wrong: Sequence[int], value: str) -> int:
        """The tap that a value stands for: the nearest of those that follow through modules alone."""
        chain = [at]
        for other in wrong:
            if chain[-1] in self._taps[other].before:
                chain.append(other)
        return min(chain, key=lambda one: self._distance(value, one))

    def _by_name(self, tap: Tap, nodes: Sequence[NodeProto]) -> str | None:
        """The last value that nodes of the tap's module make, where their names tell."""
        if not tap.given or not tap.module:
            return None
        scope = tap.module + "."
        inside = [node for node in nodes if f"{module_of(node) or ''}.".startswith(scope)]
        return next(iter(inside[-1].output), None) if inside else None

    def _nearest(self, at: int, made: Sequence[str]) -> str | None:
        """The value of its size that is nearest to a tap, where one is near."""
        apart = [(self._distance(name, at), place, name) for place, name in enumerate(made)]
        best = min(apart, default=None)
        return best[2] if best is not None and best[0] < _NEAR else None

    def _distance(self, name: str, at: int) -> float:
        seen = self._file[name]
        if seen is None or math.prod(seen.shape) != self._taps[at].size:
            return float("inf")
        return distance(self._taps[at].sketches[0], seen.sketches[0])

    def _told(self, name: str) -> str:
        tap = self._taps[self._right[name]]
        who = tap.module or "the model"
        return f"what {who} {'gives' if tap.given else 'takes'}"


def _rounding(tap: Tap) -> float:
    far = distance(tap.sketches[0], tap.sketches[1])
    return far if math.isfinite(far) else 0.0
