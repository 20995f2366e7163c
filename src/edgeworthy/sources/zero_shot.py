"""Classifiers made of a model of pictures and texts: the prompts' embeddings become the head's weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeworthy import labelfiles
from edgeworthy.errors import ClassNamesError, EdgeworthyError, OptionError, SourceError, first_line
from edgeworthy.evidence import Activation
from edgeworthy.frames import MAX_SIDE_PX
from edgeworthy.labels import MAX_CLASSES, ClassNames
from edgeworthy.sources import hub
from edgeworthy.sources.base import InputSize, SourceRequest, TrainedModel
from edgeworthy.sources.checkpoint import part_for, read_checkpoint
from edgeworthy.sources.image_processors import Pipeline, pipeline_of
from edgeworthy.sources.names import listed
from edgeworthy.sources.untrained import SEED

if TYPE_CHECKING:
    from torch import Tensor, nn

_ACTIVATIONS: Mapping[str, Activation] = {
    "align": "softmax",
    "altclip": "softmax",
    "chinese_clip": "softmax",
    "clip": "softmax",
    "clipseg": "softmax",
    "metaclip_2": "softmax",
    "siglip": "sigmoid",
    "tipsv2": "softmax",
}
_REFUSED = {
    "blip": "whose published weights hold no projections of pictures and texts into one space",
    "blip-2": "which takes the best of several embeddings of a picture for each text",
    "siglip2": "the NaFlex variant, which takes patches and a mask in place of a picture",
    "videoprism": "which takes videos",
}
_FILE = "@"
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_SAVE = "Save the tokenizer of the model beside it."
_PADDED = 64  # tokens, as Transformers' pipeline pads all texts for SigLIP
_TOGETHER = 64  # texts that are embedded at once
_ALIKE = 1e-5  # in probability, between the library's scores and the head's


def load(place: hub.Place, config: Any, request: SourceRequest) -> TrainedModel:
    """Make a classifier of a CLIP or SigLIP model and one text for each class.

    A text `@FILE` stands for all prompts in a file, as `labelfiles` reads class names. The prompts are
    embedded as they stand: Transformers' pipeline `zero-shot-image-classification` does the same but for its
    template "This is a photo of {}.", which nobody adds here. They are the class names, too, mended where the
    platform cannot carry them. SigLIP's scores, one sigmoid each, would allow a single prompt, but the
    platform needs two classes, and nobody would have named the other one.

    Args:
        place: where configuration, tokenizer, image processor and weights lie.
        config: Transformers' configuration of the model.
        request: with two prompts or more.

    Raises:
        OptionError: where the prompts cannot be used.
        SourceError: where the model's scores are no function of two embeddings, or its tokenizer is missing.
        CheckpointError: where weights are missing or do not fit.
    """
    activation = _activation(config, place.name)
    size = _input(config, place.name)
    prompts = _prompts(request.prompts)
    tokens = _tokens(_tokenizer(place, config), prompts, config, place.name)
    model, loaded = _model(place, config, request)
    module = _baked(model.eval(), tokens, size, activation, place.name)
    pipeline, resized = _pipeline(place, size)
    names, renamed = _class_names(prompts)
    return TrainedModel(
        module=module,
        name=f"hf:{place.name}",
        class_names=names,
        input_size=pipeline.input_size or size,
        normalization=pipeline.normalization,
        frame_at=pipeline.frame_at,
        activation=activation,
        untrained=request.untrained,
        notes=(*loaded, *renamed, *_same_to_the_model(prompts, tokens), *pipeline.notes, *resized),
    )


def _activation(config: Any, name: str) -> Activation:
    kind = config.model_type
    if kind in _ACTIVATIONS:
        return _ACTIVATIONS[kind]
    reason = _REFUSED.get(kind, "whose scores are not known to compare one embedding with another")
    raise SourceError(
        f"{name} is a {kind!r} model, {reason}.",
        hint=f"Prompts are for models of the types {', '.join(sorted(_ACTIVATIONS))}.",
    )


def _prompts(given: Sequence[str]) -> tuple[str, ...]:
    """The texts, those of files in the place of the files' names."""
    wrong = [text for text in given if not isinstance(text, str)]
    if wrong:
        raise OptionError(f"The prompt {str(wrong[0])[:60]!r} is {type(wrong[0]).__name__}, expected str.")
    texts = [text for one in given for text in (_from_file(one[1:]) if one.startswith(_FILE) else [one])]
    if not 2 <= len(texts) <= MAX_CLASSES:
        raise OptionError(
            f"The number of prompts is {len(texts)}, expected is 2 to {MAX_CLASSES}: one for each class.",
            hint='A single class needs a counterpart, such as --prompts "a cat" "something else".',
        )
    for position, text in enumerate(texts, 1):
        if not text.strip():
            raise OptionError(f"The prompt {position} of {len(texts)} is empty.", hint="Describe each class.")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise OptionError(f"The prompt {text[:60]!r} is not valid Unicode.", hint="Write it in UTF-8.")
    return tuple(texts)


