"""Which values of a graph are constant, seen from inside it: its own, and those of the graphs around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from onnx import TensorProto

from edgeworthy.graph import array_of, constant_of

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Array = npt.NDArray[Any]

_MAX_HOPS = 16  # of Identity nodes between a constant and its reader


class Scope:
    """The values that a node of a graph can name.

    From IR version 4 on, an initialiser that is an input as well is a default that a caller may replace,
    hence not constant; before that, every initialiser had to be an input.
    """

    def __init__(self, graph: GraphProto, ir_version: int, outer: Scope | None = None) -> None:
        self._outer = outer
        self._sources: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        for value in graph.input:
            if ir_version >= 4 or value.name not in self._sources:
                self._sources[value.name] = None
        for node in graph.node:
            self._sources.update(dict.fromkeys(node.output, node))

    def know(self, node: NodeProto) -> None:
        """Take note of a node that came in."""
        self._sources.update(dict.fromkeys(node.output, node))

    def constant(self, name: str) -> Array | None:
        """The value that a name stands for; None where it is computed, fed or kept in another file."""
        for _ in range(_MAX_HOPS):
            source = self._source(name)
            if source is None or isinstance(source, TensorProto):
                return None if source is None else array_of(source)
            if source.op_type != "Identity" or source.domain or len(source.input) != 1:
                return constant_of(source)
            name = source.input[0]
        return None

    def _source(self, name: str) -> Any:
        scope: Scope | None = self
        while scope is not None and name not in scope._sources:
            scope = scope._outer
        return scope and scope._sources[name]
