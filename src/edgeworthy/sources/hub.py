"""Models as the Hugging Face hub keeps them: fetched or found on this machine, read without their code."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.errors import CheckpointError, MissingExtraError, SourceError, first_line
from edgeworthy.labels import MAX_CLASSES
from edgeworthy.sources.base import INSTEAD
from edgeworthy.sources.checkpoint import read_checkpoint
from edgeworthy.sources.giants import refuse_giant
from edgeworthy.sources.torchvision_shim import mend_torchvision

if TYPE_CHECKING:
    from torch import Tensor, nn

_CONNECT_TIMEOUT_S = 5.0
_REPOSITORY = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_SETTINGS = ("*.json", "*.txt", "*.model")
_SAFE = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_MAX_JSON_BYTES = 64 * 2**20
_COUNTS = {"num_labels", "num_classes"}  # each makes as many entries in a dictionary
_LAYERS = re.compile(r"layers|depth|blocks|repeats")
_MAX_LAYERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model lies.

    Attributes:
        folder: on this machine.
        name: for the evidence: a repository with its revision, or a folder's last name.
    """

    folder: Path
    name: str


@contextlib.contextmanager
def offline_unless_reachable() -> Iterator[None]:
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


def import_transformers() -> Any:
    """The library.

    Raises:
        MissingExtraError: where it is not installed.
    """
    try:
        mend_torchvision()
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers") from error
    return transformers


def place_of(text: str, *, weights: bool) -> Place:
    """Find a folder, or fetch a repository `ORG/NAME[@REVISION]` from the hub or its local cache.

    Args:
        text: the folder or the repository.
        weights: whether they are wanted, besides the settings.

    Raises:
        SourceError: where there is neither, or no `config.json` in it.
    """
    folder = Path(text)
    match = _REPOSITORY.fullmatch(text)
    if text and folder.is_dir():
        place = Place(folder=folder, name=folder.resolve().name)
    elif match:
        place = Place(folder=_fetched(match["name"], match["revision"], weights), name=text)
    else:
        raise SourceError(
            f"{text!r} is neither a folder nor a repository of the hub.",
            hint="Give hf:ORG/NAME or hf:FOLDER.",
        )
    if not (place.folder / "config.json").is_file():
        raise SourceError(f"{place.name} has no config.json.", hint="Is it a model that Transformers saved?")
    return place


def read_config(place: Place) -> Any:
    """The model's configuration, as Transformers' own object.

    Raises:
        SourceError: where it is damaged, or asks for code, quantised weights or giant numbers.
    """
    from transformers import AutoConfig

    settings = _json(place.folder / "config.json", place)
    remote = settings.get("auto_map")
    if remote:
        raise SourceError(
            f"{place.name} asks for code of its own: auto_map in its config.json names "
            f"{', '.join(map(str, remote))[:120]}.",
            hint="edgeworthy never runs it. Load the model yourself, in a file.py:callable.",
        )
    if settings.get("quantization_config"):
        raise SourceError(
            f"{place.name} holds quantised weights.", hint="Give the model in float32, as it was before."
        )
    try:
        _refuse_giants(settings, place)
        return AutoConfig.from_pretrained(place.folder, trust_remote_code=False, local_files_only=True)
    except SourceError:
        raise
    except Exception as error:  # settings that anybody wrote
        raise SourceError(
            f"Transformers does not understand the config.json of {place.name}: {first_line(error)}",
            hint="Was it written by a later version of Transformers?",
        ) from error


def read_weights(place: Place, *, trust_pickle: bool = False) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights, safetensors before pickles, and notes.

    Raises:
        UntrustedPickleError: where loading would run code and `trust_pickle` is not given.
        CheckpointError: where there are none, or they cannot be read.
    """
    for name in (*_SAFE, *_PICKLED):
        path = place.folder / name
        if not path.is_file():
            continue
        if not name.endswith(".index.json"):
            return read_checkpoint(path, trust_pickle=trust_pickle)
        state: dict[str, Tensor] = {}
        for shard in _shards(path, place):
            state |= read_checkpoint(shard, trust_pickle=trust_pickle)[0]
        return state, ()
    raise CheckpointError(
        f"{place.name} holds no weights: none of {', '.join((*_SAFE, *_PICKLED))} is there.", hint=INSTEAD
    )


def build(architecture: Any, config: Any, name: str) -> nn.Module:
    """The architecture with random weights, in float32, its attention made of plain operators.

    Raises:
        SourceError: where the settings fit no model, or one that is too large for a file.
    """
    _sketch(architecture, config, name)
    model: nn.Module = _made(architecture, config)
    return model


def load(
    architecture: Any, config: Any, state: Mapping[str, Tensor], name: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The architecture with these weights, in float32, and notes on what was converted or left over.

    Raises:
        CheckpointError: naming the first missing and mis-shaped keys.
        SourceError: where the settings fit no model.
    """
    model, info = tried(architecture, config, state, name)
    missing = sorted(info["missing_keys"])
    shaped = [
        f"{key} is {_shape(file)}, the architecture has {_shape(own)}"
        for key, file, own in sorted(info["mismatched_keys"])
    ]
    kinds = {"missing": missing, "mis-shaped": shaped}
    parts = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in kinds.items() if keys]
    if parts:
        raise CheckpointError(
            f"The weights do not fit {name}: {'; '.join(parts)}.",
            hint="Transformers would fill in random numbers. Is it a fine-tuned classifier?",
        )
    return model, (*_halves(state), *_left_out(info["unexpected_keys"]))


