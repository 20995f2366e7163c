"""Make torchvision importable beside a build of torch that its own extension was not made for.

torchvision registers operators on import and fails with "operator torchvision::nms does not exist"
when its extension cannot load. Image classification never calls them: declaring them is enough.
"""

from __future__ import annotations

import contextlib
from typing import Any

_KEPT: list[Any] = []  # a torch.library.Library takes its operators with it when it is collected

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> Any:
    """Import torchvision, with its missing operators declared where that is what it takes.

    Raises:
        ImportError: where it is not installed.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        _KEPT.append(library)
        for name in _OPERATORS:
            with contextlib.suppress(RuntimeError):
                library.define(name + _SIGNATURE)
        import torchvision
    return torchvision
