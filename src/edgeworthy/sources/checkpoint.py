"""Weights from a file: read without running code, unwrapped, and loaded with every misfit named."""

from __future__ import annotations

import argparse
import io
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.errors import CheckpointError, MissingExtraError, UntrustedPickleError, first_line
from edgeworthy.sources.detection import UNKNOWN, examine, is_safetensors

if TYPE_CHECKING:
    from torch import Tensor, nn

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_WRAPPERS = (*_AVERAGED, "state_dict", "model_state_dict", "model", "module", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.")
_COUNTERS = {"n_averaged"}  # beside the weights of torch.optim.swa_utils.AveragedModel
_COUNTED = "num_batches_tracked"  # which older files lack
_FOR_TRAINING = re.compile(r"[^.]*(loss|criterion|metric|accuracy)[^.]*\.", re.I)
_MAX_DEPTH = 4
_SAVE = "Save the model's state_dict() and give that."
_ANEW = "Copy or download it again, or save the model's state_dict() anew and give that."
_GLOBAL = re.compile(r"GLOBAL (\S+)")  # in what torch's unpickler of weights alone refuses


def read_checkpoint(path: Path, *, trust_pickle: bool = False) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict inside a `.pth`, `.pt`, `.safetensors` or similar file, and notes on what was chosen.

    Averaged weights (EMA) are preferred to the raw ones beside them, as timm does; wrappers such as
    `state_dict` are opened; the prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile)
    are dropped when every key has them.

    Raises:
        UntrustedPickleError: where loading would run code and `trust_pickle` is not given.
        CheckpointError: where the file cannot be read, or holds no weights.
    """
    if not path.is_file():
        raise CheckpointError(f"The checkpoint {path} is not a file.", hint="Check --checkpoint.")
    return state_in(read_content(path, trust_pickle=trust_pickle), path)


def read_content(path: Path, *, trust_pickle: bool = False) -> Any:
    """What a file of weights holds, as it was saved.

    Raises:
        UntrustedPickleError: where loading would run code and `trust_pickle` is not given.
        CheckpointError: where the file cannot be read.
    """
    if path.suffix == ".safetensors" or is_safetensors(path):
        return _read_safetensors(path)
    return _read_pickle(path, trust_pickle)


def state_in(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict inside what `read_content` gave, and notes on what was chosen.

    Raises:
        CheckpointError: where there are no weights.
    """
    state, notes = _unwrap(content, path)
    return _strip_prefixes(state), notes


def module_in(content: Any) -> nn.Module | None:
    """The whole model inside what `read_content` gave, averaged ones first; None where there is none."""
    from torch import nn

    if isinstance(content, nn.Module):
        return content
    if not isinstance(content, Mapping):
        return None
    return next((content[key] for key in _WRAPPERS if isinstance(content.get(key), nn.Module)), None)


