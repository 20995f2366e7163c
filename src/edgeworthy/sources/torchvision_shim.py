"""Make torchvision importable beside a build of torch that its own extension was not made for.

torchvision registers operators on import and fails with "operator torchvision::nms does not exist"
when its extension cannot load. Image classification never calls them: declaring them is enough.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

_KEPT: list[Any] = []  # a torch.library.Library takes its operators with it when it is collected

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def mend_torchvision() -> None:
    """Declare the operators without which torchvision cannot be imported, where its extension cannot load.

    Call it before anything that may import torchvision; it imports torch alone, and does nothing
    where torchvision is not installed or is sound.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if _KEPT or spec is None or spec.origin is None or _loads(Path(spec.origin).parent):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    _KEPT.append(library)
    for name in _OPERATORS:
        with contextlib.suppress(RuntimeError):
            library.define(name + _SIGNATURE)


def _loads(folder: Path) -> bool:
    import torch

    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        extension = folder / f"_C{suffix}"
        if extension.exists():
            try:
                torch.ops.load_library(str(extension))
            except OSError:
                return False
            return True
    return hasattr(torch.ops.torchvision, _OPERATORS[0])
