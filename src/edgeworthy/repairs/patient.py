"""The model under repair: its graph, what the user asks for, and what can be learned by trying it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from edgeworthy import workshop
from edgeworthy.contract import (
    CHANNELS,
    MAX_IR_VERSION,
    MAX_OPSET,
    MIN_OPSET,
    Layout,
    Normalization,
    layout_of,
    picture_input,
    picture_size,
    scores_output,
)
from edgeworthy.errors import IrreparableError, OptionError
from edgeworthy.evidence import PREFIX, Activation, Recorded, repairs_of
from edgeworthy.graph import Names, producer, redirect, rename
from edgeworthy.images import normalise
from edgeworthy.labelfiles import Classes
from edgeworthy.model import metadata_of, no_room, parse, tensor_shape, to_bytes
from edgeworthy.probes import Probe, standard_probes
from edgeworthy.repairs.border import Array, Border

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

    from edgeworthy.sandbox import Sandbox

_TIMEOUT_S = 120.0
SUFFIXES = (".onnx", ".part")  # of the models that are run, which nobody knows by their names
_PROBE_BYTES, _FEWEST_PROBES = 2**29, 3  # of all pictures together, as float32
_DTYPES: dict[str, Any] = {
    "tensor(bool)": np.bool_,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


_CHOICES: dict[str, tuple[object, ...]] = {
    "activation": (None, *get_args(Activation)),
    "layout": (None, *get_args(Layout)),
    "scale": (None, 1, 255),
}


def _is_numbers(value: object) -> bool:
    values = value if isinstance(value, list | tuple) else [0.0 if value is None else value]
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) == len(values) > 0 and all(map(math.isfinite, numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user tells that the file does not, or wants otherwise; None leaves it to the file.

    Attributes:
        classes: names in the order of the scores, or a file, folder or built-in list of them.
        mean, std: one value a channel, in RGB order, for pixels 0..1 or 0..255.
        scale: which of the two, 1 or 255, where the values leave it open.
        activation: what the graph shall apply to the scores.
        input_size: (channels, height px, width px).
        layout: of the repaired file's input.
        opset: 12..17, of the repaired file.
        fix_names: whether names in `classes` that the platform cannot carry are repaired.
        output: name of the output that holds the scores.
        allow: names of the unsafe repairs that may be made.

    Raises:
        OptionError: on a value outside these.
    """

    classes: Classes | None = None
    mean: Sequence[float] | float | None = None
    std: Sequence[float] | float | None = None
    scale: int | None = None
    activation: Activation | None = None
    input_size: tuple[int, int, int] | None = None
    layout: Layout | None = None
    opset: int | None = None
    fix_names: bool = False
    output: str | None = None
    allow: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset not in range(MIN_OPSET, MAX_OPSET + 1):
            raise OptionError(f"Opset {self.opset!r} is none of {MIN_OPSET}..{MAX_OPSET}.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise OptionError(f"{name}={getattr(self, name)!r} is none of {choices}.")
        for name in ("mean", "std"):
            if not _is_numbers(getattr(self, name)):
                raise OptionError(f"{name}={getattr(self, name)!r} is not a number, or one a channel.")
        if self.scale is not None and self.mean is None:
            raise OptionError("--scale is given without --mean and --std.", hint="Give all three.")
        if (self.mean is None) is not (self.std is None):
            given, missing = ("--mean", "--std") if self.std is None else ("--std", "--mean")
            raise OptionError(f"{given} is given without {missing}.", hint="Give both, one value a channel.")
        if self.input_size is not None:
            size = self.input_size if isinstance(self.input_size, list | tuple) else ()
            whole = len(size) == 3 and all(isinstance(side, int) and side > 0 for side in size)
            if not whole or size[0] not in CHANNELS:
                raise OptionError(
                    f"An input of the size {self.input_size} is no picture.",
                    hint="Give --input-size C H W, such as --input-size 3 224 224.",
                )

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return self != Wishes()


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
        sandbox: where native code looks at it.
        strict: whether to mend what is a mere warning, too.
        folder: of the file, for weights that lie beside it.
        scratch: a folder for what the sandbox reads and writes.

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
        sandbox: Sandbox,
        *,
        strict: bool,
        folder: Path,
        scratch: Path,
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
        self._sandbox = sandbox
        self._scratch = scratch
        self.originals = ("", "")

    @property
    def graph(self) -> GraphProto:
        """The main graph."""
        return self.model.graph

    @cached_property
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

    # -- native code -------------------------------------------------------------------------------

    def changed(self) -> None:
        """Forget what was inferred of the graph as it was."""
        self.__dict__.pop("facts", None)

    @cached_property
    def facts(self) -> dict[str, tuple[int, tuple[int | None, ...] | None]]:
        """Element type and shape of the main graph's values, as far as they can be inferred."""
        found = self._call(workshop.infer.__name__, str(self.save("inferred.onnx"))) or {}
        return {
            name: (dtype, tuple(shape) if shape is not None else None)
            for name, (dtype, shape) in found.items()
        }

    def save(self, name: str) -> Path:
        """The model as it is now, in the scratch folder."""
        path = self._scratch / name
        try:
            path.write_bytes(to_bytes(self.model))
        except OSError as error:
            raise no_room(self._scratch, error) from error
        return path

    def save_loadable(self, name: str) -> Path:
        """The model as it is now, with an IR version that the runtime knows: the number computes nothing."""
        version = self.model.ir_version
        self.model.ir_version = min(version, MAX_IR_VERSION)
        path = self.save(name)
        self.model.ir_version = version
        return path

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

    def was_mended_by(self, repair: str) -> bool:
        """Whether an earlier repair, which the file remembers, did that."""
        return any(repair in record["repairs"] for record in repairs_of(metadata_of(self.model)))

    def reverse_normalization(self) -> str:
        """Turn the file's own normalisation around; says what it is then, "" where there is none to turn."""
        try:
            found = Normalization.from_doc_string(self.graph.doc_string)
        except OptionError:
            return ""
        if self.wishes.mean is not None or len(set(zip(found.mean, found.std, strict=True))) == 1:
            return ""
        turned = Normalization(mean=found.mean[::-1], std=found.std[::-1])
        self.graph.doc_string = turned.to_doc_string()
        self.record_normalization(turned)
        return turned.upload_form()

    def record_normalization(self, normalization: Normalization) -> bool:
        """Let evidence that names a normalisation name this one; whether it said something else."""
        recorded, text = self.recorded, normalization.to_doc_string()
        if recorded.normalization is None or (
            recorded.normalization.to_doc_string() == text and recorded.normalization_in == "file"
        ):
            return False
        for entry in self.model.metadata_props:
            if entry.key == PREFIX + "normalization":
                entry.value = text
            if entry.key == PREFIX + "normalization_in":
                entry.value = "file"
        self.__dict__.pop("recorded", None)
        return True

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
        """Answers of a model file for pictures [probes, …]; other inputs get ones.

        Args:
            path: of the file.
            pictures: as its input takes them.
            names: of the input that takes them, and of the output that is wanted.
            optimize: whether ONNX Runtime may rewrite the graph.

        Raises:
            IrreparableError: where ONNX Runtime refuses the file, or fails on it.
        """
        feeds, target = self._scratch / "feeds.npz", self._scratch / "answers.npy"
        ports = self._run(workshop.ports.__name__, str(path))
        columns: dict[str, Any] = {}
        for place, (name, dtype, shape) in enumerate(ports["inputs"]):
            sizes = [dim if isinstance(dim, int) else 1 for dim in shape]
            ones = np.ones((len(pictures), *sizes), _DTYPES.get(dtype, np.float32))
            columns[str(place)] = pictures if name == names[0] else ones
        np.savez(feeds, **columns)
        keys = self._run(workshop.answer.__name__, str(path), str(feeds), str(target), names[1], optimize)
        answers = np.load(target, allow_pickle=False)
        if keys:
            answers = answers[..., [keys.index(str(label)) for label in self.map_keys]]
        return np.asarray(answers)

    @property
    def names(self) -> tuple[str, str]:
        """Of the picture's input and of the scores."""
        return self.picture.name, self.scores.name

    def answers(self) -> Array:
        """What the model as it is now answers to the probes: [probes, …]."""
        return self.ask(self.save("asked.onnx"), self.pictures(), self.names)

    def runs(self) -> bool:
        """Whether ONNX Runtime runs the model as it is now."""
        try:
            self.ask(self.save("tried.onnx"), self.pictures()[:1], self.names)
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
        target = self._scratch / "inlined.onnx"
        self._run(workshop.inline.__name__, str(self.save("functions.onnx")), str(target))
        self.replace_model(parse(target.read_bytes(), "the inlined model"))

    def _run(self, function: str, *args: Any) -> Any:
        outcome = self._sandbox.call(f"{workshop.MODULE}:{function}", *args, timeout_s=_TIMEOUT_S)
        if not outcome.done:
            message = outcome.message.partition(": ")[2] or outcome.message
            message = message.removesuffix(" See: edgeworthy check")
            for word in args:
                message = message.replace(word, "it") if str(word).endswith(SUFFIXES) else message
            raise IrreparableError(
                f"The model does not run: {message.rstrip('.')}.",
                hint="What stands in the way: edgeworthy check.",
            )
        return outcome.value

    def _call(self, function: str, *args: Any) -> Any:
        outcome = self._sandbox.call(f"{workshop.MODULE}:{function}", *args, timeout_s=_TIMEOUT_S)
        return outcome.value if outcome.done else None
