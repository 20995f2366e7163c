"""Models whose weights no single file can hold: refused while they are made, before their memory is spent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import SourceError

_FLOAT32_BYTES = 4


def refuse_giant(name: str, size: int) -> None:
    """Stop where that many bytes of weights, or more, do not fit into one file.

    Raises:
        SourceError: with the size.
    """
    if size > MAX_FILE_BYTES:
        raise SourceError(
            f"The weights of {name} take at least {size / 2**30:.2f} GiB; one ONNX file holds under 2 GiB.",
            hint="Choose a smaller model.",
        )


@contextlib.contextmanager
def within_one_file(name: str) -> Iterator[None]:
    """Count the weights as they are made, in float32, and stop at the first one too many.

    Raises:
        SourceError: where they would not fit into one file.
    """
    from torch.nn.modules.module import register_module_parameter_registration_hook

    seen: dict[int, Any] = {}  # which keeps them alive, so that no number comes twice
    size = 0

    def count(module: Any, place: str, parameter: Any) -> None:
        nonlocal size
        if parameter is not None and id(parameter) not in seen:
            seen[id(parameter)] = parameter
            size += _FLOAT32_BYTES * parameter.numel()
            refuse_giant(name, size)

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