def _from_file(path: str) -> list[str]:
    try:
        return labelfiles.read_listed(path)
    except ClassNamesError as error:
        raise OptionError(
            f"No prompts can be had from {path!r}: {error.message}",
            hint=f"Give {_FILE} and the name of a text file in UTF-8, one prompt a line.",
        ) from error


def _tokenizer(place: hub.Place, config: Any) -> Any:
    """The tokenizer saved beside the model; without its files, Transformers would make up an empty one."""
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if not any((place.folder / name).is_file() for name in _TOKENIZERS):
        raise SourceError(
            f"{place.name} has no tokenizer for the prompts: none of {', '.join(_TOKENIZERS)} is there.",
            hint=_SAVE,
        )
    try:
        if get_tokenizer_config(place.folder, local_files_only=True).get("auto_map"):
            raise SourceError(
                f"The tokenizer of {place.name} asks for code of its own.", hint="edgeworthy never runs it."
            )
        return AutoTokenizer.from_pretrained(
            place.folder, config=config, local_files_only=True, trust_remote_code=False
        )
    except EdgeworthyError:
        raise
    except Exception as error:  # a library's answer to files that anybody wrote
        lacks = "sentencepiece" in str(error).lower()
        reason = "it needs the library sentencepiece." if lacks else first_line(error)
        raise SourceError(
            f"The tokenizer of {place.name} cannot be read: {reason}",
            hint="Install it with: pip install sentencepiece protobuf" if lacks else _SAVE,
        ) from error


def _tokens(tokenizer: Any, prompts: Sequence[str], config: Any, name: str) -> dict[str, Tensor]:
    """What the text half takes, each [prompts, tokens]; padded as Transformers' pipeline does, never cut.

    Raises:
        OptionError: naming a prompt that is too long.
        SourceError: where the tokenizer fails, or is another model's.
    """
    padding: dict[str, Any] = {"padding": True}
    try:
        limit = _most_tokens(tokenizer, config)
        if "siglip" in config.model_type:
            padding = {"padding": "max_length", "max_length": limit}
        lengths = [len(ids) for ids in tokenizer(list(prompts), truncation=False)["input_ids"]]
        for prompt, length in zip(prompts, lengths, strict=True):
            if length > limit:
                raise OptionError(
                    f"The prompt {prompt[:60]!r} has {length} tokens, and {name} takes {limit} at most.",
                    hint="Shorten it; what is cut off would be ignored.",
                )
        tokens = dict(tokenizer(list(prompts), return_tensors="pt", truncation=False, **padding))
    except EdgeworthyError:
        raise
    except Exception as error:  # settings that anybody wrote
        raise SourceError(
            f"The tokenizer of {name} cannot read the prompts: {first_line(error)}",
            hint=_SAVE,
        ) from error
    last, known = int(tokens["input_ids"].max()), config.text_config.vocab_size
    if last >= known:
        raise SourceError(
            f"The tokenizer of {name} gives the token {last}, and the model knows {known} tokens from 0.",
            hint="Is it the tokenizer of another model?",
        )
    return tokens


def _most_tokens(tokenizer: Any, config: Any) -> int:
    positions = config.text_config.max_position_embeddings
    if config.model_type == "altclip":  # as RoBERTa's, its positions begin behind the padding's
        positions -= config.text_config.pad_token_id + 1
    limits = [positions, tokenizer.model_max_length]
    return int(min(*limits, _PADDED) if "siglip" in config.model_type else min(limits))


def _model(place: hub.Place, config: Any, request: SourceRequest) -> tuple[Any, tuple[str, ...]]:
    from transformers import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING

    architecture = MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    if request.untrained:
        return hub.build(architecture, config, place.name), ()
    if request.checkpoint:
        state, notes = read_checkpoint(request.checkpoint, trust_pickle=request.trust_pickle)
        state, chosen = part_for(hub.keys_of(architecture, config, place.name), state)
        notes = (*notes, *chosen, f"Size, normalisation and tokenizer are those of {place.name}.")
    else:
        state, notes = hub.read_weights(place, trust_pickle=request.trust_pickle)
    model, said = hub.load(architecture, config, state, place.name)
    return model, (*notes, *said)


def _input(config: Any, name: str) -> InputSize:
    """(channels, height px, width px) that the picture half was made for."""
    channels, size = config.vision_config.num_channels, config.vision_config.image_size
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    for side in (height, width):
        if not isinstance(side, int) or not 0 < side <= MAX_SIDE_PX:
            raise SourceError(
                f"{name} asks for image_size={str(size)[:60]}, expected is 1 to {MAX_SIDE_PX} px.",
                hint="Check vision_config in its config.json.",
            )
    return channels, height, width


def _pipeline(place: hub.Place, size: InputSize) -> tuple[Pipeline, tuple[str, ...]]:
    """What the image processor does, and a note where its pictures are not of the model's size."""
    pipeline = pipeline_of(place.folder, channels=size[0])
    if pipeline.flips_channels:
        raise SourceError(
            f"The image processor of {place.name} gives BGR, and models of pictures and texts take RGB.",
            hint="Save the image processor of the model beside it.",
        )
    if pipeline.input_size in {None, size}:
        return pipeline, ()
    theirs, own = ("x".join(map(str, one[1:])) for one in (pipeline.input_size or size, size))
    return pipeline, (f"The image processor gives {theirs} px, and the model was made for {own}.",)


