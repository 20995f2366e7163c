"""What an export still has to know, settled from the source or from the user; nothing is invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, get_args

from edgeworthy.contract import (
    CHANNELS,
    DEFAULT_OPSET,
    MAX_OPSET,
    MIN_OPSET,
    Contract,
    Layout,
    Normalization,
)
from edgeworthy.errors import ClassNamesError, OptionError
from edgeworthy.evidence import Activation, NormalizationPlace
from edgeworthy.frames import MAX_SIDE_PX, Frame
from edgeworthy.labelfiles import Classes, names_from
from edgeworthy.labels import ClassNames
from edgeworthy.sources.base import InputSize, TrainedModel

ExporterChoice = Literal["auto", "torchscript", "dynamo"]

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "normalization_in": get_args(NormalizationPlace),
    "activation": (None, *get_args(Activation)),
    "layout": get_args(Layout),
    "exporter": get_args(ExporterChoice),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a model shall be exported; None leaves a value to the source.

    Attributes:
        classes: names in the order of the outputs, or a file, folder or built-in list of them.
        fix_names: whether names that the platform cannot carry are repaired.
        mean, std: one value a channel, for pixels 0..1 or 0..255.
        scale: which of the two, 1 or 255, where the values leave it open.
        normalization_in: where pixels are normalised: by the platform as the `file` says, in the
            `graph`, or by the platform as typed at `upload`.
        activation: what the graph applies to the model's outputs.
        input_size: (channels, height px, width px).
        layout: of the file's input.
        opset: 12..17, of the file.
        exporter: which of torch's exporters traces the model: `torchscript`, `dynamo`, or `auto`, the first
            of the two that can.
        simplify: whether the graph goes through the simplifier.
        samples: a folder of pictures to prove the file on, besides the built-in probes.
        atol: the largest difference in probability, in place of the measured yardstick.
        allow_traced_branch: whether a branch that depends on the pixels may be baked in.
        frame: the training pipeline's geometry.
    """

    classes: Classes | None = None
    fix_names: bool = False
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    scale: int | None = None
    normalization_in: NormalizationPlace = "file"
    activation: Activation | None = None
    input_size: InputSize | None = None
    layout: Layout = "nchw"
    opset: int = DEFAULT_OPSET
    exporter: ExporterChoice = "auto"
    simplify: bool = True
    samples: str | Path | None = None
    atol: float | None = None
    allow_traced_branch: bool = False
    frame: Frame | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise OptionError(f"{name}={getattr(self, name)!r} is none of {choices}.")
        if self.input_size is not None and len(self.input_size) != 3:
            raise OptionError(
                f"input_size={self.input_size} has {len(self.input_size)} numbers.",
                hint="Expected are three: channels, height, width.",
            )
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            raise OptionError(
                f"Opset {self.opset} is outside {MIN_OPSET}..{MAX_OPSET}.",
                hint=f"{DEFAULT_OPSET} loads on every runtime of the platform.",
            )
        if (self.mean is None) is not (self.std is None):
            given, missing = ("--mean", "--std") if self.std is None else ("--std", "--mean")
            raise OptionError(f"{given} is given without {missing}.", hint="Give both, one value a channel.")
        if self.scale not in {None, 1, 255}:
            raise OptionError(f"The scale {self.scale} is neither 1 nor 255.")
        if self.atol is not None and not 0 < self.atol < 1:
            raise OptionError(
                f"The tolerance {self.atol} is no difference in probability: above 0, below 1.",
                hint="Leave out --atol to have it measured.",
            )


