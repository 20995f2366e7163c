"""Random weights whose predictions depend on the picture, so that a proof on them proves something.

Libraries initialise residual branches to nothing (timm's resnet18: 8 of its 22 initialisers are all
zero), and plain random weights make many architectures nearly insensitive to their input.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeworthy.memory import large_pieces_given_back
from edgeworthy.probes import moved

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 20

_CALIBRATION_PICTURES = 8  # fewer of large ones, for memory and time, but
_FEWEST = 3
_CALIBRATION_PIXELS = 8 * 288**2
_CALIBRATION_BYTES = 100 << 20  # of the largest value on the way, of which a few live at once
_GRAINS = (1, 4, 16, 64)  # px
_BRIGHTNESS = (-2.2, 2.7)  # what ImageNet's mean and deviation make of black and white
_COLOUR = 0.3  # by which the channels' brightness differs
_LOGIT_STD = 3.0  # spread that makes softmax favour a few classes without saturating
_SPREADINGS = 3
_CLOSE = 0.01  # of that spread: near enough
_CLOSING = 0.25  # what a norm that began with nothing lets through: with 1, attention on attention is chaotic
_TINY = 1e-12
_QUERY_NORM = "q_norm.weight"  # as timm and Transformers name it
_CALM = 1e-4  # of that spread: what rounding a picture may move a logit by
_CALMINGS = 4
_ROUGH = 1e-3  # of that spread: what rounding a picture may move a logit by, where nothing can be calmed
_FAINT = 0.1  # a layer's deviation, and the part of it that tells pictures apart, below which it is scaled
_CONSTANT = 1e-4  # that part, below which a layer sees nothing of the pictures


def make_sensitive(module: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Replace zeros and ones by random values, keep the signal alive from layer to layer, spread the logits.

    Works in place, from a fixed seed; leaves the module in eval mode. BatchNorm is calibrated on noise. A
    layer whose outputs are far from unit variance, or the same for all pictures, is scaled and centred, in
    the order in which layers run (after Mishkin and Matas, All you need is a good init, 2016): Transformers'
    initialisation with a deviation of 0.02, for one, lets a deep network without skips fall silent. Attention
    that would amplify rounding is calmed.
    """
    import torch
    from torch import nn

    generator = _seeded()
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for name, parameter in module.named_parameters():
            if parameter.is_floating_point() and parameter.numel() and _is_flat(parameter):
                noise = torch.rand(parameter.shape, generator=generator)
                if not _is_scale(name, parameter):
                    parameter.copy_(0.2 * (noise - 0.5))
                else:
                    closes = parameter.ndim == 1 and not parameter.any()
                    parameter.copy_((0.5 + noise) * (_CLOSING if closes else 1.0))
        pictures = _pictures(module, input_size, generator)
        layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        large = len(pictures) < _CALIBRATION_PICTURES
        with large_pieces_given_back() if large else contextlib.nullcontext():
            with _kept_alive(layers):
                _calibrate(module, pictures)
            if layers:
                _spread(module, layers[-1], pictures)
                noise = torch.rand((2, *input_size), generator=generator)
                noise[1] = 4 * noise[1] - 2
                if _calmed(module, noise):
                    _spread(module, layers[-1], pictures)
                _soften(module, layers[-1], noise)