def _baked(
    model: Any, tokens: Mapping[str, Tensor], size: InputSize, activation: Activation, name: str
) -> nn.Module:
    """The classifier without the text half, once it gives the library's own scores for a picture of noise.

    Raises:
        SourceError: where it does not.
    """
    import torch

    picture = torch.randn((1, *size), generator=torch.Generator().manual_seed(SEED))
    try:
        with torch.no_grad():
            embeddings, theirs = _compared(model, tokens, picture)
            module = _classifier(model, embeddings, size)
            ours = module(picture)
    except Exception as error:  # a model of anybody's raises anything
        raise SourceError(
            f"{name} fails on the prompts and a picture of {'x'.join(map(str, size))}: {first_line(error)}",
            hint="Do its configuration, weights and tokenizer belong together?",
        ) from error
    squash = torch.sigmoid if activation == "sigmoid" else lambda logits: logits.softmax(dim=1)
    difference = float((squash(ours) - squash(theirs)).abs().max())
    if not difference <= _ALIKE:
        raise SourceError(
            f"The embeddings of {name} do not explain its scores: a probability differs by {difference:.2g}.",
            hint="Are its weights finite, and is its Transformers a version that edgeworthy knows?",
        )
    return module


def _compared(model: Any, tokens: Mapping[str, Tensor], picture: Tensor) -> tuple[Tensor, Tensor]:
    """The texts' normalised embeddings [prompts, dimensions], and the library's logits [1, prompts]."""
    import torch

    parts = [
        model(
            pixel_values=picture,
            return_dict=True,
            **{key: rows[start : start + _TOGETHER] for key, rows in tokens.items()},
        )
        for start in range(0, len(tokens["input_ids"]), _TOGETHER)
    ]
    embeddings = torch.cat([part.text_embeds for part in parts])
    return embeddings, torch.cat([part.logits_per_image for part in parts], dim=1)


def _classifier(model: Any, embeddings: Tensor, size: InputSize) -> nn.Module:
    """Logits = scale * cosine + bias, the texts' part of it in the weights of one linear layer."""
    import torch
    from torch import nn

    scale = 1 / model.temperature if hasattr(model, "temperature") else model.logit_scale.exp()
    texts, dimensions = embeddings.shape
    head = nn.Linear(dimensions, texts, bias=hasattr(model, "logit_bias"))
    with torch.no_grad():
        head.weight.copy_(embeddings * scale)
        if head.bias is not None:
            head.bias.copy_(model.logit_bias.expand(texts))
    projection = getattr(model, "visual_projection", None) or nn.Identity()
    return _with_head(model.vision_model, projection, head, size)


def _with_head(vision: nn.Module, projection: nn.Module, head: nn.Module, size: InputSize) -> nn.Module:
    """The picture half with a head; for pictures of another size it interpolates its positions.

    The class is made here, where torch is there, and must not see the whole model, or it would keep it alive.
    """
    from torch import nn

    class ZeroShotClassifier(nn.Module):
        """A picture's embedding, normalised, against those of the prompts."""

        def __init__(self) -> None:
            super().__init__()
            self.vision = vision
            self.projection = projection
            self.head = head
            taken = inspect.signature(vision.forward).parameters
            self.interpolates = "interpolate_pos_encoding" in taken

        def forward(self, picture: Tensor) -> Tensor:
            """Logits [1, prompts] for a normalised picture [1, C, H, W]."""
            details = {}
            if self.interpolates:
                details["interpolate_pos_encoding"] = tuple(picture.shape[-2:]) != size[1:]
            pooled = self.vision(pixel_values=picture, return_dict=True, **details).pooler_output
            embedding = self.projection(pooled)
            logits: Tensor = self.head(embedding / embedding.norm(p=2, dim=-1, keepdim=True))
            return logits

    return ZeroShotClassifier().eval()


def _class_names(prompts: tuple[str, ...]) -> tuple[ClassNames, tuple[str, ...]]:
    """The prompts as class names, and a note on those that the platform cannot carry as they are."""
    try:
        return ClassNames(prompts), ()
    except ClassNamesError:
        names = ClassNames.repaired(prompts)
    changed = [f"{old[:60]!r} is {new[:60]!r}" for old, new in zip(prompts, names, strict=True) if old != new]
    note = "Prompts that the platform cannot carry are embedded as typed, and named otherwise:"
    return names, (f"{note} {listed(changed)}.",)


def _same_to_the_model(prompts: Sequence[str], tokens: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A note on prompts that the tokenizer cannot tell apart."""
    first: dict[tuple[int, ...], int] = {}
    same = []
    for position, row in enumerate(tokens["input_ids"].tolist()):
        earlier = first.setdefault(tuple(row), position)
        if earlier != position:
            same.append(f"{prompts[earlier][:60]!r} and {prompts[position][:60]!r}")
    return (f"The model reads the same in {listed(same)}: their scores are always equal.",) if same else ()