def tried(
    architecture: Any, config: Any, state: Mapping[str, Tensor], name: str
) -> tuple[nn.Module, Mapping[str, Any]]:
    """The architecture with as many of these weights as fit, and Transformers' report on the others.

    Raises:
        SourceError: where the settings fit no model.
    """
    import torch

    _sketch(architecture, config, name)
    whole = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    try:
        model, info = architecture.from_pretrained(
            None,
            config=copy.deepcopy(config),
            state_dict=whole,
            dtype=torch.float32,
            attn_implementation="eager",
            ignore_mismatched_sizes=True,  # they are told in the report
            output_loading_info=True,
        )
    except Exception as error:
        raise CheckpointError(f"The weights do not fit {name}: {first_line(error)}", hint=INSTEAD) from error
    return model, info


def keys_of(architecture: Any, config: Any, name: str) -> list[str]:
    """Of the architecture's state dict.

    Raises:
        SourceError: where the settings fit no model.
    """
    return list(_sketch(architecture, config, name).state_dict())


def _sketch(architecture: Any, config: Any, name: str) -> nn.Module:
    """The architecture without memory for its weights, to learn whether and how large it can be."""
    import torch

    try:
        with torch.device("meta"):
            sketch: nn.Module = _made(architecture, config)
    except Exception as error:
        raise SourceError(
            f"Transformers cannot make {name!r}: {first_line(error)}", hint="Check its config.json."
        ) from error
    size = sum(part.numel() * part.element_size() for part in sketch.parameters())
    refuse_giant(name, size)
    return sketch


def _made(architecture: Any, config: Any) -> Any:
    import torch

    return architecture._from_config(copy.deepcopy(config), attn_implementation="eager", dtype=torch.float32)


def _halves(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    import torch

    halves = {str(v.dtype) for v in state.values() if v.is_floating_point() and v.dtype != torch.float32}
    listed = ", ".join(sorted(halves)).replace("torch.", "")
    return (f"The weights are {listed}, and are computed with in float32.",) if halves else ()


def _left_out(keys: Iterable[str]) -> tuple[str, ...]:
    left = sorted(keys)
    if not left:
        return ()
    return (f"{len(left)} weights are not part of the model and left out (first: {left[0]}).",)


def _shape(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))


def _fetched(name: str, revision: str | None, weights: bool) -> Path:
    """The folder of a repository in the cache, brought there as far as the hub can be reached."""
    from huggingface_hub import snapshot_download

    try:
        with offline_unless_reachable():
            folder = snapshot_download(name, revision=revision, allow_patterns=[*_SETTINGS])
            if weights:
                snapshot_download(name, revision=revision, allow_patterns=["model*.safetensors"])
                if not any(Path(folder).glob("model*.safetensors")):
                    snapshot_download(name, revision=revision, allow_patterns=["pytorch_model*.bin"])
    except Exception as error:  # the hub's many errors, and those of the HTTP library behind it
        away = type(error).__name__ in {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}
        reason = "it is not in the local cache, and the hub cannot be reached" if away else first_line(error)
        raise SourceError(f"{name!r} cannot be had from the hub: {reason}.", hint=INSTEAD) from error
    return Path(folder)


def _shards(index: Path, place: Place) -> list[Path]:
    """The files that an index names, each a plain name beside it."""
    names = _json(index, place).get("weight_map")
    listed = sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []
    if not listed or any(Path(name).name != name for name in listed):
        raise CheckpointError(f"{index.name} of {place.name} names no files beside it.", hint=INSTEAD)
    return [index.parent / name for name in listed]


def _json(path: Path, place: Place) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise SourceError(f"{path.name} of {place.name} is larger than {_MAX_JSON_BYTES >> 20} MiB.")
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} of {place.name} cannot be read: {first_line(error)}.") from error
    if not isinstance(fields, dict):
        raise SourceError(f"{path.name} of {place.name} is {type(fields).__name__}, expected an object.")
    return fields


def _refuse_giants(settings: Mapping[str, Any], place: Place) -> None:
    """Stop at numbers that would fill the memory, or take for ever, before the model's size can be told."""
    for key, value in _numbers("", settings):
        limit = MAX_CLASSES if key in _COUNTS else _MAX_LAYERS if _LAYERS.search(key) else sys.maxsize
        if value > limit:
            raise SourceError(
                f"The config.json of {place.name} asks for {key}={str(value)[:20]}, at most {limit} fits.",
                hint="Is the file damaged?",
            )


def _numbers(key: str, value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, int):
        yield key, value
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(key, part)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(name, part)
