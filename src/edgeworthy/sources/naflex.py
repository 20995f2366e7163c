"""SigLIP 2's NaFlex classifiers, which take patches of a picture of any shape, as models of one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

KIND = "siglip2"
NOTE = (
    "The model takes each picture in its own proportions, the file at one size; for another one than a "
    "square: --input-size C H W, with as many patches or fewer."
)


def own_size(config: Any) -> tuple[int, int]:
    """(height, width) of the square that its position embeddings were made for, in px."""
    vision = config.vision_config
    side = math.isqrt(vision.num_patches) * vision.patch_size
    return side, side


def of_one_picture(model: nn.Module, config: Any) -> nn.Module:
    """The model as a module from one picture [1, C, H, W] to its logits [1, classes].

    Patches are laid out as its image processor does it: row by row, channels last. All of them belong to the
    picture, hence no mask; positions are resized to the picture's grid as the model resizes them.
    """
    import torch
    from torch import nn

    side = config.vision_config.patch_size

    class OfOnePicture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, picture: Tensor) -> Tensor:
            pictures, channels, height, width = picture.shape
            if height % side or width % side:
                raise ValueError(f"{height}x{width} px is no whole number of patches of {side} px.")
            grid = (height // side, width // side)
            cells = picture.reshape(pictures, channels, grid[0], side, grid[1], side)
            patches = cells.permute(0, 2, 4, 3, 5, 1).reshape(pictures, grid[0] * grid[1], -1)
            output = self.model(
                pixel_values=patches, pixel_attention_mask=None, spatial_shapes=grid, return_dict=True
            )
            logits: Tensor = output.logits
            return logits

    def positions(table: Tensor, grid: tuple[int, int], max_length: int) -> Tensor:
        """Position embeddings [1, patches, width] for one grid; the model itself asks a tensor for it."""
        planes = table.permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(
            planes, size=grid, mode="bilinear", align_corners=False, antialias=True
        )
        return resized.flatten(2).transpose(1, 2)

    vision: Any = model.vision_model
    vision.embeddings.resize_positional_embeddings = positions
    return OfOnePicture()
