"""How values of a graph depend on the picture, and which values of two graphs correspond."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeworthy.graph import needs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Shape = tuple[int | None, ...] | None
Shapes = Mapping[str, tuple[int, Shape]]  # element type and shape, as far as they can be inferred

_MIXING = {"Gemm", "MatMul", "Conv"}  # a column of what they give is none of what they take
_TRUSTED = 0.5  # of the values with the same name, so many must be of the same operator and shape


class Wiring:
    """The nodes of a model's main graph that depend on its inputs.

    Attributes:
        nodes: all of the main graph, in their order.
        values: what depends on the inputs, in the order of the nodes.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        fixed = {tensor.name for tensor in graph.initializer}
        alive = {value.name for value in graph.input} - fixed
        self.nodes: list[NodeProto] = list(graph.node)
        self.values: list[str] = []
        self._maker: dict[str, int] = {}
        self._reads: dict[int, list[str]] = {}
        for place, node in enumerate(self.nodes):
            read = [name for name in dict.fromkeys(needs(node)) if name in alive]
            if not read:
                continue
            self._reads[place] = read
            for name in filter(None, node.output):
                alive.add(name)
                self._maker[name] = place
                self.values.append(name)

    def maker(self, value: str) -> NodeProto:
        """The node that gives a value of `values`."""
        return self.nodes[self._maker[value]]

    def behind(self, value: str, stops: Collection[str]) -> tuple[list[NodeProto], set[str]]:
        """The nodes that lead to a value from `stops` or the inputs, in order, and which stops."""
        found: set[int] = set()
        reached: set[str] = set()
        waiting = [self._maker[value]]
        while waiting:
            place = waiting.pop()
            if place in found:
                continue
            found.add(place)
            for name in self._reads[place]:
                if name in stops:
                    reached.add(name)
                elif name in self._maker:
                    waiting.append(self._maker[name])
        return [self.nodes[place] for place in sorted(found)], reached

    def tail(self, scores: str) -> set[str]:
        """The values that have a column for each class: the scores, and what they are made of one by one."""
        found = {scores}
        while scores in self._maker:
            place = self._maker[scores]
            if self.nodes[place].op_type in _MIXING or len(self._reads[place]) != 1:
                break
            (scores,) = self._reads[place]
            found.add(scores)
        return found

    def read_by(self, node: NodeProto) -> list[str]:
        """What a node reads that depends on the inputs; of one that does not, nothing."""
        made = next((self._maker[name] for name in node.output if name in self._maker), None)
        return [] if made is None else self._reads[made]


def align(
    first: Wiring,
    second: Wiring,
    shapes: tuple[Shapes, Shapes],
    anchors: Mapping[str, str] | None = None,
) -> list[tuple[str, str]]:
    """Values of two graphs that correspond, in order: by name, or else by operator and shape in sequence.

    `anchors` are pairs that are known to correspond; the others find their place between them.

    Names count where most values of the same name are of the same operator and shape; others, such as
    numbers, are given anew by each tool. A shape is the same whatever the order of its axes.
    """
    kinds = [
        {name: _kind(wiring.maker(name), name, of) for name in wiring.values}
        for wiring, of in zip((first, second), shapes, strict=True)
    ]
    shared = [name for name in first.values if name in kinds[1]]
    equal = {name for name in shared if kinds[0][name] == kinds[1][name]}
    by_name = equal if len(equal) >= _TRUSTED * len(shared) else set()
    mine, theirs = ([name if name in by_name else kind[name] for name in kind] for kind in kinds)
    if anchors:
        back = {theirs: mine for mine, theirs in anchors.items()}
        mine = [("anchor", name) if name in anchors else kinds[0][name] for name in first.values]
        theirs = [("anchor", back[name]) if name in back else kinds[1][name] for name in second.values]
    matcher: difflib.SequenceMatcher[Any] = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    found = {
        first.values[block.a + step]: second.values[block.b + step]
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    }
    found |= anchors or {}
    return [(name, found[name]) for name in first.values if name in found]


def _kind(node: NodeProto, name: str, shapes: Shapes) -> Any:
    _, shape = shapes.get(name, (0, None))
    place = list(node.output).index(name)
    return node.op_type, place, None if shape is None else tuple(sorted(dim or 0 for dim in shape))


def module_of(node: NodeProto) -> str | None:
    """The qualified name of the module that a node was traced from, where its own name tells.

    `/module/layer1/layer1.0/conv1/Conv` stands in layer1.0.conv1: each part of the scope is a module's name
    in its parent, or in its parent's where that is a list; `module` is the model itself.
    """
    scope = node.name.split("/")[1:-1]
    if scope[:1] != ["module"]:
        return None
    parts: list[str] = []
    for part in scope[1:]:
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part
        else:
            parts.append(part)
    return ".".join(parts)


def described(nodes: Sequence[NodeProto]) -> tuple[str, ...]:
    """Each node as its operator and its name, or else its first output."""
    return tuple(f"{node.op_type} {node.name or next(iter(node.output), '')}" for node in nodes)
