"""torchvision: `torchvision:NAME[:WEIGHTS]`, with its own weights, a checkpoint, or none."""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeworthy.contract import Normalization
from edgeworthy.errors import MissingExtraError, OptionError, SourceError
from edgeworthy.frames import INTERPOLATIONS, Frame
from edgeworthy.sources.base import INSTEAD, InputSize, SourceRequest, TrainedModel, told_as
from edgeworthy.sources.checkpoint import load_weights, part_for, read_checkpoint
from edgeworthy.sources.giants import within_one_file
from edgeworthy.sources.names import mended
from edgeworthy.sources.torchvision_shim import mend_torchvision

PREFIX = "torchvision:"

_TIMEOUT_S = 5.0
_HASH = re.compile(r"-([a-f0-9]{8,})\.")  # in the file's name, as torch.hub checks it


class TorchvisionAdapter:
    """Classifiers of torchvision by name, with the name of a set of weights behind a colon."""

    def accepts(self, source: str) -> bool:
        """Sources that begin with `torchvision:`."""
        return source.startswith(PREFIX)

    def load(self, request: SourceRequest) -> TrainedModel:
        """Create the model with the weights that were asked for.

        Raises:
            SourceError: on an unknown name, or where the weights cannot be had.
            CheckpointError: where the checkpoint does not fit.
        """
        name, _, wanted = request.spec.removeprefix(PREFIX).partition(":")
        models = _import_models()
        _check_name(models, name)
        with told_as("torchvision", name):
            weights = _weights(models, name, wanted)
            if request.checkpoint or request.untrained:
                if wanted:
                    raise OptionError(
                        f"The weights {wanted!r} are named, and others asked for.", hint="Leave one out."
                    )
                return _own_weights(models, name, weights, request)
            module = _created(models, name, weights=None, num_classes=len(weights.meta["categories"]))
            state, _ = read_checkpoint(_fetched(weights, name))
            load_weights(module, state, request.spec)
            return _described(module, f"{PREFIX}{name}:{weights.name}", weights, names=True)


def _own_weights(models: Any, name: str, weights: Any, request: SourceRequest) -> TrainedModel:
    if not request.checkpoint:
        module = _created(models, name, weights=None)
        return _described(module, request.spec, weights, untrained=True)
    state, notes = read_checkpoint(request.checkpoint, trust_pickle=request.trust_pickle)
    plain = _created(models, name, weights=None)
    state, said = part_for(plain.state_dict(), state)
    module = _architecture_for(models, name, plain, state)
    load_weights(module, state, request.spec)
    return _described(module, request.spec, weights, notes=(*notes, *said))


def _described(
    module: Any,
    source: str,
    weights: Any,
    *,
    names: bool = False,
    untrained: bool = False,
    notes: tuple[str, ...] = (),
) -> TrainedModel:
    """The model, with the preprocessing that torchvision's own weights were trained with."""
    preset = weights.transforms()
    crop = preset.crop_size[0]
    class_names, said = mended(list(map(str, weights.meta["categories"]))) if names else (None, ())
    if not names and not untrained:
        said = (f"Size and normalisation are those of torchvision's own weights ({weights.name}).",)
    return TrainedModel(
        module=module,
        name=source,
        class_names=class_names,
        input_size=(3, crop, crop),
        normalization=Normalization.from_unit(preset.mean, preset.std),
        frame_at=lambda size: frame_of(preset, size),
        untrained=untrained,
        notes=(*notes, *said),
    )


def frame_of(preset: Any, size: InputSize) -> Frame:
    """The frame that `torchvision.transforms._presets.ImageClassification` carries out.

    It resizes the shorter side, and takes the centre; for another input size the ratio of both stays, and for
    one that is not square the picture is resized until it covers that.
    """
    _, height, width = size
    ratio = preset.resize_size[0] / preset.crop_size[0]
    name = preset.interpolation.value
    square = height == width
    return Frame(
        mode="crop",
        height=height,
        width=width,
        resize=round(ratio * height) if square else (round(ratio * height), round(ratio * width)),
        resize_rule="shorter-truncate" if square else "cover-round",
        interpolation=name if name in INTERPOLATIONS else "bilinear",
    )


def _import_models() -> Any:
    try:
        mend_torchvision()
        from torchvision import models
    except ImportError as error:
        raise MissingExtraError("torchvision", "torchvision") from error
    return models


def _check_name(models: Any, name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        hint = f"Did you mean: {', '.join(close)}?" if close else f"There are: {', '.join(known[:8])}, …"
        raise SourceError(f"torchvision has no classifier named {name!r}.", hint=hint)


def _weights(models: Any, name: str, wanted: str) -> Any:
    """The set of weights of that name, or the default one; asking costs no download."""
    sets = models.get_model_weights(name)
    if wanted and wanted not in sets.__members__:
        raise SourceError(
            f"{name} has no weights named {wanted!r}.", hint=f"There are: {', '.join(sets.__members__)}."
        )
    return sets[wanted or "DEFAULT"]


def _fetched(weights: Any, name: str) -> Path:
    """The file of the weights in torch's hub cache, brought there if need be."""
    import torch

    path: Path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if path.is_file():
        return path
    expected = _HASH.search(path.name)
    before = socket.getdefaulttimeout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(_TIMEOUT_S)
        torch.hub.download_url_to_file(
            weights.url, str(path), hash_prefix=expected and expected[1], progress=False
        )
    except OSError as error:
        raise SourceError(
            f"The weights {weights.name} of {name!r} are not in the local cache, and their server cannot be "
            "reached.",
            hint=INSTEAD,
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def _created(models: Any, name: str, **details: Any) -> Any:
    with within_one_file(name):
        return models.get_model(name, **details)


def _architecture_for(models: Any, name: str, plain: Any, state: Mapping[str, Any]) -> Any:
    """The plain architecture, or with as many classes as the weights have: the rows of what had 1000."""
    heads = [key for key, tensor in plain.state_dict().items() if tensor.ndim and len(tensor) == 1000]
    for key in reversed(heads):
        if key in state and len(state[key]) != 1000:
            return _created(models, name, weights=None, num_classes=len(state[key]))
    return plain
