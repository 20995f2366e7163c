"""What replaces the operators that torch's exporters lack: the same values, and files at the oldest opset."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from edgeworthy import export
from edgeworthy.exporting.rewriting import Rewriting
from tests.models import NAMES, OPTIONS, Tiny

CASES = {
    "antialiased": lambda x: functional.interpolate(x, (9, 13), mode="bilinear", antialias=True),
    "antialiased, bicubic": lambda x: functional.interpolate(x, (9, 31), mode="bicubic", antialias=True),
    "antialiased, by a factor": lambda x: functional.interpolate(
        x, scale_factor=1.7, mode="bilinear", antialias=True
    ),
    "nearest-exact": lambda x: functional.interpolate(x, (39, 43), mode="nearest-exact"),
    "mean of uneven windows": lambda x: functional.adaptive_avg_pool2d(x, (3, 5)),
    "mean of overlapping windows": lambda x: functional.adaptive_avg_pool2d(x, (33, None)),
    "largest of uneven windows": lambda x: functional.adaptive_max_pool2d(x, (7, None)),
    "divisor": lambda x: functional.avg_pool2d(x, (3, 2), 2, 1, divisor_override=5),
    "patches added up": lambda x: functional.fold(
        functional.unfold(x, 3, padding=1, stride=2), (20, 28), 3, padding=1, stride=2
    ),
    "patches with holes": lambda x: functional.fold(
        functional.unfold(x, (2, 3), dilation=2, stride=(3, 2)), (20, 28), (2, 3), dilation=2, stride=(3, 2)
    ),
    "root mean square": lambda x: functional.rms_norm(x, [20, 28], torch.linspace(0, 1, 560).view(20, 28)),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x.flip(2), x.flip(1)),
    "causal attention": lambda x: functional.scaled_dot_product_attention(x, x.flip(2), x, is_causal=True),
    "attention by a mask": lambda x: functional.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.ones(20, 20).triu().flip(0).bool(), scale=0.3
    ),
    "attention with a bias": lambda x: functional.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.arange(400.0).view(20, 20) / 100
    ),
}


LACKING = ("_aa", "exact", "adaptive", "col2im", "rms_norm", "scaled_dot", "tril")


class Unwritable(Tiny):
    """What neither exporter writes below opset 18 by itself, one behind the other."""

    def features(self, image):
        x = self.act(self.norm(self.conv(image)))
        rows, columns = x.shape[2] - 6, x.shape[3] - 13  # no numbers in a TorchScript trace
        x = functional.interpolate(x, (rows, columns), mode="bicubic", antialias=True)
        x = functional.interpolate(x, (21, 23), mode="nearest-exact")
        x = functional.adaptive_max_pool2d(x, (x.shape[2] // 2, 12)) + functional.adaptive_avg_pool2d(
            x, (x.shape[2] // 2, 12)
        )
        x = functional.fold(functional.unfold(x, 3, padding=1), (10, 12), 3, padding=1)
        x = functional.avg_pool2d(x, 3, 1, divisor_override=4)
        x = functional.rms_norm(x, [8, 10])
        return self.pool(functional.scaled_dot_product_attention(x, x, x))


class Operators(TorchDispatchMode):
    """Which operators run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def ran(case, x):
    with Operators() as operators, torch.no_grad():
        return CASES[case](x), operators.names


@pytest.mark.parametrize("case", CASES)
def test_a_replacement_gives_the_values_of_what_it_replaces(case):
    x = torch.randn(1, 8, 20, 28, generator=torch.Generator().manual_seed(1))
    expected, before = ran(case, x)
    with Rewriting():
        CASES[case](x)
        found, after = ran(case, x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if case not in ("divisor", "root mean square"):  # which torch itself makes of simpler ones
        assert any(name in " ".join(before) for name in LACKING)
    assert not any(name in " ".join(after) for name in LACKING)


@pytest.mark.parametrize(
    "plain",
    [
        lambda x: functional.interpolate(x, (9, 13), mode="bilinear"),
        lambda x: functional.adaptive_avg_pool2d(x, (10, 7)),
        lambda x: functional.adaptive_max_pool2d(x, (3, 5), return_indices=True)[0],
        lambda x: functional.avg_pool2d(x, 3, ceil_mode=True, divisor_override=2),
    ],
)
def test_what_exporters_can_write_is_left_alone(plain):
    x = torch.randn(1, 8, 20, 28)
    with Rewriting():
        found = plain(x)
    assert torch.equal(found, plain(x))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("opset", [12, 17])
def test_both_exporters_write_them_at_any_opset(tmp_path, exporter, opset):
    artefact = export(Unwritable(), tmp_path / "a.onnx", exporter=exporter, opset=opset, **OPTIONS)
    assert artefact.parity.verdict == "same"


def test_attention_masks_are_constants_where_they_are_constant(tmp_path):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            self.stem, self.head = nn.Conv2d(3, 16, 4, stride=4), nn.Linear(16, 4)

        def forward(self, image):
            tokens = self.stem(image).flatten(2).transpose(1, 2)
            tokens = functional.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True)
            return 9 * self.head(tokens.mean(1))

    for exporter in ("torchscript", "dynamo"):
        path = tmp_path / f"{exporter}.onnx"
        options = {**OPTIONS, "input_size": (3, 16, 16), "classes": NAMES}
        assert export(Masked(), path, exporter=exporter, opset=12, **options).parity.verdict == "same"


class ClampedTwice(Tiny):
    """Its features between two pairs of bounds that are buffers."""

    def __init__(self):
        super().__init__()
        for name, bound in (("low", -0.2), ("high", 0.3), ("lower", -0.1), ("higher", 0.6)):
            self.register_buffer(name, torch.tensor(bound))

    def forward(self, image):
        scores = super().forward(image)
        first = torch.clamp(scores, self.low, self.high)
        return 3 * first - torch.clamp(scores, self.lower, self.higher)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_what_is_clamped_twice_keeps_both_pairs_of_bounds(tmp_path, exporter):
    """One of them is lost by onnxscript."""
    artefact = export(ClampedTwice(), tmp_path / "m.onnx", exporter=exporter, **OPTIONS)
    assert artefact.parity.verdict == "same"
