"""Where a step works: one node, what is known around it, and what may be put before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper, numpy_helper

from edgeworthy.contract import MAX_OPSET, MIN_OPSET
from edgeworthy.errors import UnconvertibleError
from edgeworthy.graph import attribute_value, drop_attributes
from edgeworthy.opset.facts import UNKNOWN, Shape, ValueFacts
from edgeworthy.opset.schemas import type_name

if TYPE_CHECKING:
    from edgeworthy.graph import Names
    from edgeworthy.opset.scope import Array, Scope

_MOST_ELEMENTS = 2**26


@dataclass(slots=True)
class Site:
    """A node on its way from one opset to the next.

    A step edits the node in place, and puts nodes before it where one is not enough. All of them
    must be nodes of the opset `after`; the last one keeps the node's name and outputs.

    Attributes:
        node: the node.
        before, after: the opset it is from, and the one it goes to.
        scope: which values are constant.
        names: gives names that are free.
        facts: what is known of values.
        added: the nodes to be put before it.
    """

    node: NodeProto
    before: int
    after: int
    scope: Scope
    names: Names
    facts: dict[str, ValueFacts]
    added: list[NodeProto] = field(default_factory=list)

    def refuse(self, why: str, hint: str = "") -> UnconvertibleError:
        """The error that says that this node cannot be converted."""
        output = next(filter(None, self.node.output), "")
        name = f"node {self.node.name!r}" if self.node.name else f"the unnamed node that makes {output!r}"
        return UnconvertibleError(
            f"{self.node.op_type} ({name}) cannot go from opset {self.before} to {self.after}: {why}.",
            hint=hint or self._instead(),
        )

    def _instead(self) -> str:
        """The whole graph has come as far as `before`, so that is the nearest opset that works."""
        if MIN_OPSET <= self.before <= MAX_OPSET:
            return f"It can be written as opset {self.before}: --opset {self.before}."
        return "Replace the operator in the model."

    # What is there

    def input(self, place: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.node.input[place] if place < len(self.node.input) else ""

    def output(self, place: int) -> str:
        """The name of an output, "" where it is left out."""
        return self.node.output[place] if place < len(self.node.output) else ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, text as `str`."""
        value = attribute_value(self.node, name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def constant(self, place: int) -> Array | None:
        """The value of an input where it is constant."""
        return self.scope.constant(self.input(place))

    def need_constant(self, place: int, what: str) -> Array:
        """The value of an input.

        Raises:
            UnconvertibleError: where it is not constant.
        """
        value = self.constant(place)
        if value is None:
            raise self.refuse(f"its {what} are computed, and have to be constant there")
        return value

    def integers(self, place: int, what: str) -> list[int]:
        """The integers of an input that has to be constant."""
        return [int(value) for value in self.need_constant(place, what).ravel()]

    def shape(self, place: int = 0) -> Shape | None:
        """The shape of an input, None where it is not known."""
        return self.facts.get(self.input(place), UNKNOWN).shape

    def rank(self, place: int = 0) -> int:
        """The number of an input's dimensions.

        Raises:
            UnconvertibleError: where it is not known.
        """
        shape = self.shape(place)
        if shape is None:
            raise self.refuse(f"the shape of {self.input(place)!r} is not known")
        return len(shape)

    def size(self, axis: int, place: int = 0) -> int:
        """One dimension of an input.

        Raises:
            UnconvertibleError: where it is not known.
        """
        rank, shape = self.rank(place), self.shape(place)
        if not -rank <= axis < rank:
            raise self.refuse(f"{self.input(place)!r} has no axis {axis}")
        size = None if shape is None else shape[axis]
        if size is None:
            raise self.refuse(f"the shape of {self.input(place)!r} is not known, axis {axis}")
        return size

    def dtype(self, place: int = 0) -> int:
        """The element type of an input, a code of TensorProto.DataType.

        Raises:
            UnconvertibleError: where it is not known.
        """
        code = self.facts.get(self.input(place), UNKNOWN).dtype
        if not type_name(code):
            raise self.refuse(f"the type of {self.input(place)!r} is not known")
        return code

    def check_room(self, *sizes: int) -> None:
        """Refuse to make a constant of these sizes where it would be out of all proportion.

        Raises:
            UnconvertibleError: where it has more elements than a large layer has weights.
        """
        if math.prod(sizes) > _MOST_ELEMENTS:
            raise self.refuse(f"it would take a constant of {' x '.join(map(str, sizes))} elements")

    # What is made of it

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Put a node before this one; returns the name of the value that it makes."""
        made = output or self.names(f"{next(filter(None, self.node.output))}_{operator.lower()}")
        name = self.names(f"{self.node.name or self.node.op_type}_{operator.lower()}")
        node = helper.make_node(operator, inputs, [made], name=name, **attributes)
        self.added.append(node)
        self.scope.know(node)
        return made

    def add_constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        """Put a Constant node before this one; returns the name of its value."""
        tensor = numpy_helper.from_array(np.asarray(values, dtype=dtype))
        name = self.add("Constant", value=tensor)
        self.facts[name] = ValueFacts(dtype=tensor.data_type, shape=tuple(tensor.dims))
        return name

    def add_like(self, values: npt.ArrayLike, place: int = 0) -> str:
        """Put a Constant of the type of one of the inputs before this node."""
        return self.add_constant(values, helper.tensor_dtype_to_np_dtype(self.dtype(place)))

    def add_cast(self, name: str, dtype: int) -> str:
        """Put a Cast before this node; returns the name of its value."""
        made = self.add("Cast", name, to=dtype)
        self.facts[made] = ValueFacts(dtype=dtype, shape=self.facts.get(name, UNKNOWN).shape)
        return made

    def become(self, operator: str, *inputs: str, **attributes: Any) -> None:
        """Make the node another one that makes the same outputs."""
        self.node.op_type = operator
        del self.node.attribute[:]
        self.set_inputs(*inputs)
        self.set(**attributes)

    def set_inputs(self, *inputs: str) -> None:
        """Give the node these inputs; ones left out at the end are dropped."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        self.node.input[:] = names

    def set(self, **attributes: Any) -> None:
        """Give attributes a value."""
        self.drop(*attributes)
        self.node.attribute.extend(
            helper.make_attribute(name, attributes[name]) for name in sorted(attributes)
        )

    def drop(self, *names: str) -> None:
        """Take attributes away, those that are there."""
        drop_attributes(self.node, *names)
