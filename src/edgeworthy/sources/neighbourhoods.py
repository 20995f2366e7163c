"""Neighbourhood attention in operators that every exporter writes: gathers by constant tables, and products.

A pixel attends to the kernel_size x kernel_size pixels around it (Hassani et al., Neighborhood Attention
Transformer, 2022, arXiv:2204.07143). With a dilation, these are the nearest ones whose row and column leave
the same remainders by it as the pixel's own (Hassani and Shi, Dilated Neighborhood Attention Transformer,
2022, arXiv:2209.15001). Near the border the window is shifted, not cut off, so that each pixel has equally
many neighbours. A bias belongs to each distance of rows and columns. Values are those of `natten2dqkrpb` and
`natten2dav` in NATTEN up to 0.17.4 (github.com/SHI-Labs/NATTEN, natten_cpu_commons.h).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 2**24  # values of neighbours that are gathered before they are used: 64 MiB in float32

Table = npt.NDArray[np.int64]


def attention_scores(query: Tensor, key: Tensor, biases: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """Products of each pixel's query with its neighbours' keys, and their biases.

    Args:
        query: [pictures, heads, height, width, channels], scaled.
        key: likewise.
        biases: [heads, 2 * kernel_size - 1, 2 * kernel_size - 1]; the middle one belongs to the pixel itself.
        kernel_size: neighbours along each side; odd.
        dilation: the distance between two of them, in pixels.

    Returns:
        Scores [pictures, heads, height, width, kernel_size ** 2], neighbours row by row.

    Raises:
        ValueError: where the kernel is even, or a side is shorter than the kernel with its dilation.
    """
    import torch

    pictures, heads, height, width, channels = map(int, query.shape)
    asked = query.reshape(pictures * heads, height * width, channels, 1)
    parts = [
        near @ asked[:, start:end]  # [pictures * heads, pixels, neighbours, 1]
        for start, end, near in _neighbours(key, kernel_size, dilation)
    ]
    scores = torch.cat(parts, dim=1).reshape(pictures, heads, height, width, kernel_size**2)
    return scores + _spread(biases, height, width, kernel_size, dilation)


def weighted_values(attention: Tensor, value: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """Sums of each pixel's neighbours' values.

    Args:
        attention: weights [pictures, heads, height, width, kernel_size ** 2], ordered as scores are.
        value: [pictures, heads, height, width, channels].
        kernel_size: see `attention_scores`.
        dilation: see `attention_scores`.

    Returns:
        Sums [pictures, heads, height, width, channels].

    Raises:
        ValueError: see `attention_scores`.
    """
    import torch

    pictures, heads, height, width, channels = map(int, value.shape)
    weights = attention.reshape(pictures * heads, height * width, 1, kernel_size**2)
    parts = [
        weights[:, start:end] @ near  # [pictures * heads, pixels, 1, channels]
        for start, end, near in _neighbours(value, kernel_size, dilation)
    ]
    return torch.cat(parts, dim=1).reshape(pictures, heads, height, width, channels)


@functools.lru_cache
def neighbours_of(side: int, kernel_size: int, dilation: int) -> Table:
    """Where along one side the neighbours of each place are: int64 [side, kernel_size], ascending.

    Raises:
        ValueError: where the kernel is even, or the side is shorter than the kernel with its dilation.
    """
    if kernel_size < 1 or kernel_size % 2 == 0 or dilation < 1:
        raise ValueError(
            f"Neighbourhood attention has kernel_size={kernel_size} and dilation={dilation}, expected an "
            "odd kernel_size and a dilation of 1 or more. Check the model's configuration."
        )
    if side < kernel_size * dilation:
        raise ValueError(
            f"A side of {side} is too short for neighbourhood attention, expected {kernel_size * dilation} "
            f"or more: kernel_size={kernel_size} times dilation={dilation}. Pad it, or take larger pictures."
        )
    table = np.empty((side, kernel_size), dtype=np.int64)
    for remainder in range(dilation):
        group = np.arange(remainder, side, dilation)
        centred = np.arange(len(group)) - kernel_size // 2
        first = centred.clip(0, len(group) - kernel_size)
        table[group] = group[first[:, None] + np.arange(kernel_size)]
    return table


@functools.lru_cache
def _pixels(height: int, width: int, kernel_size: int, dilation: int) -> Table:
    """The neighbours [height * width, kernel_size ** 2] of each pixel, pixels counted row by row."""
    rows = neighbours_of(height, kernel_size, dilation)
    columns = neighbours_of(width, kernel_size, dilation)
    table = rows[:, None, :, None] * width + columns[None, :, None, :]
    return table.reshape(height * width, kernel_size**2)


def _neighbours(values: Tensor, kernel_size: int, dilation: int) -> Iterator[tuple[int, int, Tensor]]:
    """Neighbours' values [pictures * heads, pixels, kernel_size ** 2, channels] of a bounded run of pixels.

    Yields:
        The first pixel of the run, the one behind its last, and the values.
    """
    import torch

    pictures, heads, height, width, channels = map(int, values.shape)
    table = _pixels(height, width, kernel_size, dilation)
    flat = values.reshape(pictures * heads, height * width, channels)
    step = max(1, _AT_ONCE // (pictures * heads * kernel_size**2 * channels))
    for start in range(0, height * width, step):
        run = table[start : start + step]
        at = torch.from_numpy(run.reshape(-1)).to(values.device)
        near = flat.index_select(1, at).reshape(pictures * heads, len(run), kernel_size**2, channels)
        yield start, start + len(run), near


def _spread(biases: Tensor, height: int, width: int, kernel_size: int, dilation: int) -> Tensor:
    """The bias of each neighbour of each pixel: [heads, height, width, kernel_size ** 2]."""
    rows, columns = (_distances(side, kernel_size, dilation, biases) for side in (height, width))
    chosen = biases.index_select(1, rows).index_select(2, columns)
    split = chosen.reshape(int(biases.shape[0]), height, kernel_size, width, kernel_size)
    return split.permute(0, 1, 3, 2, 4).reshape(int(biases.shape[0]), height, width, kernel_size**2)


def _distances(side: int, kernel_size: int, dilation: int, like: Tensor) -> Tensor:
    """Steps to the neighbours along one side, counted from 0: int64 [side * kernel_size]."""
    import torch

    table = neighbours_of(side, kernel_size, dilation)
    steps = (table - np.arange(side)[:, None]) // dilation + kernel_size - 1
    return torch.from_numpy(steps.reshape(-1)).to(like.device)
