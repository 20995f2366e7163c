"""The model under repair: its graph, what the user asks for, and what can be learned by trying it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeworthy.contract import (
    Layout,
    Normalization,
    layout_of,
    picture_input,
    picture_size,
    scores_output,
)
from edgeworthy.errors import IrreparableError, OptionError
from edgeworthy.evidence import Recorded
from edgeworthy.graph import Names, producer, redirect, rename
from edgeworthy.images import normalise
from edgeworthy.model import metadata_of, tensor_shape
from edgeworthy.probes import Probe, standard_probes
from edgeworthy.repairs.bench import Bench, Inferred
from edgeworthy.repairs.border import Array, Border
from edgeworthy.repairs.wishes import Wishes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

_PROBE_BYTES, _FEWEST_PROBES = 2**29, 3  # of all pictures together, as float32


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The input that takes the picture: channels, height and width in pixels, None where dynamic."""

    layout: Layout
    channels: int
    height: int | None
    width: int | None


class Patient:
    """A model that is being repaired, in memory.

    Args:
        model: changed in place.
        wishes: of the user.
        bench: where native code looks at it.
        strict: whether to mend what is a mere warning, too.
        folder: of the file, for weights that lie beside it.

    Attributes:
        border: how input and output correspond to the original's.
        labels: lists of class names that stand in the graph.
        maps: labels of the maps that some outputs were, in the order of the scores, by the output's name.
        single: whether the original gives one score, for two classes.
        kept: name of the output that was found to be the scores; "" until then.
        raw_pixels: whether the model was made for whole numbers, which nothing has normalised.
        batch: how many pictures the original takes at a time.
        originals: names of the picture's input and of the scores in the original, once they are known.
    """

    def __init__(
        self,
        model: ModelProto,
        wishes: Wishes,
        bench: Bench,
        *,
        strict: bool,
        folder: Path,
    ) -> None:
        self.model = model
        self.folder = folder
        self.wishes = wishes
        self.strict = strict
        self.border = Border()
        self.labels: list[list[str]] = []
        self.maps: dict[str, tuple[int | str, ...]] = {}
        self.kept = ""
        self.single = False
        self.raw_pixels = False
        self.batch = 1
        self.name = Names(model)
        self.bench = bench
        self.originals = ("", "")

    @property
    def graph(self) -> GraphProto:
        """The main graph."""
        return self.model.graph

    @property
    def recorded(self) -> Recorded:
        """The file's evidence."""
        return Recorded.from_metadata(metadata_of(self.model))

    # -- the input ---------------------------------------------------------------------------------

    @property
    def inputs(self) -> list[ValueInfoProto]:
        """The graph's inputs that are no initialisers."""
        fixed = {tensor.name for tensor in self.graph.initializer}
        return [value for value in self.graph.input if value.name not in fixed]

    @property
    def picture(self) -> ValueInfoProto:
        """The input that takes the picture.

        Raises:
            IrreparableError: where there is none, or more than one may be.
        """
        index = picture_input([value.name for value in self.inputs])
        if index is None:
            listed = ", ".join(repr(value.name[:40]) for value in self.inputs) or "none"
            raise IrreparableError(
                f"No single input can be the picture: {listed}.",
                hint="An image classifier has one input; what else it needs has to become a constant.",
            )
        value = self.inputs[index]
        shape = tensor_shape(value)
        if shape is None or len(shape) != 4:
            raise IrreparableError(
                f"This is no image model: its input {value.name[:40]!r} has the shape "
                f"{'unknown' if shape is None else list(shape)}, a picture has four dimensions."
            )
        return value

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The shape of the picture's input, None for dynamic dimensions."""
        return tuple(dim if isinstance(dim, int) else None for dim in tensor_shape(self.picture) or ())

    def picture_input(self) -> PictureInput:
        """What the picture's input is like.

        Raises:
            IrreparableError: where it has no axis of 1 or 3 channels.
        """
        sizes = self.sizes
        layout = layout_of(sizes)
        if layout is not None:
            channels, height, width = picture_size(sizes)
        elif sizes[1] is None and self.wishes.input_size is not None:
            layout, channels, height, width = "nchw", self.wishes.input_size[0], sizes[2], sizes[3]
        else:
            raise IrreparableError(
                f"The input's shape {list(tensor_shape(self.picture) or ())} has no axis of 1 or 3 channels.",
                hint="If its channels are merely dynamic, give --input-size C H W.",
            )
        return PictureInput(layout, channels or 0, height, width)

    def put_before(self, nodes: Sequence[NodeProto], result: str) -> None:
        """Insert nodes that read the picture; all that read the picture read `result` instead."""
        redirect(self.graph, self.picture.name, result)
        for node in reversed(nodes):
            self.graph.node.insert(0, node)
        self.changed()

    # -- the output --------------------------------------------------------------------------------

    @property
    def scores(self) -> ValueInfoProto:
        """The output that holds the scores: the one that was chosen, or else the one with the classes."""
        names = [value.name for value in self.graph.output]
        if self.kept in names:
            return self.graph.output[names.index(self.kept)]
        return self.graph.output[scores_output(names) or 0]

    @property
    def map_keys(self) -> tuple[int | str, ...]:
        """Labels of the map that the scores were, in the order of the scores; () for no map."""
        return self.maps.get(self.originals[1], ())

    def rename(self, old: str, new: str) -> None:
        """Give a value another name; what has that name by chance makes way."""
        if new in self.name:
            aside = self.name(f"{new[:40]}_before")
            rename(self.model, new, aside)
            self.kept = aside if self.kept == new else self.kept
        rename(self.model, old, new)
        self.kept = new if self.kept == old else self.kept
        self.name = Names(self.model)
        self.changed()

    def put_behind(self, nodes: Sequence[NodeProto], last: str, first: str) -> None:
        """Append nodes that read the scores under the name `first` and make `last`, which becomes the scores.

        The output keeps its name: the value that had it is called `first` from now on.
        """
        name = self.scores.name
        if producer(self.graph, name) is None:
            raise IrreparableError(f"The output {name[:40]!r} is not computed by the graph.")
        value = type(self.scores)()
        value.CopyFrom(self.scores)
        rename(self.model, name, first)
        for entry in self.graph.output:
            if entry.name == first:
                entry.CopyFrom(value)
        self.graph.node.extend(nodes)
        for node in self.graph.node:
            node.output[:] = [name if made == last else made for made in node.output]
        self.changed()

    # -- trying it ----------------------------------------------------------------------------------

    def changed(self) -> None:
        """Forget what was inferred of the graph as it was."""
        self.__dict__.pop("facts", None)

    @cached_property
    def facts(self) -> Inferred:
        """Element type and shape of the main graph's values, as far as they can be inferred."""
        return self.bench.infer(self.model)

    def probes(self) -> list[Probe]:
        """Pictures to ask about: all that there are, or fewer of a very large size.

        Raises:
            IrreparableError: where the size is not known, or no camera's.
        """
        picture = self.picture_input()
        height, width = picture.height, picture.width
        if not height or not width:
            raise IrreparableError("The size of the picture is not known.", hint="Give --input-size C H W.")
        count = _PROBE_BYTES // (4 * self.batch * picture.channels * height * width)
        if count < _FEWEST_PROBES:
            raise IrreparableError(
                f"An input of {self.batch} x {height}x{width} px is too large to be tried."
            )
        return standard_probes(height, width, picture.channels)[:count]

    def pictures(self) -> Array:
        """The probes as the input wants them now: float32 [probes, 1, C, H, W], or channels last."""
        picture = self.picture_input()
        normalization = self.normalization(picture.channels)
        pixels = (probe.pixels for probe in self.probes())
        return np.stack([normalise(one, normalization, picture.layout) for one in pixels])

    def normalization(self, channels: int) -> Normalization:
        """What pixels go through before the model: as asked for, as the file says, or a common one."""
        if self.raw_pixels:
            return Normalization.identity(channels)
        if self.wishes.mean is not None and self.wishes.std is not None:
            return Normalization.given(
                self.wishes.mean, self.wishes.std, scale=self.wishes.scale, channels=channels
            )
        try:
            found = Normalization.from_doc_string(self.graph.doc_string)
            found.require(channels)
        except OptionError:
            found = Normalization(mean=(127.5,) * channels, std=(64.0,) * channels)
        return found

    def ask(self, path: Path, pictures: Array, names: tuple[str, str], *, optimize: bool = True) -> Array:
        """Answers of a model file for pictures [probes, …]; see `Bench.ask`."""
        return self.bench.ask(path, pictures, names, keys=self.map_keys, optimize=optimize)

    @property
    def names(self) -> tuple[str, str]:
        """Of the picture's input and of the scores."""
        return self.picture.name, self.scores.name

    def answers(self) -> Array:
        """What the model as it is now answers to the probes: [probes, …]."""
        return self.ask(self.bench.save(self.model, "asked.onnx"), self.pictures(), self.names)

    def runs(self) -> bool:
        """Whether ONNX Runtime runs the model as it is now."""
        try:
            self.ask(self.bench.save(self.model, "tried.onnx"), self.pictures()[:1], self.names)
        except IrreparableError:
            return False
        return True

    def replace_model(self, model: ModelProto) -> None:
        """Go on with another model."""
        self.model.CopyFrom(model)
        self.name = Names(self.model)
        self.changed()

    def inlined(self) -> None:
        """Replace the calls of the model's own functions by what they are made of."""
        self.replace_model(self.bench.inlined(self.model))