def _pictures(module: nn.Module, input_size: tuple[int, int, int], generator: Any) -> Tensor:
    """Noise [pictures, C, H, W] in blocks of 1, 4, 16 and 64 px, of different contrast, from black to white.

    White noise alone is averaged away by pooling and attention. A norm behind them that has seen nothing
    else, or nothing as bright, blows up what a flat picture leaves: on a white one, tf_efficientnet_b4's
    logits reached 70,000.
    """
    import torch

    channels, height, width = input_size
    count = max(_FEWEST, min(_CALIBRATION_PICTURES, _CALIBRATION_PIXELS // (height * width)))
    if count > _FEWEST:
        largest = _largest_bytes(module, torch.rand(1, *input_size, generator=_seeded()))
        count = max(_FEWEST, min(count, _CALIBRATION_BYTES // largest))
    noise = torch.zeros((count, *input_size))
    for side in _GRAINS:
        blocks = torch.randn((count, channels, -(-height // side), -(-width // side)), generator=generator)
        noise += torch.kron(blocks, torch.ones(side, side))[..., :height, :width]
    scales = torch.linspace(0.3, 2.0, count).reshape(-1, 1, 1, 1) / len(_GRAINS) ** 0.5
    brightness = torch.linspace(*_BRIGHTNESS, count)[torch.randperm(count, generator=generator)]
    colour = _COLOUR * torch.randn((count, channels, 1, 1), generator=generator)
    return noise.mul_(scales).add_(brightness.reshape(-1, 1, 1, 1) + colour)


def _seeded() -> Any:
    import torch

    return torch.Generator().manual_seed(SEED)


def _largest_bytes(module: nn.Module, picture: Tensor) -> int:
    """Of the values that a module computes on its way; halonet_h1's gathered keys take 26 MB a picture.

    What cannot be watched, such as operators of a higher order, is left out, with what follows.
    """
    import torch
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode

    own = {value.untyped_storage().data_ptr() for value in (*module.parameters(), *module.buffers())}
    largest = 1

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for value in result if isinstance(result, tuple | list) else (result,):
                plain = isinstance(value, Tensor) and value.layout == torch.strided
                if plain and value.untyped_storage().data_ptr() not in own:
                    largest = max(largest, value.untyped_storage().nbytes())
            return result

    module.eval()
    with contextlib.suppress(Exception), Watching():  # type: ignore[no-untyped-call]
        module(picture)
    return largest


def _is_flat(parameter: nn.Parameter) -> bool:
    first = parameter.flatten()[0]
    return bool((parameter == first).all())


@contextlib.contextmanager
def _kept_alive(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Meanwhile, a layer's first outputs are made neither faint nor loud, nor the same for every picture.

    What all pictures have in common tells nothing, but the norms that follow count it in, block by block: of
    the features of timm's csatv2, two thousandths were left to differ, and the head made up for it, rounding
    errors included. What differs takes its place, and the bias takes out of it what it can.
    """

    def scale(layer: Any, inputs: Any, options: Any, output: Any) -> Any:
        handles.pop(layer).remove()
        whole = float(output.std()) if output.numel() > 1 else 0.0
        if not whole > 0:  # or no number at all
            return output
        telling = _telling(output)
        blind = not _CONSTANT * whole <= telling < math.inf  # as where positions are embedded
        loud = whole if _FAINT <= whole <= 1 / _FAINT else 1.0
        if loud == whole and (blind or telling >= _FAINT * whole):
            return output
        axes = None if blind else _axes_but_channels(layer, output)
        if axes:  # without what the bias can take out
            whole = float(output.var(dim=axes, correction=0).mean().sqrt())
        factor = loud / (whole if blind else telling)
        factor = min(factor, 1 / (_FAINT * whole))  # or what is in common becomes too loud
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.mul_(factor)
        output = layer(*inputs, **options)  # a layer that standardises its weights is none the louder
        if axes:
            mean = output.mean(dim=axes, keepdim=True)
            layer.bias.sub_(mean.flatten())
            output = output - mean
        return output

    handles = {layer: layer.register_forward_hook(scale, with_kwargs=True) for layer in layers}
    try:
        yield
    finally:
        for handle in handles.values():
            handle.remove()


def _telling(output: Tensor) -> float:
    """The deviation of outputs [pictures, ...] from picture to picture, at the same place."""
    return float(output.var(dim=0).mean().sqrt()) if len(output) > 1 else float(output.std())


def _axes_but_channels(layer: Any, output: Tensor) -> list[int] | None:
    """The axes along which a layer's bias is the same; None without one, or where outputs lie otherwise."""
    from torch import nn

    channels = output.ndim - (1 if isinstance(layer, nn.Linear) else 3)
    axes = [axis for axis in range(output.ndim) if axis != channels]
    fits = layer.bias is not None and channels >= 0 and output.shape[channels] == layer.bias.numel()
    return axes if fits and axes else None


def _is_scale(name: str, parameter: nn.Parameter) -> bool:
    """Whether something is multiplied by it: it is 1 or another constant, or closes a branch with 0."""
    return bool(parameter.any()) or (parameter.squeeze().ndim < 2 and not name.endswith("bias"))


def _calibrate(module: nn.Module, pictures: Any) -> None:
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    module(pictures)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def _calmed(module: nn.Module, noise: Tensor) -> bool:
    """Weaken queries that have a norm of their own until rounding a picture moves the logits by little.

    Where queries of unit variance are not divided by the root of their width, as in Gemma 4, each place looks
    at one other place only. Trained norms see to that themselves; with random ones, attention on attention
    amplifies a rounding error ten thousandfold, and no file could be told from a wrong one.

    Args:
        module: its logits are spread already.
        noise: pictures of noise [2, C, H, W], of values 0..1, and of those that normalised ones hold.

    Returns:
        Whether it took that.
    """
    queries = [parameter for name, parameter in module.named_parameters() if name.endswith(_QUERY_NORM)]
    for turn in range(_CALMINGS):
        if not queries or _unrest(module, noise) <= _CALM * _LOGIT_STD:
            return turn > 0
        for weights in queries:
            weights.mul_(0.5)
    return True


def _soften(module: nn.Module, head: Any, noise: Tensor) -> None:
    """Scale the head down where rounding a picture moves the logits by much all the same.

    With random weights, each of the 64 GELUs of timm's convmixer_768_32 amplifies a difference by a tenth:
    the last digit of the pixels moves logits with a deviation of 3 by 0.008, probabilities by a thousandth.
    """
    from torch import Tensor

    unrest = _unrest(module, noise)
    if not _ROUGH * _LOGIT_STD < unrest < math.inf:
        return
    for values in (head.weight, head.bias):
        if isinstance(values, Tensor):
            values.mul_(_ROUGH * _LOGIT_STD / unrest)


def _unrest(module: nn.Module, pictures: Tensor) -> float:
    """What the last digit of each pixel moves the logits by."""
    import torch

    logits = _logits(module, pictures)
    others = _logits(module, torch.from_numpy(next(moved(pictures.numpy()))))
    return 0.0 if logits is None or others is None else float((others - logits).abs().max())


def _spread(module: nn.Module, head: Any, pictures: Any) -> None:
    """Scale and shift the head so that the logits differ from picture to picture.

    The features need one pass where the head's output is the model's. Where other heads add to it, one step
    does a part of it, and every look at the logits takes a pass.
    """
    import torch
    from torch import Tensor, nn

    if not isinstance(head.weight, Tensor):
        return
    fed: list[Any] = []
    handle = head.register_forward_hook(lambda layer, inputs, output: fed.append((inputs, output)))
    logits = _logits(module, pictures)
    handle.remove()
    alone = len(fed) == 1 and isinstance(fed[0][1], Tensor) and fed[0][1] is logits
    rerun, inputs = (head, fed[0][0]) if alone else (module, (pictures,))
    for _ in range(_SPREADINGS):
        if logits is None:
            return
        mean = logits.mean(dim=0)
        deviation = float((logits - mean).std())
        off = max(abs(deviation - _LOGIT_STD), float(mean.abs().max()))
        if off < _CLOSE * _LOGIT_STD:
            return
        if deviation > 0:
            head.weight.mul_(min(_LOGIT_STD / deviation, 1e4))
            logits = _logits(rerun, *inputs)
        if logits is None:
            return
        mean = logits.mean(dim=0)
        if isinstance(head.bias, Tensor) and mean.shape == head.bias.shape:
            head.bias.sub_(mean)
            logits = _logits(rerun, *inputs)
        elif head.bias is None and alone and isinstance(head, nn.Linear):
            features = inputs[0].mean(dim=0)  # what all pictures have in common is taken out of the weights
            head.weight.sub_(torch.outer(mean, features) / features.square().sum().clamp(min=_TINY))
            logits = _logits(rerun, *inputs)


def _logits(layer: nn.Module, *inputs: Any) -> Tensor | None:
    from torch import Tensor

    output = layer(*inputs)
    return output if isinstance(output, Tensor) and output.ndim == 2 else None
