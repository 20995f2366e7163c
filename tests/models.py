"""Small torch classifiers, one for every way in which a model can be awkward."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

NAMES = ("cat", "dog", "horse", "bird")
SIZE = (3, 20, 28)
OPTIONS: dict[str, Any] = {
    "classes": NAMES,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "input_size": SIZE,
}


class Tiny(nn.Module):
    """Convolution, BatchNorm, GELU, a residual branch, pooling that keeps places, and a linear head."""

    def __init__(self, classes: int = 4, channels: int = 3, padding: int = 1, branch: bool = True) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(channels, 8, 3, padding=padding)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.GELU()
        self.branch = nn.Conv2d(8, 8, 3, padding=1) if branch else None
        self.pool = nn.AdaptiveAvgPool2d((2, 2))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, classes)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.2, 0.2)
            self.norm.running_var.uniform_(0.5, 1.5)
            self.head.weight.mul_(4)

    def features(self, image: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(image)))
        if self.branch is not None:
            x = x + self.branch(x)
        return self.pool(x)

    def forward(self, image: Tensor) -> Any:
        return self.head(self.drop(self.features(image).flatten(1)))


class Probabilities(Tiny):
    """Applies softmax by itself."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(image).softmax(dim=1)


class Sigmoids(Tiny):
    """Applies a sigmoid to each class by itself."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(image).sigmoid()


class Tupled(Tiny):
    """Returns scores and features."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(image), self.features(image)


class Keyed(Tiny):
    """Returns a dict with two rows, one of them called logits."""

    def forward(self, image: Tensor) -> Any:
        scores = super().forward(image)
        return {"embedding": self.features(image).flatten(1), "logits": scores}


class HuggingFaceLike(Tiny):
    """Returns an object with logits."""

    def forward(self, image: Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(image), loss=None)


class Features(Tiny):
    """Returns a feature map."""

    def forward(self, image: Tensor) -> Any:
        return self.features(image)


class NotANumber(Tiny):
    """Divides by zero."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(image) / 0 * 0


class TwoInputs(Tiny):
    """Wants a second picture."""

    def forward(self, image: Tensor, other: Tensor) -> Any:
        return super().forward(image + other)


class Branching(Tiny):
    """Takes another road for bright pictures."""

    def forward(self, image: Tensor) -> Any:
        scores = super().forward(image)
        if image.mean() > 0.4:
            return scores.flip(1)
        return scores


class ShapeBranching(Tiny):
    """Looks at shapes alone, which tracing may bake in."""

    def forward(self, image: Tensor) -> Any:
        if image.shape[-1] > image.shape[-2]:
            image = image * int(image.shape[0])
        return super().forward(image)


class Noisy(Tiny):
    """Adds noise in eval mode."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(image) + torch.rand(1)


class Fourier(Tiny):
    """Uses an operator that no opset up to 17 can write from here."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(torch.fft.fft2(image).abs())


class Triangular(Tiny):
    """Uses an operator that torch's TorchScript exporter writes from opset 14 on."""

    def features(self, image: Tensor) -> Tensor:
        return super().features(image).tril()


class Attending(nn.Module):
    """Scaled dot product attention, which needs opset 14, and torch's own encoder layer."""

    def __init__(self, fast: bool = False) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.stem = nn.Conv2d(3, 16, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.fast = fast
        self.head = nn.Linear(16, 4)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.stem(image).flatten(2).transpose(1, 2)
        if not self.fast:
            tokens = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        else:
            tokens = self.layer(tokens)
        return 5 * self.head(tokens.mean(dim=1))


def narrow_resnet18() -> nn.Module:
    """A resnet18 with 64 channels everywhere: the same graph, and a file of 3 MB."""
    import timm

    return timm.create_model("resnet18", channels=(64,) * 4)


def tiny() -> nn.Module:
    """For sources of the form file:callable."""
    return Tiny()
