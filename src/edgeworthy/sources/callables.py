"""A model of the user's own: `path/to/file.py:callable` or `package.module:callable`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeworthy.errors import SourceError, first_line
from edgeworthy.sources.base import SourceRequest, TrainedModel
from edgeworthy.sources.checkpoint import load_weights, part_for, read_checkpoint
from edgeworthy.sources.dinat import mend_dinat_if_loaded, mend_dinat_in
from edgeworthy.sources.timm_library import describe_timm
from edgeworthy.sources.torchvision_shim import mend_torchvision


class CallableAdapter:
    """Imports a file or module and calls what the source names; it must return an nn.Module."""

    def accepts(self, source: str) -> bool:
        """Everything with a name behind the last colon, and no other adapter's prefix before it."""
        place, colon, name = source.rpartition(":")
        return bool(colon and place) and name.isidentifier()

    def load(self, request: SourceRequest) -> TrainedModel:
        """Import, call, and load the checkpoint where one is given.

        Raises:
            SourceError: where the place cannot be imported or the callable gives no module.
        """
        place, _, name = request.spec.rpartition(":")
        mend_torchvision()  # before the user's own code imports it
        is_file = place.endswith(".py")
        with importable(Path(place).parent.resolve() if is_file else Path.cwd()):
            module = _import_file(Path(place)) if is_file else _import_module(place)
            mend_dinat_if_loaded()
            model = _build(module, name, request.spec)
        notes = mend_dinat_in(model)
        if request.checkpoint:
            whole, said = read_checkpoint(request.checkpoint, trust_pickle=request.trust_pickle)
            state, chosen = part_for(model.state_dict(), whole)
            notes += said + chosen
            load_weights(model, state, request.spec)
        source = f"{Path(place).name}:{name}" if is_file else request.spec
        return describe_timm(model, source, untrained=request.untrained, notes=notes)


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """With a folder first on the module search path, while the model is built, too."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SourceError(f"The file {path} is not there.", hint="Check the path before the colon.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SourceError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SourceError(f"{path} cannot be imported: {_reason(error)}") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise SourceError(
            f"The module {name!r} cannot be imported: {_reason(error)}",
            hint="Give a module that Python finds from here, or path/to/file.py:callable.",
        ) from error


def _build(module: ModuleType, name: str, source: str) -> Any:
    from torch import nn

    target = getattr(module, name, None)
    if target is None:
        named = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise SourceError(f"{source}: there is no {name!r}.", hint=f"It has: {', '.join(named[:8])}.")
    if isinstance(target, nn.Module):
        return target
    if not callable(target):
        raise SourceError(
            f"{source} is {type(target).__name__}, expected a callable that returns an nn.Module."
        )
    try:
        model = target()
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"Calling {source} failed: {_reason(error)}", hint="It is called without arguments."
        ) from error
    if not isinstance(model, nn.Module):
        raise SourceError(f"{source} returned {type(model).__name__}, expected a torch.nn.Module.")
    return model


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
