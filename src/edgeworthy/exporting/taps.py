"""What each module of a trained model takes and gives while it runs, as sketches that fit into memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgeworthy.sketches import Sketch, Tap, sketch

_MARK = "_edgeworthy_tap"  # which tap a tensor is, and its version: a module may change it in place


def taps_of(module: nn.Module, runs: list[Callable[[], object]]) -> list[Tap]:
    """Let a module run several times, with the same modules called in the same order, and look at it.

    Args:
        module: whose modules are looked at.
        runs: each lets it run once.

    Returns:
        Taps in the order in which their values come to be; those that not every run has had are left out.
    """
    first, *others = [_one_run(module, run) for run in runs]
    kept = len(first)
    for other in others:
        same = (mine[:4] == theirs[:4] for mine, theirs in zip(first, other, strict=False))
        kept = min(
            kept, next((at for at, equal in enumerate(same) if not equal), min(len(first), len(other)))
        )
    return [
        Tap(
            module=name,
            given=given,
            before=before,
            size=size,
            sketches=(found, *(other[at][4] for other in others)),
        )
        for at, (name, given, before, size, found) in enumerate(first[:kept])
    ]


_Row = tuple[str, bool, tuple[int, ...], int, Sketch]


def _one_run(module: nn.Module, run: Callable[[], object]) -> list[_Row]:
    rows: list[_Row] = []

    def entered(value: Tensor, name: str, given: bool, before: tuple[int, ...]) -> int:
        mark = getattr(value, _MARK, None)
        if mark is not None and mark[1] == value._version:
            return int(mark[0])
        array = value.detach().float().numpy()
        rows.append((name, given, before, int(array.size), sketch(array)))
        with contextlib.suppress(AttributeError):
            setattr(value, _MARK, (len(rows) - 1, value._version))
        return len(rows) - 1

    def before(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: Any) -> None:
            taken[name] = tuple(entered(value, name, False, ()) for value in _tensors(inputs))

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: Any, output: Any) -> None:
            for value in _tensors(output):
                entered(value, name, True, taken.get(name, ()))

        return hook

    taken: dict[str, tuple[int, ...]] = {}
    with contextlib.ExitStack() as stack:
        for name, part in module.named_modules():
            with contextlib.suppress(RuntimeError):  # compiled modules take no hooks
                stack.callback(part.register_forward_pre_hook(before(name)).remove)
                stack.callback(part.register_forward_hook(after(name)).remove)
        run()
    return rows


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of numbers in what a module takes or gives."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.numel():
            yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)


def scores_tap(values: Any, moved: Any) -> Tap:
    """The scores that a person sees, for the picture and for it moved."""
    sketches = tuple(sketch(np.asarray(row)) for row in (values, moved))
    return Tap(module="", given=True, before=(), size=int(np.size(values)), sketches=sketches)
