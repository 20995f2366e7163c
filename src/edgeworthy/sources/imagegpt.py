"""ImageGPT's classifiers, which take a colour token for each pixel, as models of one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgeworthy.errors import SourceError

if TYPE_CHECKING:
    from torch import Tensor, nn

KIND = "imagegpt"
NOTE = (
    "The model takes for each pixel the nearest of {} colours, the file pixels: where one lies between two "
    "colours, rounding may decide."
)
_CHANNELS = 3

Clusters = tuple[tuple[float, ...], ...]  # colours [n, 3], normalised as pixels are


def own_size(config: Any) -> tuple[int, int]:
    """(height, width) of the square that has a pixel for each of its positions, in px."""
    side = math.isqrt(config.n_positions)
    return side, side


def clusters_of(processor: Any) -> Clusters:
    """The colours of an image processor, in the order of their tokens; none where they are no colours."""
    import numpy as np

    try:
        colours = np.asarray(processor.clusters, dtype=np.float64)
    except (TypeError, ValueError):  # whatever somebody wrote
        return ()
    if colours.ndim != 2 or colours.shape[1] != _CHANNELS or not np.isfinite(colours).all():
        return ()
    return tuple(tuple(colour) for colour in colours.tolist())


def of_one_picture(model: nn.Module, config: Any, clusters: Clusters, name: str) -> nn.Module:
    """The model as a module from one normalised picture [1, 3, H, W] to its logits [1, classes].

    Pixels become tokens row by row, as its image processor does it: each the first of the nearest colours, by
    squared distance. That is summed channel by channel, so that no library chooses an order of its own, and
    not multiplied out as the processor does, which in single precision loses digits.

    Args:
        model: takes tokens [1, H * W].
        config: the model's.
        clusters: see `clusters_of`.
        name: of the model, for what is said to the user.

    Raises:
        SourceError: where the colours are missing, or more than the model knows.
    """
    import torch
    from torch import nn

    if not clusters:
        raise SourceError(
            f"{name} takes colour tokens in place of pixels, and its image processor has no clusters, which "
            "say which colour is which token.",
            hint="Save the image processor beside the model: preprocessor_config.json, with its clusters.",
        )
    if len(clusters) > config.vocab_size:
        raise SourceError(
            f"The image processor of {name} has {len(clusters)} clusters, "
            f"the model {config.vocab_size} tokens.",
            hint="Take the image processor that the model was trained with.",
        )

    class OfOnePicture(nn.Module):
        clusters: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("clusters", torch.tensor(clusters, dtype=torch.float32))

        def forward(self, picture: Tensor) -> Tensor:
            height, width = picture.shape[-2:]
            if height * width > config.n_positions:
                raise ValueError(f"{height}x{width} px are more than {config.n_positions} tokens.")
            output = self.model(
                input_ids=nearest(picture.flatten(2), self.clusters), use_cache=False, return_dict=True
            )
            logits: Tensor = output.logits
            return logits

    return OfOnePicture()


def nearest(pixels: Tensor, clusters: Tensor) -> Tensor:
    """Tokens [N, pixels] of pixels [N, 3, pixels] among colours [n, 3]."""
    red, green, blue = (pixels[:, at, :, None] - clusters[:, at] for at in range(_CHANNELS))
    return (red * red + green * green + blue * blue).argmin(dim=-1)