def part_for(own: Iterable[str], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The part of a state dict that an architecture's keys lie in, and notes on what was chosen.

    A module that trains, such as Lightning's, holds the network under a name of its own beside losses and
    metrics: `model.conv1.weight`. Where no such name makes all keys fit, or several do, or where something
    lies beside it that may have a part in the predictions, all is handed back.
    """
    keys = [key for key in own if not key.endswith(_COUNTED)]
    if not keys or all(key in state for key in keys):
        return state, ()
    names = {key.removesuffix(keys[0]) for key in state if key.endswith(f".{keys[0]}")}
    fitting = [name for name in names if all(name + key in state for key in keys)]
    name = fitting[0] if len(fitting) == 1 else ""
    others = [key for key in state if not key.startswith(name)]
    if not name or not all(map(_FOR_TRAINING.match, others)):
        return state, ()
    left = f" {_first('left out', others)}." if others else ""
    note = f"Of the checkpoint, what lies under {name.rstrip('.')!r} is used.{left}"
    part = {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
    return part, (note,)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load a state dict strictly.

    Raises:
        CheckpointError: naming the first missing, unexpected and mis-shaped keys.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith(_COUNTED)]
    unexpected = [key for key in state if key not in own]
    shaped = [
        f"{key} is {_shape(state[key])}, the architecture has {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    parts = [
        _first("missing", missing),
        _first("unexpected", unexpected),
        _first("mis-shaped", shaped),
    ]
    if missing or unexpected or shaped:
        raise CheckpointError(
            f"The checkpoint does not fit {name}: {'; '.join(part for part in parts if part)}.",
            hint="Name the architecture that it was trained with.",
        )
    module.load_state_dict(dict(state), strict=False)


def _first(kind: str, keys: list[str]) -> str:
    return f"{len(keys)} {kind} (first: {keys[0]})" if keys else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError("safetensors", "export") from error
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own untyped exceptions
        raise _misread(path, f"is no safetensors file, or is cut off: {error}.") from error


def _read_pickle(path: Path, trust_pickle: bool) -> Any:
    import torch

    with path.open("rb") as stream:
        begin = stream.read(2)
    if not trust_pickle and begin != b"PK" and begin[:1] != b"\x80":
        raise _misread(path, "is no checkpoint.")
    try:
        if trust_pickle:
            return _run(path, zipped=begin == b"PK")
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm's training script stores one
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        runs_code = "Unsupported" in str(error) or "Weights only load failed" in str(error)
        if trust_pickle or not runs_code:
            raise _misread(path, f"is no checkpoint: {first_line(error)}") from error
        raise UntrustedPickleError(
            f"{path.name} cannot be loaded without letting it run code: {_blocked(error)}.",
            hint="If you made the file yourself, or trust who did, add --trust-pickle.",
        ) from error
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path.name} needs Python code that is not to be found: {first_line(error)}.",
            hint="Run this in the folder where its module can be imported, or install that package.",
        ) from error
    except Exception as error:  # a cut-off archive raises almost anything
        reason = f"{type(error).__name__}: {first_line(error)[:160]}"
        raise _misread(path, f"is no checkpoint, or is cut off: {reason}") from error


class _Unpickler(pickle.Unpickler):
    """For what `pickle.dump` has written: brings the tensors in it to the CPU."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_from_bytes
        return super().find_class(module, name)


def _load_from_bytes(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)


def _run(path: Path, *, zipped: bool) -> Any:
    """What a pickle makes as it runs, once; `torch.save` has written it, or `pickle.dump`."""
    import torch

    if not zipped:
        with path.open("rb") as stream:
            content = _Unpickler(stream).load()
        if type(content) is not int or content != torch.serialization.MAGIC_NUMBER:
            return content
    return torch.load(path, map_location="cpu", weights_only=False)


def _misread(path: Path, reason: str) -> CheckpointError:
    """The error for a file that cannot be read as weights: what it is, where its content tells."""
    found = examine(path)
    if found.kind in {"pickle", "safetensors"}:
        return CheckpointError(f"{path.name} {reason}", hint=_ANEW)
    if found.what == UNKNOWN:
        return CheckpointError(f"{path.name} {reason}", hint=_SAVE)
    instead = f"Give it in the place of the architecture: edgeworthy export {path}"
    return CheckpointError(f"{path.name} is no checkpoint, it is {found.what}.", hint=found.hint or instead)


def _blocked(error: BaseException) -> str:
    named = _GLOBAL.search(str(error))
    if named:
        return f"it is or holds an object of the class or function {named.group(1)[:120]!r}"
    if "Unsupported operand" in str(error):
        return "it is written in a protocol of pickles that only running code can read"
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.strip().split(". ")[0].removeprefix("WeightsUnpickler error: ")[:160]
    return first_line(error)[:160]


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    from torch import Tensor, nn

    notes: list[str] = []
    for _ in range(_MAX_DEPTH):
        if isinstance(content, nn.Module):
            content = content.state_dict()
        if not isinstance(content, Mapping):
            break
        wrapper = next((key for key in _WRAPPERS if _holds_weights(content.get(key))), None)
        if wrapper is None:
            break
        if wrapper in _AVERAGED:
            notes.append(f"The checkpoint's averaged weights ({wrapper}) are used.")
        content = content[wrapper]
    if isinstance(content, Mapping):
        state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if state:
            return state, tuple(notes)
    raise CheckpointError(f"{path.name} holds no weights.", hint=_SAVE)


def _holds_weights(content: Any, depth: int = 2) -> bool:
    from torch import Tensor, nn

    if isinstance(content, nn.Module):
        return True
    if not isinstance(content, Mapping):
        return False
    values = content.values()
    return any(isinstance(v, Tensor) or (depth and _holds_weights(v, depth - 1)) for v in values)


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {key: value for key, value in state.items() if key not in _COUNTERS}
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
