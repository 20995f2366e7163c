"""Operators that torch's exporters lack or get wrong, as others that they have, while a model is traced.

Sizes are static in the file, so what is linear along both sides of a picture is a product with two constant
matrices. Their values come from no formula of ours: torch's own operator is asked about the identity.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SIDES = 2  # of a picture


class Rewriting(TorchFunctionMode):
    """While active, functions of torch are replaced where an exporter could not write them.

    Let the module run once in eager mode under it: the constants that are made then are constants of the
    trace, which would otherwise hold their making.
    """

    def __init__(self) -> None:
        super().__init__()
        self._constants: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's value, by way of its replacement where there is one for these arguments."""
        replacement = _REPLACEMENTS.get(func)
        if replacement is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the TorchScript tracer warns of sizes that become numbers
                result = replacement(self, *args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))

    def along_both_sides(self, input: Tensor, key: Any, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of a picture [N, C, H, W] that is linear along both sides, as products with matrices."""
        height, width = int(input.shape[2]), int(input.shape[3])
        place = (key, height, width)
        if place not in self._constants:
            with torch.no_grad():
                flat = torch.ones(1, 1, height, width)
                rows = function(flat * torch.eye(height).reshape(height, 1, height, 1))[:, 0, :, 0]
                columns = function(flat * torch.eye(width).reshape(width, 1, 1, width))[:, 0, 0, :]
            self._constants[place] = rows.t().contiguous(), columns.contiguous()
        left, right = self._constants[place]  # [out, H] and [W, out]
        return left @ input @ right

    def triangle(self, rows: int, columns: int) -> Tensor:
        """Bool [rows, columns]: what lies on or below the diagonal."""
        place = ("triangle", rows, columns)
        if place not in self._constants:
            self._constants[place] = (torch.ones(rows, columns, dtype=torch.bool).tril(),)
        return self._constants[place][0]

    def one_hot_kernel(self, channels: int, sides: tuple[int, int]) -> Tensor:
        """[channels * h * w, 1, h, w]: each of a patch's values in its own place."""
        place = ("one hot", channels, sides)
        if place not in self._constants:
            area = sides[0] * sides[1]
            self._constants[place] = (torch.eye(area).reshape(area, 1, *sides).repeat(channels, 1, 1, 1),)
        return self._constants[place][0]


def _interpolate(  # noqa: PLR0917 - as torch's own
    rewriting: Rewriting,
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """Antialiased and nearest-exact resizing, which opset 17 does not have."""
    if input.ndim != 2 + _SIDES or not (antialias or mode == "nearest-exact"):
        return NotImplemented

    size = _numbers(size)
    how = (size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    key = ("interpolate", *map(str, how))
    return rewriting.along_both_sides(input, key, lambda picture: functional.interpolate(picture, *how))


def _numbers(size: Any) -> Any:
    """A size without the tensors that stand for numbers in a TorchScript trace."""
    if isinstance(size, list | tuple):
        return tuple(map(_numbers, size))
    return int(size) if isinstance(size, Tensor) else size


def _adaptive_avg_pool2d(rewriting: Rewriting, input: Tensor, output_size: Any) -> Any:
    """Windows of different sizes, where the output does not divide the input."""
    if input.ndim != 2 + _SIDES or _divides(input, output_size):
        return NotImplemented
    output_size = _numbers(output_size)
    key = ("adaptive_avg_pool2d", str(output_size))
    return rewriting.along_both_sides(
        input, key, lambda picture: functional.adaptive_avg_pool2d(picture, output_size)
    )


def _adaptive_max_pool2d(
    rewriting: Rewriting, input: Tensor, output_size: Any, return_indices: bool = False
) -> Any:
    """The largest value of windows of different sizes: window by window, rows first."""
    if input.ndim != 2 + _SIDES or return_indices or _divides(input, output_size):
        return NotImplemented
    for axis, wanted in zip((2, 3), _pair(output_size), strict=True):
        side = int(input.shape[axis])
        count = side if wanted is None else wanted
        starts = [index * side // count for index in range(count)]
        ends = [-(-(index + 1) * side // count) for index in range(count)]
        parts = [
            input.narrow(axis, start, end - start).amax(axis, keepdim=True)
            for start, end in zip(starts, ends, strict=True)
        ]
        input = torch.cat(parts, axis)
    return input


def _avg_pool2d(  # noqa: PLR0917 - as torch's own
    rewriting: Rewriting,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """A divisor of one's own, which dynamo's exporter forgets."""
    if divisor_override is None or ceil_mode:
        return NotImplemented
    height, width = _pair(kernel_size)
    mean = functional.avg_pool2d(input, kernel_size, stride, padding)
    return mean * (height * width / divisor_override)


def _fold(  # noqa: PLR0917 - as torch's own
    rewriting: Rewriting,
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Any:
    """Overlapping patches added up: a transposed convolution whose kernel puts each value in its place."""
    if input.ndim != 3:
        return NotImplemented
    sides, kernel, spread, pad, step = map(_pair, (output_size, kernel_size, dilation, padding, stride))
    places = [(sides[i] + 2 * pad[i] - spread[i] * (kernel[i] - 1) - 1) // step[i] + 1 for i in range(_SIDES)]
    rest = tuple(
        sides[i] - ((places[i] - 1) * step[i] - 2 * pad[i] + spread[i] * (kernel[i] - 1) + 1)
        for i in range(_SIDES)
    )
    area = kernel[0] * kernel[1]
    channels = int(input.shape[1]) // area
    return functional.conv_transpose2d(
        input.reshape(input.shape[0], channels * area, *places),
        rewriting.one_hot_kernel(channels, kernel),
        stride=step,
        padding=pad,
        output_padding=rest,
        groups=channels,
        dilation=spread,
    )


def _rms_norm(
    rewriting: Rewriting,
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Root mean square layer normalisation (Zhang and Sennrich, 2019), as torch defines it."""
    axes = tuple(range(-len(normalized_shape), 0))
    small = torch.finfo(input.dtype).eps if eps is None else eps
    normed = input * torch.rsqrt(input.square().mean(axes, keepdim=True) + small)
    return normed if weight is None else normed * weight


def _attention(  # noqa: PLR0917 - as torch's own
    rewriting: Rewriting,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(q k^T / sqrt(d) + mask) v of Vaswani et al., 2017, which opsets 12 and 13 cannot name."""
    if dropout_p or enable_gqa:
        return NotImplemented
    if is_causal:
        attn_mask = rewriting.triangle(int(query.shape[-2]), int(key.shape[-2]))
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(attn_mask.logical_not(), float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value


def _divides(input: Tensor, output_size: Any) -> bool:
    sides = zip(input.shape[2:], _pair(output_size), strict=True)
    return all(count is None or int(side) % count == 0 for side, count in sides)


def _pair(value: Any) -> tuple[Any, Any]:
    one, other = value if isinstance(value, tuple | list | torch.Size) else (value, value)
    return _numbers(one), _numbers(other)


_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    functional.interpolate: _interpolate,
    functional.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    functional.adaptive_max_pool2d: _adaptive_max_pool2d,
    functional.avg_pool2d: _avg_pool2d,
    functional.fold: _fold,
    functional.rms_norm: _rms_norm,
    functional.scaled_dot_product_attention: _attention,
    torch.rms_norm: _rms_norm,
}
