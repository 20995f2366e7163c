"""Where in a model's output the scores are: tensors, tuples, dicts, Hugging Face outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgeworthy.errors import NotAClassifierError

_LOGITS = "logits"  # the attribute of Hugging Face's outputs, and the usual key of dicts


@dataclass(frozen=True, slots=True)
class Accessor:
    """The way from a model's output to its tensor of scores, found once and then followed blindly.

    Following it looks at no shapes, which the TorchScript tracer would take for control flow.
    """

    steps: tuple[str | int, ...] = ()

    def __call__(self, output: Any) -> Tensor:
        """Follow it."""
        for step in self.steps:
            indexed = isinstance(output, Mapping | list | tuple)
            output = output[step] if indexed else getattr(output, str(step))
        row: Tensor = output.reshape(1, -1)
        return row


def find_scores(output: Any, classes: int | None) -> Accessor:
    """Find the scores in the output for one picture.

    Args:
        output: what the model returned.
        classes: number of class names, which decides between several candidates; None if unknown.

    Raises:
        NotAClassifierError: where no tensor, or no single one, has the shape [1, classes].
    """
    candidates = list(_tensors(output))
    rows = [(steps, tensor) for steps, tensor in candidates if _is_row(tensor)]
    if not rows:
        shapes = ", ".join(str(list(tensor.shape)) for _, tensor in candidates[:4])
        raise NotAClassifierError(
            f"For one picture the model returns {shapes or type(output).__name__}, expected [1, classes].",
            hint="Export the whole classifier with its head, not its features.",
        )
    for preferred in (
        [r for r in rows if r[0][-1:] == (_LOGITS,)],
        [r for r in rows if _width(r[1]) == classes],
    ):
        if len(rows) > 1 and len(preferred) == 1:
            rows = preferred
    if len(rows) > 1:
        shapes = ", ".join(f"{_place(steps)} {list(tensor.shape)}" for steps, tensor in rows[:4])
        raise NotAClassifierError(
            f"The model returns several tensors that may be its scores: {shapes}.",
            hint="Wrap it in a module that returns the scores alone.",
        )
    return Accessor(rows[0][0])


def _tensors(output: Any, steps: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Tensor]]:
    if isinstance(output, Tensor):
        return [(steps, output)]
    if len(steps) > 2:
        return []
    parts: list[tuple[str | int, Any]]
    if isinstance(output, Mapping):
        parts = [(key, value) for key, value in output.items() if isinstance(key, str)]
    elif isinstance(output, list | tuple):
        parts = list(enumerate(output))
    elif hasattr(output, _LOGITS):
        parts = [(_LOGITS, output.logits)]
    else:
        return []
    return [found for key, value in parts for found in _tensors(value, (*steps, key))]


def _is_row(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return False
    return (tensor.ndim == 2 and tensor.shape[0] == 1) or (tensor.ndim == 1 and tensor.numel() == 1)


def _width(tensor: Tensor) -> int:
    return max(tensor.shape[-1], 2)  # a single logit becomes two columns


def _place(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{step!r}]" for step in steps)
