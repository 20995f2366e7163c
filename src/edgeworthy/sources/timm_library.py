"""timm: `timm:NAME`, with its pretrained weights, a checkpoint, or none."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeworthy.contract import Normalization
from edgeworthy.errors import MissingExtraError, SourceError
from edgeworthy.frames import INTERPOLATIONS, Frame, Interpolation
from edgeworthy.labels import ClassNames
from edgeworthy.sources.base import INSTEAD, SourceRequest, TrainedModel, told_as
from edgeworthy.sources.checkpoint import load_weights, part_for, read_checkpoint
from edgeworthy.sources.giants import within_one_file
from edgeworthy.sources.hub import offline_unless_reachable
from edgeworthy.sources.timm_names import names_of
from edgeworthy.sources.torchvision_shim import mend_torchvision

PREFIX = "timm:"

_LOCAL = "local-dir:"
_ELSEWHERE = ("hf-hub:", "hf_hub:", _LOCAL)  # configurations that are not timm's own

_HEAD_CLASSES = 1000
_CHANNELS = 3  # of timm's architectures, unless told otherwise
_CROP_MODES = ("center", "squash", "border")
_LARGEST_IN_UNITS = 2.0  # means and deviations beyond are on the 0..255 scale
_TRAINED_ON = re.compile(r"in\d+k")  # in a tag: the ImageNet that gave the head


class TimmAdapter:
    """Models of timm by name, tags such as `.a1_in1k` included."""

    def accepts(self, source: str) -> bool:
        """Sources that begin with `timm:`."""
        return source.startswith(PREFIX)

    def load(self, request: SourceRequest) -> TrainedModel:
        """Create the model with the weights that were asked for.

        Raises:
            SourceError: on an unknown name, or where the weights cannot be had.
            CheckpointError: where the checkpoint does not fit.
        """
        timm = _import_timm()
        name = request.spec.removeprefix(PREFIX)
        source = _without_path(request.spec)
        _check_name(timm, name)
        with told_as("timm", source.removeprefix(PREFIX)):
            return self._made(timm, name, source, request)

    def _made(self, timm: Any, name: str, source: str, request: SourceRequest) -> TrainedModel:
        if request.checkpoint:
            state, notes = read_checkpoint(request.checkpoint, trust_pickle=request.trust_pickle)
            plain = _created(timm, name, pretrained=False)
            state, said = part_for(plain.state_dict(), state)
            model = _architecture_for(timm, name, plain, state)
            load_weights(model, state, source)
            return describe_timm(model, source, notes=(*notes, *said))
        if request.untrained:
            model, notes = _with_head(timm, name)
            return describe_timm(model, source, untrained=True, notes=notes)
        model = _pretrained(timm, name)
        config = model.pretrained_cfg
        _require_head(name, config, model.num_classes)
        own = not name.startswith(_ELSEWHERE) or name.partition(":")[2].startswith("timm/")
        names, said = names_of(config, model.num_classes, own=own)
        return describe_timm(model, source, names=names, notes=said)


def describe_timm(
    model: Any,
    source: str,
    *,
    names: ClassNames | None = None,
    untrained: bool = False,
    notes: tuple[str, ...] = (),
) -> TrainedModel:
    """What a model's `pretrained_cfg` settles; for modules of other libraries, nothing.

    Raises:
        SourceError: where its values are none that timm could use.
    """
    plain = TrainedModel(module=model, name=source, class_names=names, untrained=untrained, notes=notes)
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or "input_size" not in config:
        return plain
    with told_as("timm", source):
        return _described(plain, config)


def _described(plain: TrainedModel, config: Mapping[str, Any]) -> TrainedModel:
    from timm.data import resolve_data_config

    data = resolve_data_config({}, pretrained_cfg=dict(config))
    size = data["input_size"]
    if len(size) != 3 or not all(isinstance(side, int) and side > 0 for side in size):
        raise SourceError(f"The input_size {size} is none.", hint="Expected are channels, height and width.")
    channels, height, width = size
    mean, std = (_for_channels(value, channels) for value in (data["mean"], data["std"]))
    certain = len(mean) == len(std) == channels
    notes = list(plain.notes)
    unknown = _unknown(data)
    if unknown:
        notes.append(f"How pictures are cropped is not known: {unknown}.")
    else:
        frame_of(data)  # what cannot be carried out is said now
    if certain and max(map(abs, (*mean, *std))) > _LARGEST_IN_UNITS:
        notes.append(f"The mean {mean} and deviation {std} are none of pixels in 0..1, and left out.")
        certain = False
    return replace(
        plain,
        input_size=(channels, height, width),
        normalization=Normalization.from_unit(mean, std) if certain else None,
        frame_at=None if unknown else lambda size: frame_of({**data, "input_size": size}),
        notes=tuple(notes),
    )


def _unknown(data: Mapping[str, Any]) -> str:
    """The setting of a resolved data config that `frame_of` does not know, or nothing."""
    known = {"interpolation": INTERPOLATIONS, "crop_mode": _CROP_MODES}
    return next((f"{key} is {data[key]!r}" for key, values in known.items() if data[key] not in values), "")


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """As many values as channels; for a grayscale model only what all channels agree on is certain."""
    if len(values) == channels:
        return tuple(values)
    return tuple(values[:1]) * channels if len(set(values)) == 1 else ()


def frame_of(data: Mapping[str, Any]) -> Frame:
    """The frame that timm's evaluation transform carries out for a resolved data config.

    Follows `timm.data.transforms_factory.transforms_imagenet_eval` (timm 1.0): the resize target is
    floor(size / crop_pct) a side; `crop_mode` chooses how the picture meets it.
    """
    channels, height, width = data["input_size"]
    crop_pct = data["crop_pct"] or 0.875
    if not 0 < crop_pct < math.inf:
        raise SourceError(
            f"The share crop_pct={crop_pct} is none.", hint="Expected is more than 0, mostly to 1."
        )
    target = (math.floor(height / crop_pct), math.floor(width / crop_pct))
    interpolation: Interpolation = data["interpolation"]
    order: Any = "L" if channels == 1 else "RGB"
    details: dict[str, Any] = {"interpolation": interpolation, "channel_order": order}
    size: dict[str, Any] = {"height": height, "width": width}
    if data.get("crop_mode") == "squash":
        if target == (height, width):
            return Frame.stretch(height, width, **details)
        return Frame(mode="crop", resize=target, resize_rule="exact", **size, **details)
    if data.get("crop_mode") == "border":
        fill = tuple(min(255, max(0, round(255 * value))) for value in data["mean"])
        return Frame(mode="crop", resize=target, resize_rule="contain-round", fill=fill, **size, **details)
    if target[0] == target[1]:
        return Frame(mode="crop", resize=target[0], resize_rule="shorter-truncate", **size, **details)
    return Frame(mode="crop", resize=target, resize_rule="cover-round", **size, **details)


def _without_path(source: str) -> str:
    """The source as the file may remember it: of a folder, the name alone."""
    prefix, local, folder = source.partition(_LOCAL)
    return f"{prefix}{local}{Path(folder).name}" if local else source


def _import_timm() -> Any:
    try:
        mend_torchvision()
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm") from error
    return timm


def _check_name(timm: Any, name: str) -> None:
    if name.startswith(_LOCAL) and not Path(name.removeprefix(_LOCAL)).is_dir():
        raise SourceError(f"There is no folder {name.removeprefix(_LOCAL)}.", hint="Check the path.")
    if name.startswith(_ELSEWHERE) or timm.is_model(name.partition(".")[0]):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.5)
    hint = f"Did you mean: {', '.join(close)}?" if close else "timm.list_models() lists them all."
    raise SourceError(f"timm has no model named {name!r}.", hint=hint)


def _require_head(name: str, config: Mapping[str, Any], classes: int) -> None:
    """Refuse weights whose outputs are no classes.

    Raises:
        SourceError: saying what they are.
    """
    hint = "Give fine-tuned weights with --checkpoint FILE."
    if not classes:
        raise SourceError(f"{name!r} has no classifier head: timm's weights give features alone.", hint=hint)
    if "clip" in str(config.get("architecture", "")) and not _TRAINED_ON.search(str(config.get("tag", ""))):
        raise SourceError(
            f"The {classes} outputs of {name!r} are CLIP's picture embedding, and no classes.", hint=hint
        )


def _created(timm: Any, name: str, **details: Any) -> Any:
    with within_one_file(name):
        return timm.create_model(name, **details)


def _pretrained(timm: Any, name: str) -> Any:
    try:
        with offline_unless_reachable():
            return _created(timm, name, pretrained=True)
    except RuntimeError as error:
        if "pretrained" not in str(error).lower():
            raise
        raise SourceError(f"timm has no pretrained weights for {name!r}.", hint=INSTEAD) from error
    except OSError as error:
        raise SourceError(
            f"The pretrained weights of {name!r} are not in the local cache, and the hub cannot be reached.",
            hint=INSTEAD,
        ) from error


def _with_head(timm: Any, name: str) -> tuple[Any, tuple[str, ...]]:
    """The architecture with a head, which the models that timm has features of alone get here."""
    model = _created(timm, name, pretrained=False)
    if model.num_classes:
        return model, ()
    model = _created(timm, name, pretrained=False, num_classes=_HEAD_CLASSES)
    return model, (f"timm has no head for it; one of {_HEAD_CLASSES} classes is added.",)


def _architecture_for(timm: Any, name: str, plain: Any, state: Mapping[str, Any]) -> Any:
    """The plain architecture, or with as many classes and input channels as the weights have."""
    config = plain.pretrained_cfg
    details: dict[str, int] = {}
    heads = config.get("classifier") or ()
    for head in (heads,) if isinstance(heads, str) else heads:
        for part in ("bias", "weight"):
            if f"{head}.{part}" in state:
                details["num_classes"] = len(state[f"{head}.{part}"])
    channels = _channels(plain, config.get("first_conv") or (), state)
    if channels != _CHANNELS:
        details["in_chans"] = channels
    if not details or details == {"num_classes": plain.num_classes}:
        return plain
    model = _created(timm, name, pretrained=False, **details)
    if "in_chans" in details:
        config = dict(model.pretrained_cfg)
        config["input_size"] = (channels, *config["input_size"][1:])
        model.pretrained_cfg = config
    return model


def _channels(plain: Any, stems: str | Sequence[str], state: Mapping[str, Any]) -> int:
    """Of the pictures that the weights were made for, whose first layer has as many times more inputs."""
    own = plain.state_dict()
    for stem in (stems,) if isinstance(stems, str) else stems:
        key = f"{stem}.weight"
        if key in own and key in state and state[key].ndim == own[key].ndim > 1:
            found, usual = int(state[key].shape[1]), int(own[key].shape[1])
            if found != usual and (_CHANNELS * found) % usual == 0:
                return _CHANNELS * found // usual
    return _CHANNELS
