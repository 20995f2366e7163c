"""Transformers: `hf:ORG/NAME[@REVISION]` or `hf:FOLDER`, with its own weights, a checkpoint, or none."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeworthy.contract import CHANNELS
from edgeworthy.errors import CheckpointError, OptionError, SourceError
from edgeworthy.labels import ClassNames
from edgeworthy.sources import dinat, hub, imagegpt, naflex
from edgeworthy.sources.base import SourceRequest, TrainedModel, told_as
from edgeworthy.sources.checkpoint import part_for, read_checkpoint
from edgeworthy.sources.image_processors import pipeline_of
from edgeworthy.sources.names import mended

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "hf:"

_NO_PICTURE_IN = {
    "shieldgemma2": "takes a text beside the picture",
}
_PLACEHOLDER = "LABEL_{}"
_MULTI_LABEL = "multi_label_classification"


class TransformersAdapter:
    """Image classifiers of Transformers, from the hub, its local cache, or a folder."""

    def accepts(self, source: str) -> bool:
        """Sources that begin with `hf:`."""
        return source.startswith(PREFIX)

    def load(self, request: SourceRequest) -> TrainedModel:
        """Create the model with the weights that were asked for.

        Raises:
            SourceError: where there is no such model, or it is no image classifier.
            CheckpointError: where weights are missing or do not fit.
            OptionError: where prompts are given for a model that takes none.
        """
        text = request.spec.removeprefix(PREFIX)
        hub.import_transformers()
        own_weights = not (request.untrained or request.checkpoint)
        with told_as("Transformers", text):
            place = hub.place_of(text, weights=own_weights)
            config = _without_repeated_count(hub.read_config(place))
            if request.prompts:
                return _zero_shot(place, config, request)
            said = (dinat.mend_dinat(),) if config.model_type == dinat.KIND else ()
            architecture = _architecture(place, config)
            trained = _classifier(place, config, architecture, request)
            return replace(trained, notes=(*trained.notes, *said))


def _without_repeated_count(config: Any) -> Any:
    """Without the number of classes that timm saves twice, and that Transformers would pass on twice."""
    arguments = getattr(config, "model_args", None)
    if config.model_type == "timm_wrapper" and isinstance(arguments, Mapping):
        config.model_args = {key: value for key, value in arguments.items() if key != "num_classes"}
    return config


def _zero_shot(place: hub.Place, config: Any, request: SourceRequest) -> TrainedModel:
    if not _takes_prompts(config):
        raise OptionError(
            f"{place.name} is a {config.model_type!r} model, and takes no prompts.",
            hint="Leave --prompts out.",
        )
    from edgeworthy.sources import zero_shot

    return zero_shot.load(place, config, request)


def _takes_prompts(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES

    return config.model_type in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES


def _architecture(place: hub.Place, config: Any) -> Any:
    """The class that classifies pictures for this configuration; its own word decides between several."""
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    kind = config.model_type
    named = [str(name) for name in getattr(config, "architectures", None) or ()]
    if kind in _NO_PICTURE_IN:
        raise SourceError(
            f"{place.name} is a {kind!r} model, which {_NO_PICTURE_IN[kind]}.",
            hint="The platform sends pixels alone.",
        )
    if _takes_prompts(config) and named and not any("ImageClassification" in name for name in named):
        raise SourceError(
            f"{place.name} is a {kind!r} model that compares pictures with texts.",
            hint="Give one text for each class with --prompts.",
        )
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise SourceError(
            f"{place.name} is a {kind!r} model, and Transformers has no image classifier of that type.",
            hint="Give a model that was fine-tuned to classify images.",
        )
    found = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    classes = found if isinstance(found, tuple) else (found,)
    return next((known for known in classes if known.__name__ in named), classes[0])


def _classifier(place: hub.Place, config: Any, architecture: Any, request: SourceRequest) -> TrainedModel:
    if getattr(config, "problem_type", None) == "regression":
        raise SourceError(
            f"{place.name} says that it is for regression (problem_type): it gives numbers, no classes.",
            hint="Expected is a model that was trained to classify.",
        )
    notes: tuple[str, ...] = ()
    if request.untrained:
        model = hub.build(architecture, config, place.name)
    elif request.checkpoint:
        state, notes = read_checkpoint(request.checkpoint, trust_pickle=request.trust_pickle)
        state, chosen = part_for(hub.keys_of(architecture, config, place.name), state)
        config = _with_head_of(architecture, config, state, place.name)
        model, said = hub.load(architecture, config, state, place.name)
        notes += (*chosen, *said, f"Size, normalisation and any class names are those of {place.name}.")
    else:
        state, notes = hub.read_weights(place, trust_pickle=request.trust_pickle)
        model, said = hub.load(architecture, config, state, place.name)
        notes += said
    described = _described(model, config, place)
    return replace(described, untrained=request.untrained, notes=(*notes, *described.notes))


def _described(model: nn.Module, config: Any, place: hub.Place) -> TrainedModel:
    """What the configuration and the image processor settle."""
    channels = _channels(config)
    takes_tokens = config.model_type == imagegpt.KIND
    pipeline = pipeline_of(place.folder, channels=channels, takes_tokens=takes_tokens)
    names, said = _class_names(config)
    if config.model_type == naflex.KIND:
        own_size: tuple[int, int] | None = naflex.own_size(config)
        module, said = naflex.of_one_picture(model, config), (*said, naflex.NOTE)
    elif takes_tokens:
        own_size = imagegpt.own_size(config)
        module = imagegpt.of_one_picture(model, config, pipeline.clusters, place.name)
        said = (*said, imagegpt.NOTE.format(len(pipeline.clusters)))
    else:
        own_size = _image_size(config)
        module = as_classifier(model, own_size, flips_channels=pipeline.flips_channels)
    return TrainedModel(
        module=module,
        name=f"{PREFIX}{place.name}",
        class_names=names,
        input_size=pipeline.input_size or (own_size and (channels, *own_size)),
        normalization=pipeline.normalization,
        frame_at=pipeline.frame_at,
        activation="sigmoid" if getattr(config, "problem_type", None) == _MULTI_LABEL else None,
        notes=(*said, *pipeline.notes),
    )


def as_classifier(model: nn.Module, own_size: tuple[int, int] | None, *, flips_channels: bool) -> nn.Module:
    """The model as a module that takes one picture [1, C, H, W] and gives its logits."""
    from edgeworthy.sources.logits import logits_of

    resizes = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    return logits_of(model, own_size if resizes else None, flips_channels=flips_channels)


def _with_head_of(architecture: Any, config: Any, state: Mapping[str, Tensor], name: str) -> Any:
    """The configuration with as many classes as the weights' head has rows, where it differs."""
    _, info = hub.tried(architecture, config, state, name)
    if info["unexpected_keys"]:
        strange = sorted(info["unexpected_keys"])
        raise CheckpointError(
            f"The checkpoint does not fit {name}: {len(strange)} unexpected (first: {strange[0]}).",
            hint="Name the model that it was trained from.",
        )
    rows = {
        theirs[0]
        for _, theirs, ours in info["mismatched_keys"]
        if theirs and ours[0] == config.num_labels and tuple(theirs[1:]) == tuple(ours[1:])
    }
    if len(rows) != 1:
        return config
    other = copy.deepcopy(config)
    other.num_labels = rows.pop()
    return other


def _class_names(config: Any) -> tuple[ClassNames | None, tuple[str, ...]]:
    """The names in `id2label`, mended where the platform cannot carry them; `LABEL_0` is none."""
    by_id = getattr(config, "id2label", None)
    if not isinstance(by_id, Mapping) or not by_id:
        return None, ()
    listed = [by_id.get(index) for index in range(len(by_id))]
    if any(name == _PLACEHOLDER.format(index) for index, name in enumerate(listed)):
        return None, ()
    if not all(isinstance(name, str) for name in listed):
        return None, (
            "Class names are not taken from id2label: it is not a text for each of 0, 1, 2 and so on.",
        )
    return mended([str(name) for name in listed])


def _channels(config: Any) -> int:
    value = _of_pictures(config, "num_channels")
    return value if value in CHANNELS else 3


def _image_size(config: Any) -> tuple[int, int] | None:
    value = _of_pictures(config, "image_size")
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return sides[0], sides[1]


def _of_pictures(config: Any, name: str) -> Any:
    """A setting of the model's, or of its picture half."""
    value = getattr(config, name, None)
    return getattr(getattr(config, "vision_config", None), name, None) if value is None else value
