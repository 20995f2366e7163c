"""Plain files and folders: what they are decides how they are loaded."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.errors import CheckpointError, OptionError, SourceError, UntrustedPickleError
from edgeworthy.sources.base import SourceRequest, TrainedModel
from edgeworthy.sources.callables import importable
from edgeworthy.sources.checkpoint import module_in, read_content, state_in
from edgeworthy.sources.detection import Finding, examine
from edgeworthy.sources.dinat import mend_dinat_in
from edgeworthy.sources.programs import load_program, load_script
from edgeworthy.sources.timm_library import describe_timm
from edgeworthy.sources.torchvision_shim import mend_torchvision

if TYPE_CHECKING:
    from torch import Tensor

_FOLDERS = {"timm": "timm:local-dir:", "transformers": "hf:"}
_WEIGHTS = {"pickle", "safetensors"}
_ARCHITECTURES = "--arch timm:NAME, --arch torchvision:NAME or --arch path/to/file.py:callable"
_FIRST = 3


class FileAdapter:
    """A path that is there and names no callable."""

    def accepts(self, source: str) -> bool:
        """Paths of files and folders, whatever they hold."""
        return ".py:" not in source and _is_there(source)

    def load(self, request: SourceRequest) -> TrainedModel:
        """Look what the path holds, and load that.

        Raises:
            OptionError: where an option does not go with it, or the file is an ONNX model already.
            UntrustedPickleError: where loading it would run code.
            SourceError: where no model can be had from it.
        """
        path = Path(os.path.abspath(request.spec))  # noqa: PTH100  (a link's own name is the model's)
        found = examine(path)
        if found.kind == "onnx":
            raise OptionError(f"{path.name!r} is {found.what}.", hint=found.hint)
        if found.kind == "foreign":
            raise SourceError(f"{path.name!r} is {found.what}.", hint=found.hint)
        trained, what = _loaded(path, found, request)
        return dataclasses.replace(trained, notes=(f"{_shown(path)} is {what}.", *trained.notes))


def missing_path(source: str) -> bool:
    """Whether a text looks like the path of something that is not there."""
    prefix, colon, _ = source.partition(":")
    looks = bool(Path(source).suffix) or "/" in source or os.sep in source
    return looks and (not colon or len(prefix) == 1) and not _is_there(source)


def _shown(path: Path) -> str:
    """The last name alone; bytes that are no text are replaced, which the evidence could not carry."""
    return path.name.encode("utf-8", "replace").decode()


def _is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _loaded(path: Path, found: Finding, request: SourceRequest) -> tuple[TrainedModel, str]:
    """The model, and what the path turned out to be."""
    if found.kind in _FOLDERS:
        if request.arch:
            raise _needless("--arch", path, found.what)
        spec = f"{_FOLDERS[found.kind]}{path}"
        return _by_registry(dataclasses.replace(request, spec=spec)), found.what
    if found.kind in _WEIGHTS:
        return _weights(path, found, request)
    _stands_alone(path, found.what, request)
    if found.kind == "torchscript":
        return TrainedModel(module=load_script(path), name=_shown(path)), found.what
    if found.kind == "old program" and not request.trust_pickle:
        raise UntrustedPickleError(
            f"{path.name!r} is {found.what}, which loads as a pickle that may run code.",
            hint="Save it again with a newer torch; or, if you made it yourself, add --trust-pickle.",
        )
    module, size = load_program(path, trust=request.trust_pickle)
    return TrainedModel(module=module, name=_shown(path), input_size=size), found.what


def _by_registry(request: SourceRequest) -> TrainedModel:
    from edgeworthy.sources.registry import load_source

    return load_source(request)


def _weights(path: Path, found: Finding, request: SourceRequest) -> tuple[TrainedModel, str]:
    if request.checkpoint:
        raise OptionError(
            f"{path.name!r} is {found.what}, and --checkpoint gives weights, too.",
            hint=f"Name the architecture: {_ARCHITECTURES}.",
        )
    if request.arch:
        if _is_there(request.arch):
            raise OptionError(
                f"--arch {request.arch!r} is a file or folder, expected the source of an architecture.",
                hint=f"Give {_ARCHITECTURES}.",
            )
        asked = dataclasses.replace(request, spec=request.arch, checkpoint=path, arch=None)
        return _by_registry(asked), f"a file of weights for {request.arch}"
    mend_torchvision()  # what is unpickled may import it
    with importable(Path.cwd()):
        content = read_content(path, trust_pickle=request.trust_pickle)
    module = module_in(content)
    if module is None:
        raise _architecture_wanted(path, state_in(content, path)[0])
    what = f"a whole model of the class {type(module).__module__}.{type(module).__qualname__}"
    _stands_alone(path, what, request)
    return describe_timm(module, _shown(path), notes=mend_dinat_in(module)), what


def _architecture_wanted(path: Path, state: dict[str, Tensor]) -> CheckpointError:
    first = ", ".join(repr(key)[:60] for key in list(state)[:_FIRST])
    heads = [(key, tensor) for key, tensor in state.items() if tensor.ndim >= 2]
    last = f"; the last layer {heads[-1][0]!r} gives {heads[-1][1].shape[0]} outputs" if heads else ""
    return CheckpointError(
        f"{path.name!r} is a state dict of {len(state)} tensors (first: {first}){last}: weights alone.",
        hint=f"Name the architecture that they belong to: {_ARCHITECTURES}.",
    )


def _needless(option: str, path: Path, what: str) -> OptionError:
    return OptionError(f"{option} does not go with {path.name!r}: it is {what}.", hint=f"Drop {option}.")


def _stands_alone(path: Path, what: str, request: SourceRequest) -> None:
    """Refuse the options of sources that are put together from parts."""
    given: dict[str, Any] = {
        "--arch": request.arch,
        "--checkpoint": request.checkpoint,
        "--prompts": request.prompts,
        "--untrained": request.untrained,
    }
    for option, value in given.items():
        if value:
            raise _needless(option, path, what)
