"""timm: `timm:NAME`, with its pretrained weights, a checkpoint, or none."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeworthy.contract import Normalization
from edgeworthy.errors import ClassNamesError, MissingExtraError, SourceError
from edgeworthy.frames import INTERPOLATIONS, Frame, Interpolation
from edgeworthy.labelfiles import read_class_names
from edgeworthy.labels import ClassNames
from edgeworthy.sources.base import INSTEAD, SourceRequest, TrainedModel, told_as
from edgeworthy.sources.checkpoint import load_weights, read_checkpoint
from edgeworthy.sources.torchvision_shim import mend_torchvision

PREFIX = "timm:"

_LOCAL = "local-dir:"

_CONNECT_TIMEOUT_S = 5.0
_IMAGENET_CLASSES = 1000


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
        with told_as("timm", name):
            return self._made(timm, name, source, request)

    def _made(self, timm: Any, name: str, source: str, request: SourceRequest) -> TrainedModel:
        if request.checkpoint:
            state, notes = read_checkpoint(request.checkpoint, trust_pickle=request.trust_pickle)
            model = _architecture_for(timm, name, state)
            load_weights(model, state, source)
            return describe_timm(model, source, notes=notes)
        if request.untrained:
            model = timm.create_model(name, pretrained=False)
            return describe_timm(model, source, untrained=True)
        model = _pretrained(timm, name)
        return describe_timm(model, source, names=_names_of(model.pretrained_cfg, model.num_classes))


def describe_timm(
    model: Any,
    source: str,
    *,
    names: ClassNames | None = None,
    untrained: bool = False,
    notes: tuple[str, ...] = (),
) -> TrainedModel:
    """What a model's `pretrained_cfg` settles; for modules of other libraries, nothing."""
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or "input_size" not in config:
        return TrainedModel(module=model, name=source, untrained=untrained, notes=notes)
    from timm.data import resolve_data_config

    data = resolve_data_config({}, pretrained_cfg=dict(config))
    channels, height, width = data["input_size"]
    mean, std = (_for_channels(value, channels) for value in (data["mean"], data["std"]))
    return TrainedModel(
        module=model,
        name=source,
        class_names=names,
        input_size=(channels, height, width),
        normalization=Normalization.from_unit(mean, std) if len(mean) == len(std) == channels else None,
        frame_at=lambda size: frame_of({**data, "input_size": size}),
        untrained=untrained,
        notes=notes,
    )


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
    target = (math.floor(height / crop_pct), math.floor(width / crop_pct))
    name = data["interpolation"]
    interpolation: Interpolation = name if name in INTERPOLATIONS else "bilinear"
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
    if name.startswith(("hf-hub:", "hf_hub:", _LOCAL)) or timm.is_model(name.partition(".")[0]):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.5)
    hint = f"Did you mean: {', '.join(close)}?" if close else "timm.list_models() lists them all."
    raise SourceError(f"timm has no model named {name!r}.", hint=hint)


def _pretrained(timm: Any, name: str) -> Any:
    try:
        with _offline_unless_reachable():
            return timm.create_model(name, pretrained=True)
    except RuntimeError as error:
        if "pretrained" not in str(error).lower():
            raise
        raise SourceError(f"timm has no pretrained weights for {name!r}.", hint=INSTEAD) from error
    except OSError as error:
        raise SourceError(
            f"The pretrained weights of {name!r} are not in the local cache, and the hub cannot be reached.",
            hint=INSTEAD,
        ) from error


@contextlib.contextmanager
def _offline_unless_reachable() -> Iterator[None]:
    """Ask the hub once; without an answer, use the local cache at once and not after many retries."""
    from huggingface_hub import constants, get_session

    before = constants.HF_HUB_OFFLINE
    try:
        if not before:
            get_session().head(constants.ENDPOINT, timeout=_CONNECT_TIMEOUT_S)
    except Exception:  # each HTTP library behind the hub has its own errors
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _architecture_for(timm: Any, name: str, state: Mapping[str, Any]) -> Any:
    """The architecture with as many classes and input channels as the weights have."""
    plain = timm.create_model(name, pretrained=False)
    config = plain.pretrained_cfg
    details: dict[str, int] = {}
    heads = config.get("classifier") or ()
    for head in (heads,) if isinstance(heads, str) else heads:
        for part in ("bias", "weight"):
            if f"{head}.{part}" in state:
                details["num_classes"] = len(state[f"{head}.{part}"])
    stem = config.get("first_conv")
    weight = state.get(f"{stem}.weight") if isinstance(stem, str) else None
    if weight is not None and weight.ndim == 4 and weight.shape[1] != 3:
        details["in_chans"] = weight.shape[1]
    if not details or details == {"num_classes": plain.num_classes}:
        return plain
    model = timm.create_model(name, pretrained=False, **details)
    if "in_chans" in details:
        channels = details["in_chans"]
        config = dict(model.pretrained_cfg)
        config["input_size"] = (channels, *config["input_size"][1:])
        model.pretrained_cfg = config
    return model


def _names_of(config: Mapping[str, Any], classes: int) -> ClassNames | None:
    """Names for pretrained weights, where the configuration leaves no doubt which."""
    listed = config.get("label_names")
    if listed and len(listed) == classes:
        with contextlib.suppress(ClassNamesError):
            return ClassNames(tuple(map(str, listed)))
    if classes == _IMAGENET_CLASSES and str(config.get("tag", "")).endswith("in1k"):
        return read_class_names("imagenet-1k")
    return None