class ExportKeywords(TypedDict, total=False):
    """The fields of `ExportOptions` as keyword arguments."""

    classes: Classes | None
    fix_names: bool
    mean: Sequence[float] | None
    std: Sequence[float] | None
    scale: int | None
    normalization_in: NormalizationPlace
    activation: Activation | None
    input_size: InputSize | None
    layout: Layout
    opset: int
    exporter: ExporterChoice
    simplify: bool
    samples: str | Path | None
    atol: float | None
    allow_traced_branch: bool
    frame: Frame | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Everything that must be known before the model is asked.

    Attributes:
        class_names: in the order of the outputs.
        input_size: (channels, height px, width px).
        normalization: of the training, on the 0..255 scale.
        frame: the training pipeline's geometry, or None.
        activation: what the graph applies to the model's outputs, or None where they have to tell.
    """

    class_names: ClassNames
    input_size: InputSize
    normalization: Normalization
    frame: Frame | None
    activation: Activation | None = None


def settle(trained: TrainedModel, options: ExportOptions) -> Settled:
    """Combine what the source knows with what the user says; the user wins.

    Raises:
        OptionError: asking for what neither says.
        ClassNamesError: where there are no class names, or unusable ones.
    """
    size = _input_size(trained, options)
    frame = options.frame or (trained.frame_at(size) if trained.frame_at else None)
    if frame and (frame.channels, frame.height, frame.width) != size:
        raise OptionError(
            f"The frame gives {frame.channels}x{frame.height}x{frame.width} pictures, the input takes "
            f"{'x'.join(map(str, size))}.",
            hint="Give a frame of the input's size and channels.",
        )
    return Settled(
        class_names=_class_names(trained, options),
        input_size=size,
        normalization=_normalization(trained, options, size[0]),
        frame=frame,
        activation=options.activation or trained.activation,
    )


def contract_for(settled: Settled, options: ExportOptions, outputs: int) -> Contract:
    """The contract that the file will keep.

    Raises:
        ClassNamesError: where there are not as many names as outputs.
    """
    names = settled.class_names
    if len(names) != outputs:
        raise ClassNamesError(
            f"{len(names)} class names for {outputs} scores.",
            hint=f"Give exactly {outputs} names, in the order of the model's outputs.",
        )
    channels, height, width = settled.input_size
    carved: dict[str, Normalization | None] = {
        "file": settled.normalization,
        "graph": Normalization.identity(channels),
        "upload": None,
    }
    return Contract(
        class_names=names,
        channels=channels,
        height_px=height,
        width_px=width,
        layout=options.layout,
        normalization=carved[options.normalization_in],
        opset=options.opset,
    )


def _class_names(trained: TrainedModel, options: ExportOptions) -> ClassNames:
    if options.classes is not None:
        return names_from(options.classes, fix=options.fix_names)
    if trained.class_names is None:
        raise ClassNamesError(
            f"{trained.name} does not say what its classes are called.",
            hint="Give --classes: a text, JSON or CSV file, a folder of class folders, or imagenet-1k.",
        )
    return trained.class_names


def _input_size(trained: TrainedModel, options: ExportOptions) -> InputSize:
    size = options.input_size or trained.input_size
    if size is None:
        raise OptionError(
            f"{trained.name} does not say what size its input has.",
            hint="Give --input-size C H W, such as --input-size 3 224 224 (height before width).",
        )
    channels, height, width = size
    if channels not in CHANNELS:
        where = "--input-size has" if options.input_size else f"{trained.name} takes"
        raise OptionError(f"{where} {channels} channels; the platform sends 1 or 3.")
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise OptionError(f"An input of {height}x{width} px is outside 1..{MAX_SIDE_PX} px a side.")
    return size


def _normalization(trained: TrainedModel, options: ExportOptions, channels: int) -> Normalization:
    if options.mean is not None and options.std is not None:
        return Normalization.given(options.mean, options.std, scale=options.scale, channels=channels)
    given = trained.normalization
    if given is None:
        raise OptionError(
            f"{trained.name} does not say how its pixels are normalised.",
            hint="Give --mean and --std as in its training, such as 0.485,0.456,0.406 and 0.229,0.224,0.225.",
        )
    given.require(channels)
    return given
