"""A model of Transformers as a module from one picture to its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def logits_of(model: nn.Module, own_size: tuple[int, int] | None, *, flips_channels: bool) -> nn.Module:
    """Call a model by its keywords, and take the logits [1, classes] out of its output.

    Args:
        model: takes `pixel_values` and returns an output with `logits`.
        own_size: (height, width) beyond which the model interpolates its positions, or None where it has no
            such switch.
        flips_channels: whether the model takes BGR where the picture is RGB.
    """
    from torch import nn

    class LogitsOf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, picture: Tensor) -> Tensor:
            details = {}
            if own_size is not None and tuple(picture.shape[-2:]) != own_size:
                details["interpolate_pos_encoding"] = True
            if flips_channels:
                picture = picture[:, [2, 1, 0]]
            output = self.model(pixel_values=picture, return_dict=True, **details)
            found = "logits" if hasattr(output, "logits") else "last_hidden_state"  # the latter is PP-LCNet's
            logits: Tensor = getattr(output, found)
            return logits

    return LogitsOf()
