"""A small configuration for each image classifier of Transformers: few layers, narrow, whole in kind."""

from __future__ import annotations

import math
from typing import Any

CLASSES = 4

_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
_WINDOWS = {
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
    "image_size": 32,
    "patch_size": 2,
}
_TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
_PAIR = {"vision_config": _VIT, "text_config": {**_TEXT, "vocab_size": 99}}

OVERRIDES: dict[str, dict[str, Any]] = {
    "beit": {**_VIT, "use_relative_position_bias": True},
    "bit": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "num_groups": 4},
    "clip": {**_PAIR, "projection_dim": 16},
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "cvt": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
    "data2vec-vision": {**_VIT, "use_relative_position_bias": True},
    "deit": _VIT,
    "dinat": {
        "embed_dim": 16,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "kernel_size": 3,
        "dilations": [[5], [2], [1], [1]],
    },
    "dinov2": {**_VIT, "mlp_ratio": 2},
    "dinov2_with_registers": {**_VIT, "mlp_ratio": 2, "num_register_tokens": 2},
    "donut-swin": _WINDOWS,
    "efficientnet": {
        "image_size": 32,
        "width_coefficient": 0.25,
        "depth_coefficient": 0.3,
        "hidden_dim": 320,
        "depth_divisor": 8,
    },
    "focalnet": {
        "image_size": 32,
        "embed_dim": 16,
        "depths": [1, 1],
        "focal_levels": [2, 2],
        "focal_windows": [3, 3],
    },
    "hgnet_v2": {
        "embedding_size": 8,
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 16, 24, 32],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [16, 24, 32, 40],
        "hidden_sizes": [16, 24, 32, 40],
        "depths": [1, 1, 1, 1],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [2, 2, 2, 2],
    },
    "hiera": {
        "image_size": [64, 64],
        "embed_dim": 16,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "mlp_ratio": 2.0,
    },
    "ijepa": _VIT,
    "imagegpt": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": 17},
    "levit": {
        "image_size": 64,
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [2, 3, 4],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
    },
    "metaclip_2": {**_PAIR, "projection_dim": 16},
    "mobilenet_v1": {"image_size": 32, "depth_multiplier": 0.25},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.35},
    "mobilevit": {
        "image_size": 64,
        "hidden_sizes": [16, 24, 32],
        "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 32],
    },
    "mobilevitv2": {"image_size": 64, "width_multiplier": 0.25},
    "perceiver": {
        "image_size": 32,
        "num_latents": 8,
        "d_latents": 32,
        "d_model": 32,
        "num_self_attends_per_block": 1,
        "num_cross_attention_heads": 1,
    },
    "poolformer": _STAGES,
    "pp_lcnet": {"scale": 0.25},
    "pvt": {
        "image_size": 64,
        "hidden_sizes": [16, 32, 48, 64],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "mlp_ratios": [2, 2, 2, 2],
    },
    "pvt_v2": {
        "image_size": 64,
        "hidden_sizes": [16, 32, 48, 64],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "mlp_ratios": [2, 2, 2, 2],
    },
    "regnet": {
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "groups_width": 8,
    },
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "segformer": {
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "mlp_ratios": [2, 2, 2, 2],
    },
    "siglip": _PAIR,
    "siglip2": {"vision_config": {**_TEXT, "patch_size": 8, "num_patches": 16}, "text_config": _TEXT},
    "swiftformer": {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 24, 32, 48]},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "textnet": {
        "stem_out_channels": 8,
        "hidden_sizes": [8, 8, 16, 16, 24],
        "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[3, 1]], [[1, 3]]],
        "conv_layer_strides": [[2], [2], [2], [2]],
        "image_size": [64, 64],
    },
    "timm_wrapper": {
        "architecture": "test_resnet",
        "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.4, 0.3]},
    },
    "vit": _VIT,
    "vit_msn": _VIT,
}


def small_config(model_type: str) -> Any:
    """A configuration of the model type with few and narrow layers, and `CLASSES` classes.

    Raises:
        KeyError: on a type that the table lacks.
    """
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **OVERRIDES[model_type], num_labels=CLASSES)


def small_side(config: Any) -> int:
    """The side in pixels of a square input that the configuration is meant for; 64 where it does not say."""
    if config.model_type == "imagegpt":
        return math.isqrt(config.n_positions)
    side = getattr(config, "image_size", None) or getattr(
        getattr(config, "vision_config", None), "image_size", 64
    )
    return int(side[0] if isinstance(side, list | tuple) else side)


def small_processor(config: Any) -> Any:
    """The image processor that a model cannot do without, from a fixed seed; None where it can."""
    if config.model_type != "imagegpt":
        return None
    import numpy as np
    from transformers import ImageGPTImageProcessor

    clusters = np.random.default_rng(7).uniform(-1, 1, (config.vocab_size - 1, 3))  # one starts a sequence
    side = small_side(config)
    return ImageGPTImageProcessor(clusters=clusters.tolist(), size={"height": side, "width": side})
