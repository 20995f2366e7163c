"""The first node after which two files differ on one picture.

Values inside both are matched by name, or else by operator and shape in sequence (`wiring.align`), and asked
for in few runs: where they are too large to be held together, ends of stretches first, then the stretch in
which the files part. From there the search walks up to a value that differs though everything that feeds it
agrees: a branch beside the fault misleads nobody. Where the graphs are made otherwise, all values are looked
at, and equal ones found first; others are matched between these.

What rounding explains is measured: four times what the first file's own value moves by when each pixel is
moved by one unit in its last place, and never less than ROUNDING.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.graph import constant
from edgeworthy.parity import YARDSTICKS
from edgeworthy.results import GraphNode, Parting
from edgeworthy.sketches import Known, distance
from edgeworthy.tapping import BUDGET_BYTES, Seen, Tapped
from edgeworthy.wiring import Wiring, align, described

if TYPE_CHECKING:
    from onnx import NodeProto

ROUNDING = 1e-5  # relative; a correct value is nearer than that in float32
ROUNDING_HALF = 1e-2  # of half precision, which has three decimal digits

_PROBES = 16  # values that are looked at together where not all can be


def locate(first: Tapped, second: Tapped, *, scores: tuple[str, str], probe: str) -> Parting:
    """Find where two files part.

    Args:
        first: with two pictures: one, and the same moved by rounding.
        second: with the same picture.
        scores: names of the outputs that are compared.
        probe: name of the picture.
    """
    wirings = Wiring(first.model), Wiring(second.model)
    pairs = align(*wirings, (first.shapes, second.shapes))
    whole = len(pairs) < max(len(wiring.values) for wiring in wirings)
    if whole:  # the graphs are made otherwise: equal values tell which belong together
        pairs = align(*wirings, (first.shapes, second.shapes), _anchors((first, second), wirings))
    ends = [pair for pair in pairs if pair[0] == scores[0] or pair[1] == scores[1]]
    if ends != [scores]:  # what comes out corresponds, whatever it is made by
        pairs = [pair for pair in pairs if pair not in ends]
        if all(name in wiring.values for name, wiring in zip(scores, wirings, strict=True)):
            pairs.append(scores)
    search = _Search((first, second), wirings, pairs, whole=whole)
    found, outcome = search.run()
    never = Parting(outcome="never", probe=probe, compared=len(pairs), values=len(wirings[0].values))
    if any(name not in wiring.values for name, wiring in zip(scores, wirings, strict=True)):
        return replace(never, outcome="parted", value=scores[0], distance=math.inf)  # one sees no picture
    if found is None:
        return never
    regions = [
        wiring.behind(pair, {others[side] for others in pairs} - {pair})
        for side, (wiring, pair) in enumerate(zip(wirings, pairs[found], strict=True))
    ]
    (nodes, feeding), (theirs, _) = regions
    makers = [wiring.maker(name) for wiring, name in zip(wirings, pairs[found], strict=True)]
    return replace(
        never,
        outcome=outcome,
        first=graph_node(makers[0]),
        second=graph_node(makers[1]),
        value=pairs[found][0],
        distance=search.distance(found),
        allowed=search.allowed(found),
        agreeing=tuple(name for name in wirings[0].values if name in feeding),
        between_first=described(nodes),
        between_second=described(theirs),
        reasons=_reasons((first, second), (nodes, theirs), makers),
    )


class _Search:
    """For the pair that differs though what feeds it agrees."""

    def __init__(
        self,
        files: tuple[Tapped, Tapped],
        wirings: tuple[Wiring, Wiring],
        pairs: list[tuple[str, str]],
        *,
        whole: bool,
    ) -> None:
        self._files, self._wirings, self._pairs = files, wirings, pairs
        names = (name for name, _ in pairs)
        self._small = (
            whole or files[0].bytes_of(names) <= BUDGET_BYTES
        )  # everything may be looked at together
        self._places = [{pair[side]: at for at, pair in enumerate(pairs)} for side in (0, 1)]
        self._measured: dict[int, tuple[float, float] | None] = {}
        self._ignored: set[int] = set()

    def run(self) -> tuple[int | None, Any]:
        """The pair's number, and the outcome."""
        last = len(self._pairs) - 1
        if last < 0:
            return None, "never"
        self._look([last])
        if not self._parted(last):
            self._look(range(last))
            parted = [at for at in range(last) if self._parted(at)]
            healed = next((at for at in parted if self._upwards(at) == at and self._made_alike(at)), None)
            return (None, "never") if healed is None else (healed, "healed")
        while True:
            found = self._upwards(self._bracket(last))
            if found == last or not self._heals(found):
                return found, "parted"
            self._ignored.add(found)  # values that never belonged together, or whose difference is lost

    def _made_alike(self, at: int) -> bool:
        """Whether both values are made by the same operator from values that agree, of unlike constants."""
        makers = [wiring.maker(name) for wiring, name in zip(self._wirings, self._pairs[at], strict=True)]
        alike = makers[0].op_type == makers[1].op_type
        return alike and bool(_unlike(self._files, *makers))

    def distance(self, at: int) -> float:
        """How far the values of a pair are apart."""
        measured = self._measured[at]
        return 0.0 if measured is None else measured[0]

    def allowed(self, at: int) -> float:
        """What rounding explains of it."""
        measured = self._measured[at]
        return 0.0 if measured is None else measured[1]

    def _bracket(self, high: int) -> int:
        """The first of the pairs that is found to differ; all of them are looked at where they fit."""
        low = -1
        while high - low > 1:
            step = 1 if self._small else max(1, (high - low) // _PROBES)
            probes = range(low + step, high, step)
            self._look(probes)
            hit = next((at for at in probes if self._parted(at)), None)
            low, high = (probes[-1], high) if hit is None else (hit - step, hit)
        return high

    def _upwards(self, at: int) -> int:
        """From a pair that differs to one before it all of whose feeders agree."""
        while True:
            feeders = self._feeders(at)
            self._look(feeders)
            parted = [one for one in feeders if self._parted(one)]
            if not parted:
                return at
            at = min(parted)

    def _heals(self, at: int) -> bool:
        """Whether all pairs that a pair feeds agree."""
        fed = [one for one in range(at + 1, len(self._pairs)) if at in self._feeders(one)]
        self._look(fed)
        return bool(fed) and not any(self._parted(one) for one in fed)

    def _feeders(self, at: int) -> list[int]:
        """The nearest pairs before one, in either file."""
        found: set[int] = set()
        for wiring, places, name in zip(self._wirings, self._places, self._pairs[at], strict=True):
            _, reached = wiring.behind(name, places.keys() - {name})
            found |= {places[stop] for stop in reached}
        return sorted(one for one in found if one < at)

    def _parted(self, at: int) -> bool:
        measured = self._measured[at]
        return measured is not None and at not in self._ignored and measured[0] > measured[1]

    def _look(self, places: Iterable[int]) -> None:
        wanted = [at for at in places if at not in self._measured]
        for side, file in enumerate(self._files):
            file.look(self._pairs[at][side] for at in wanted)
        for at in wanted:
            self._measured[at] = self._measure(*self._pairs[at])

    def _measure(self, name: str, other: str) -> tuple[float, float] | None:
        """Distance and what is allowed; None where the values cannot be compared."""
        mine, theirs = self._files[0][name], self._files[1][other]
        if mine is None or theirs is None:
            return None
        one, two = mine.sketches[0], theirs.sketches[0]
        if mine.shape != theirs.shape and len(mine.shape) == len(theirs.shape) == 4:
            count, *places, channels = theirs.shape
            if mine.shape == (count, channels, *places):
                two = theirs.turned[0]
            else:
                one = mine.turned[0]
        halves = "float16" in {mine.dtype, theirs.dtype}
        return distance(one, two), max(ROUNDING_HALF if halves else ROUNDING, _rounding(mine))


def _rounding(seen: Seen) -> float:
    """What rounding explains of a value's distance."""
    far = YARDSTICKS * distance(*seen.sketches)
    return far if np.isfinite(far) else 0.0


def _anchors(files: tuple[Tapped, Tapped], wirings: tuple[Wiring, Wiring]) -> dict[str, str]:
    """Values of the first file with one of the second that equals them, by the same operator if any is."""
    for file, wiring in zip(files, wirings, strict=True):
        file.look(wiring.values)
    names = [name for name in wirings[0].values if files[0][name] is not None]
    seen = [one for one in map(files[0].__getitem__, names) if one is not None]
    known = Known((math.prod(one.shape), one.sketches[0], max(ROUNDING, _rounding(one))) for one in seen)
    found: dict[str, str] = {}
    for other in wirings[1].values:
        value = files[1][other]
        places = [] if value is None else known.equal(math.prod(value.shape), value.sketches[0])
        free = [names[place] for place in places if names[place] not in found]
        op = wirings[1].maker(other).op_type
        if free:
            found[next((name for name in free if wirings[0].maker(name).op_type == op), free[0])] = other
    return found


def graph_node(node: NodeProto) -> GraphNode:
    """A node as results carry it."""
    return GraphNode(
        op=node.op_type, name=node.name, inputs=tuple(node.input), outputs=tuple(filter(None, node.output))
    )


def _reasons(
    files: tuple[Tapped, Tapped],
    regions: tuple[Sequence[NodeProto], Sequence[NodeProto]],
    makers: Sequence[Any],
) -> tuple[str, ...]:
    """What the nodes of both regions have different: operators, attributes, constants."""
    told = []
    operators = [[node.op_type for node in region] for region in regions]
    for mine, theirs, which in ((0, 1, "first"), (1, 0, "second")):
        for op in sorted(set(operators[mine])):
            extra = operators[mine].count(op) - operators[theirs].count(op)
            if extra > 0:
                told.append(f"only the {which} file has {op}" + (f" {extra} times more" if extra > 1 else ""))
    if operators[0] == operators[1]:
        for one, other in zip(*regions, strict=True):
            told += _unlike(files, one, other)
    elif makers[0].op_type == makers[1].op_type:
        told += _unlike(files, *makers)
    return tuple(told)


def _unlike(files: tuple[Tapped, Tapped], one: NodeProto, other: NodeProto) -> list[str]:
    from onnx import helper

    told = []
    label = f"{one.op_type} {one.name or one.output[0]}"
    mine, theirs = ({entry.name: entry for entry in node.attribute} for node in (one, other))
    for name in sorted(mine.keys() | theirs.keys()):
        values = [
            helper.get_attribute_value(entries[name]) if name in entries else None
            for entries in (mine, theirs)
        ]
        if str(values[0]) != str(values[1]):
            shown = " and ".join(str(value)[:60].replace("\n", " ") for value in values)
            told.append(f"{label}: {name} is {shown}")
    for place, (name, counterpart) in enumerate(zip(one.input, other.input, strict=False)):
        held, held_there = (
            constant(file.model.graph, of) for file, of in zip(files, (name, counterpart), strict=True)
        )
        if held is None or held_there is None:
            continue
        if held.shape != held_there.shape:
            told.append(f"{label}: input {place} is {list(held.shape)} and {list(held_there.shape)}")
        elif not np.array_equal(held, held_there, equal_nan=held.dtype.kind == "f"):
            most = float(np.abs(held.astype(np.float64) - held_there.astype(np.float64)).max())
            told.append(f"{label}: input {place} ({name}) differs by up to {most:.2g}")
    if len(one.input) != len(other.input):
        told.append(f"{label}: {len(one.input)} and {len(other.input)} inputs")
    return told
