"""Random weights whose predictions depend on the picture, so that a proof on them proves something.

Libraries initialise residual branches to nothing (timm's resnet18: 8 of its 22 initialisers are all
zero), and plain random weights make many architectures nearly insensitive to their input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

SEED = 20

_CALIBRATION_PICTURES = 8
_LOGIT_STD = 3.0  # spread that makes softmax favour a few classes without saturating


def make_sensitive(module: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Replace zeros and ones by random values, calibrate BatchNorm on noise, spread the head's logits.

    Works in place, from a fixed seed; leaves the module in eval mode.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.is_floating_point() and parameter.numel() > 1 and _is_flat(parameter):
                noise = torch.rand(parameter.shape, generator=generator)
                is_scale = parameter.ndim == 1 and not name.endswith("bias")
                parameter.copy_(0.5 + noise if is_scale else 0.2 * (noise - 0.5))
        pictures = torch.randn((_CALIBRATION_PICTURES, *input_size), generator=generator)
        scales = torch.linspace(0.3, 2.0, _CALIBRATION_PICTURES).reshape(-1, 1, 1, 1)
        offsets = torch.randn((_CALIBRATION_PICTURES, input_size[0], 1, 1), generator=generator)
        pictures = pictures * scales + offsets
        _calibrate(module, pictures)
        head = next(
            (m for m in reversed(list(module.modules())) if isinstance(m, nn.Linear | nn.Conv2d)), None
        )
        if head is not None:
            _spread(module, head, pictures)


def _is_flat(parameter: nn.Parameter) -> bool:
    first = parameter.flatten()[0]
    return bool((parameter == first).all())


def _calibrate(module: nn.Module, pictures: object) -> None:
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    with torch.no_grad():
        if norms:
            module(pictures)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def _spread(module: nn.Module, head: nn.Module, pictures: object) -> None:
    import torch

    with torch.no_grad():
        logits = module(pictures)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
            return
        centred = logits - logits.mean(dim=0)
        deviation = float(centred.std())
        if deviation > 0 and isinstance(head.weight, torch.Tensor):
            head.weight.mul_(min(_LOGIT_STD / deviation, 1e4))
            if isinstance(head.bias, torch.Tensor):
                mean = module(pictures).mean(dim=0)
                if mean.shape == head.bias.shape:
                    head.bias.sub_(mean)
