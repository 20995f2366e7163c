"""Does a model's control flow depend on what is in the picture?

The TorchScript tracer warns of every tensor that becomes a Python value, sizes included, and bakes in
the branch that one picture took. Here the model runs once in eager mode, where sizes are plain
integers, and values that derive from the picture are followed: only those matter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakIdKeyDictionary

_TO_PYTHON = {"_local_scalar_dense", "is_nonzero", "item", "equal", "allclose"}
_SHAPED_BY_VALUES = {"nonzero", "_unique", "_unique2", "unique_dim", "unique_consecutive", "masked_select"}
_TO_ARRAYS = {"numpy", "tolist", "__array__"}


class _Derived:
    """The tensors that derive from the picture."""

    def __init__(self, picture: Tensor) -> None:
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._known[picture] = True

    def any_of(self, values: Any) -> bool:
        return any(isinstance(value, Tensor) and value in self._known for value in tree_flatten(values)[0])

    def add(self, values: Any) -> None:
        for value in tree_flatten(values)[0]:
            if isinstance(value, Tensor):
                self._known[value] = True


class _Operators(TorchDispatchMode):
    """Follows the picture through every operator."""

    def __init__(self, derived: _Derived) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._derived = derived
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reached = self._derived.any_of((args, kwargs))
        result = func(*args, **(kwargs or {}))
        if reached:
            self._derived.add(result)
            self.found = self.found or func.overloadpacket.__name__ in _TO_PYTHON | _SHAPED_BY_VALUES
        return result


class _Calls(TorchFunctionMode):
    """Sees the conversions that never become an operator."""

    def __init__(self, derived: _Derived) -> None:
        super().__init__()
        self._derived = derived
        self.found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _TO_ARRAYS and self._derived.any_of(args):
            self.found = True
        return func(*args, **(kwargs or {}))


def reads_pixels(module: nn.Module, picture: Tensor) -> bool:
    """Whether a Python value is made from anything that derives from the picture [1, C, H, W]."""
    derived = _Derived(picture)
    operators, calls = _Operators(derived), _Calls(derived)
    with torch.no_grad(), operators, calls:
        module(picture)
    return operators.found or calls.found
