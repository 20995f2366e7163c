"""The file under examination: parsed once, asked lazily."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.contract import (
    Normalization,
    layout_of,
    picture_input,
    picture_size,
    read_output_name,
    scores_output,
)
from edgeworthy.errors import ClassNamesError, OptionError
from edgeworthy.evidence import Recorded
from edgeworthy.examination import Examination
from edgeworthy.model import (
    dtype_name,
    metadata_of,
    nodes_of,
    opset_of,
    parse,
    read_bytes,
    tensor_shape,
    tensors_of,
)
from edgeworthy.rules.base import NotApplicableError

if TYPE_CHECKING:
    from onnx import ModelProto

Dims = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A graph's input or output: name, element type, shape (None without one)."""

    name: str
    dtype: str
    shape: Dims | None

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The shape with None for dynamic dimensions; empty without a shape."""
        return tuple(dim if isinstance(dim, int) else None for dim in self.shape or ())


class Subject:
    """What rules look at.

    Args:
        path: of the file.
        examination: what native code says of it.
        targets: the accelerators that advice is asked for.

    Raises:
        ModelFileError: where the file is no ONNX model.
    """

    def __init__(self, path: Path, examination: Examination, targets: Collection[str] = ()) -> None:
        content = read_bytes(path)
        self.path = path
        self.size_bytes = len(content)
        self.model: ModelProto = parse(content, str(path))
        self.examination = examination
        self.targets = targets

    @cached_property
    def opset(self) -> int | None:
        """Of the default domain."""
        return opset_of(self.model)

    @cached_property
    def recorded(self) -> Recorded:
        """The file's evidence."""
        return Recorded.from_metadata(metadata_of(self.model))

    @cached_property
    def inputs(self) -> list[Value]:
        """The graph's inputs that are no initialisers."""
        fixed = {tensor.name for tensor in self.model.graph.initializer}
        return [_value(value) for value in self.model.graph.input if value.name not in fixed]

    @cached_property
    def outputs(self) -> list[Value]:
        """The graph's outputs."""
        return [_value(value) for value in self.model.graph.output]

    @property
    def picture(self) -> Value:
        """The input that takes the picture.

        Raises:
            NotApplicableError: where there is none, or more than one.
        """
        index = picture_input([value.name for value in self.inputs])
        if index is None:
            raise NotApplicableError("no or several inputs may be the picture (EW201)")
        return self.inputs[index]

    @property
    def picture_size(self) -> tuple[int, int, int]:
        """Channels, height and width of the picture.

        Raises:
            NotApplicableError: where they are not known.
        """
        sizes = self.picture.sizes
        channels, height, width = picture_size(sizes) if len(sizes) == 4 else (None, None, None)
        if not channels or not height or not width or layout_of(sizes) is None:
            raise NotApplicableError("the input has no picture's shape (EW205 to EW207)")
        return channels, height, width

    @property
    def scores(self) -> Value:
        """The output that carries the classes.

        Raises:
            NotApplicableError: where there is none.
        """
        index = scores_output([value.name for value in self.outputs])
        if index is None:
            raise NotApplicableError("no output carries class names (EW301)")
        return self.outputs[index]

    @cached_property
    def entries(self) -> list[tuple[int, str]]:
        """Ids and names in the output's name.

        Raises:
            NotApplicableError: where they cannot be read.
        """
        try:
            return read_output_name(self.scores.name)
        except ClassNamesError as error:
            raise NotApplicableError("the class names cannot be read (EW302)") from error

    @property
    def normalization(self) -> Normalization:
        """From the graph's doc_string.

        Raises:
            NotApplicableError: where it cannot be read.
        """
        try:
            return Normalization.from_doc_string(self.model.graph.doc_string)
        except OptionError as error:
            raise NotApplicableError(
                "the doc_string carries no usable normalisation (EW401 to EW404)"
            ) from error

    @property
    def behaviour(self) -> dict[str, Any]:
        """Figures of a successful run.

        Raises:
            NotApplicableError: where it did not run.
        """
        ran = self.examination.ran
        if not ran.done or "refused" in ran.value:
            raise NotApplicableError("ONNX Runtime does not run the file (EW112)")
        values: dict[str, Any] = ran.value
        if not values["ran"]:
            raise NotApplicableError(f"the file could not be tried: {values['reason']}")
        return values

    def nodes(self) -> Iterator[Any]:
        """All nodes, those of subgraphs and local functions included."""
        return nodes_of(self.model)

    def tensors(self) -> Iterator[Any]:
        """All constant tensors: initialisers and attributes, in subgraphs and functions too."""
        return tensors_of(self.model)


def _value(value: Any) -> Value:
    return Value(value.name, dtype_name(value), tensor_shape(value))
