"""The proof catches what goes wrong between a model and its graph; here it goes wrong on purpose.

A fault is planted in what is traced, while the original stays sound. The models are untrained ones,
so this also shows that their weights are made sensitive enough to prove something.
"""

import copy
import warnings

import onnx
import pytest
import torch
from torch import nn

import edgeworthy
from edgeworthy import probes
from edgeworthy.contract import INPUT_NAME, Normalization, output_name
from edgeworthy.errors import NotConformantError, ParityError
from edgeworthy.exporting.tracing import TorchScriptExporter
from edgeworthy.labels import ClassNames
from edgeworthy.sources import untrained
from tests.factory import IMAGENET
from tests.models import NAMES, OPTIONS, SIZE, Probabilities, Tiny

CLASSES = [f"class {i}" for i in range(1000)]
FIRST = {"exporter": "torchscript"}  # the one that the fault is planted in; the other would mend it
SAMPLE = (
    "timm:test_nfnet",
    "timm:test_mambaout",
    "timm:test_coatnet",
    "timm:test_vit_relpos",
    "timm:test_byobnet",
    "timm:edgenext_xx_small",
    "timm:mobilenetv3_small_050",
    "torchvision:shufflenet_v2_x0_5",
)


@pytest.fixture
def plant(monkeypatch):
    """Change the module that is traced, and only that."""
    trace = TorchScriptExporter.trace

    def arrange(change):
        def faulty(self, classifier, *arguments):
            changed = copy.deepcopy(classifier)
            with torch.no_grad():
                assert change(changed), "the fault found no place"
            trace(self, changed, *arguments)

        monkeypatch.setattr(TorchScriptExporter, "trace", faulty)

    return arrange


def gelu_by_tanh(classifier):
    found = [
        (parent, name)
        for parent in classifier.modules()
        for name, part in parent.named_children()
        if type(part).__name__ == "GELU"  # timm has one of its own
    ]
    for parent, name in found:
        setattr(parent, name, nn.GELU(approximate="tanh"))
    return found


class Shifted(nn.Module):
    """A convolution whose padding is one pixel off."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        self.pads = conv.padding
        conv.padding = (0, 0)

    def forward(self, image):
        high, wide = self.pads
        return self.conv(nn.functional.pad(image, (wide + 1, wide - 1, high, high)))


def padding_off_by_one(classifier):
    for parent in classifier.modules():
        for name, part in parent.named_children():
            if isinstance(part, nn.Conv2d) and max(part.padding) > 0:
                setattr(parent, name, Shifted(part))
                return True
    return False


def last_branch_dropped(classifier):
    """The last residual branch of the last stage adds nothing."""
    scales = [
        part
        for name, part in classifier.named_modules()
        if name.endswith(("bn2", "bn3", "norm3")) and "layer" in name and hasattr(part, "weight")
    ]
    if scales:
        scales[-1].weight.zero_()
        scales[-1].bias.zero_()
    return scales


def one_channel_louder(classifier):
    """One output of the layer in the middle is 5 % larger."""
    layers = [part for part in classifier.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    middle = layers[len(layers) // 2]
    middle.weight[middle.weight.flatten(1).norm(dim=1).argmax()] *= 1.05
    return True


def mean_and_std_swapped(classifier):
    classifier.mean, classifier.std = classifier.std, classifier.mean
    return True


@pytest.mark.parametrize(
    ("source", "change", "options"),
    [
        ("timm:test_vit", gelu_by_tanh, {}),
        ("timm:convnext_atto", gelu_by_tanh, {}),
        ("timm:test_resnet", padding_off_by_one, {}),
        ("timm:test_efficientnet", padding_off_by_one, {}),
        ("timm:test_resnet", last_branch_dropped, {}),
        ("timm:resnet10t", last_branch_dropped, {}),
        ("timm:resnet10t", mean_and_std_swapped, {"normalization_in": "graph"}),
    ],
)
def test_a_planted_fault_is_caught_in_an_untrained_model(tmp_path, plant, source, change, options):
    plant(change)
    with pytest.raises(ParityError, match="on the probe"):
        edgeworthy.export(source, tmp_path / "m.onnx", untrained=True, classes=CLASSES, **FIRST, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", SAMPLE)
def test_a_channel_that_is_a_twentieth_too_loud_is_caught_in_any_family(tmp_path, plant, source):
    plant(one_channel_louder)
    with pytest.raises(ParityError, match="on the probe"):
        edgeworthy.export(source, tmp_path / "m.onnx", untrained=True, classes=CLASSES, **FIRST)


def test_a_planted_fault_is_caught_in_a_module(tmp_path, plant):
    plant(gelu_by_tanh)
    with pytest.raises(ParityError):
        edgeworthy.export(Tiny(), tmp_path / "m.onnx", **FIRST, **OPTIONS)


def test_sound_untrained_models_pass_and_their_predictions_move(tmp_path):
    for source in ("timm:test_vit", "timm:test_resnet"):
        artefact = edgeworthy.export(source, tmp_path / "m.onnx", untrained=True, classes=CLASSES, force=True)
        assert artefact.parity.verdict == "same"
        assert artefact.parity.spread > 0.1


def test_without_being_made_sensitive_a_dropped_branch_would_pass(tmp_path, plant, monkeypatch):
    """Why `--untrained` does more than draw random weights: timm starts residual branches at zero."""
    monkeypatch.setattr("edgeworthy.exporter.make_sensitive", lambda module, size: None)
    plant(last_branch_dropped)
    artefact = edgeworthy.export("timm:resnet10t", tmp_path / "m.onnx", untrained=True, classes=CLASSES)
    assert artefact.parity.verdict in {"same", "inconclusive"}


def test_a_wrong_normalisation_in_the_file_is_caught(tmp_path, monkeypatch):
    """The proof normalises as the file says, not as was meant."""
    right = Normalization.to_doc_string

    def swapped(self):
        return right(Normalization(mean=self.std, std=self.mean))

    with monkeypatch.context() as patched:
        patched.setattr(Normalization, "to_doc_string", swapped)
        with pytest.raises((ParityError, NotConformantError)) as caught:
            edgeworthy.export(Tiny(), tmp_path / "m.onnx", **OPTIONS)
    assert isinstance(caught.value, ParityError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opset", [12, 13, 14, 15, 16])
def test_a_sound_file_that_torch_wrote_alone_breaks_no_rule(tmp_path, opset):
    """No edgeworthy in its making: no evidence, no simplifying, names that are given by hand."""
    path = tmp_path / "m.onnx"
    model = Probabilities().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, *SIZE),),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=[output_name(ClassNames(NAMES))],
        )
    graph = onnx.load(path)
    graph.ir_version = min(graph.ir_version, 8)
    graph.graph.doc_string = IMAGENET.to_doc_string()
    onnx.save(graph, path)
    report = edgeworthy.check(path)
    unless_old = {"EW107"} if any(node.op_type == "Erf" for node in graph.graph.node) else set()
    assert {finding.code for finding in report.findings} == unless_old
    assert {skipped.code for skipped in report.skipped} <= {"EW210", "EW407", "EW504"}


def test_making_sensitive_repeats(tmp_path):
    first, second = Tiny(), Tiny()
    for model in (first, second):
        untrained.make_sensitive(model, (3, 20, 28))
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Staring(nn.Module):
    """Attention as in Gemma 4, whose queries and keys have norms and are not divided by their width."""

    def __init__(self, width=128, heads=2):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_norm, self.k_norm = nn.LayerNorm(width // heads), nn.LayerNorm(width // heads)

    def forward(self, tokens):
        parts = self.qkv(self.before(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = self.q_norm(parts[0]), self.k_norm(parts[1]), parts[2]
        seen = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return tokens + self.after(self.out(seen.transpose(1, 2).flatten(2)))


class Gazing(nn.Module):
    """Many of them in a row: a rounding error grows from one to the next."""

    def __init__(self, width=128, classes=5):
        super().__init__()
        torch.manual_seed(2)
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.looks = nn.Sequential(*[Staring(width) for _ in range(16)])
        self.head = nn.Linear(width, classes)

    def forward(self, image):
        return self.head(self.looks(self.patches(image).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("calms", [True, False])
def test_attention_on_attention_is_calmed_until_rounding_moves_little(calms, monkeypatch):
    if not calms:
        monkeypatch.setattr(untrained, "_calmed", lambda module, noise: False)
    model = Gazing().eval()
    untrained.make_sensitive(model, (3, 32, 32))
    picture = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(picture)
        moved = model(torch.from_numpy(next(probes.moved(picture.numpy()))))
    assert ((moved - logits).abs().max() < 2e-4) == calms  # 2e-5 and 1e-3
    assert logits.std() > 1


class Widening(nn.Module):
    """Makes so many times the picture's own values of it on the way, and remembers what it was shown."""

    def __init__(self, times, classes=4):
        super().__init__()
        torch.manual_seed(2)
        self.times, self.shown = times, []
        self.head = nn.Linear(3, classes)

    def forward(self, image):
        self.shown.append(image)
        return self.head(image.repeat(1, self.times, 1, 1).mean((2, 3))[:, :3])


@pytest.mark.parametrize(("times", "pictures"), [(1, 8), (260, 8), (400, 5), (4000, 3)])
def test_what_takes_much_memory_is_calibrated_on_fewer_pictures(times, pictures):
    model = Widening(times)  # of 49 kB a picture
    untrained.make_sensitive(model, (3, 64, 64))
    assert {len(images) for images in model.shown} == {1, pictures, 2}  # two that rounding is tried on
    calibrating = next(images for images in model.shown if len(images) > 1)
    assert len(calibrating) == pictures
    values = (calibrating - calibrating.mean((1, 2, 3), keepdim=True))[:, :, ::2]
    neighbours = (values[..., 1:] * values[..., :-1]).mean() / values.square().mean()
    assert neighbours > 0.5  # it is not white noise
    spread = model(calibrating) - model(calibrating).mean(0)
    assert 2 < spread.std() < 4


class Unwatched(Widening):
    """Has values that no memory can be asked of, and refuses to be watched on its first picture."""

    def forward(self, image):
        if not self.shown:
            self.shown.append(image)
            image.to_sparse().abs()
            raise ValueError("not like this")
        return super().forward(image)


def test_what_cannot_be_watched_is_calibrated_all_the_same():
    model = Unwatched(1)
    untrained.make_sensitive(model, (3, 64, 64))
    assert {len(images) for images in model.shown} == {1, 8, 2}
    assert model.shown[0].std() > 0.1  # one that is flat would spoil what is set by the first picture


class Silent(nn.Module):
    """Deep, without skips, and with initial weights in which the signal dies, as some libraries draw them."""

    def __init__(self, classes=4):
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.Sequential(*[nn.Conv2d(8 if i else 3, 8, 3, padding=1) for i in range(8)])
        self.gain = nn.Parameter(torch.zeros(8, 1, 1))
        self.head = nn.Linear(8, classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.normal_(part.weight, std=0.002)
                nn.init.zeros_(part.bias)

    def forward(self, image):
        return self.head((self.layers(image).relu() * self.gain).mean((2, 3)))


@pytest.mark.parametrize(("softens", "least"), [(False, 0.1), (True, 0.05)])
def test_a_signal_that_dies_on_its_way_is_kept_alive(monkeypatch, softens, least):
    if not softens:  # what keeps it alive also amplifies rounding, so that it speaks softly otherwise
        monkeypatch.setattr(untrained, "_soften", lambda *_: None)
    model = Silent().eval()
    pictures = torch.randn(8, 3, 20, 28, generator=torch.Generator().manual_seed(1))
    pictures *= torch.linspace(0.2, 3, 8).reshape(-1, 1, 1, 1)
    with torch.no_grad():
        assert model(pictures).std(dim=0).max() < 1e-6
        untrained.make_sensitive(model, (3, 20, 28))
        moved = model(pictures).softmax(dim=1)
    assert (moved.amax(0) - moved.amin(0)).max() > least
    assert not any(module._forward_hooks for module in model.modules())


class Common(nn.Module):
    """Block by block, norms count in what all pictures have in common; positions see no picture."""

    def __init__(self, classes=4):
        super().__init__()
        torch.manual_seed(2)
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.where = nn.Linear(1, 16)
        self.places = nn.Buffer(torch.linspace(-1, 1, 35)[:, None])
        self.blocks = nn.ModuleList([nn.Linear(16, 16) for _ in range(12)])
        self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(13)])
        self.head = nn.Linear(16, classes)
        for layer in self.blocks:
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.normal_(layer.bias, std=1)

    def features(self, image):
        tokens = self.stem(image).flatten(2).transpose(1, 2) + self.where(
            self.places.expand(len(image), -1, -1)
        )
        for norm, block in zip(self.norms, self.blocks, strict=False):
            tokens = block(norm(tokens))
        return self.norms[-1](tokens).mean(dim=1)

    def forward(self, image):
        return self.head(self.features(image))


def test_what_all_pictures_have_in_common_does_not_drown_what_differs():
    model = Common().eval()
    pictures = torch.randn(8, 3, 20, 28, generator=torch.Generator().manual_seed(1))

    def part() -> float:
        features = model.features(pictures)
        return float(features.std(dim=0).mean() / features.std())

    with torch.no_grad():
        assert part() < 1e-6
        where = model.where(model.places).clone()
        untrained.make_sensitive(model, (3, 20, 28))
        assert part() > 0.1
        assert torch.equal(model.where(model.places), where)
        assert model.blocks[0](model.norms[0](torch.randn(8, 35, 16))).std() < 3


class Patches(nn.Conv2d):
    """As some models flatten their first layer."""

    def forward(self, image):
        return super().forward(image).flatten(2).transpose(1, 2)


def normed(layer):
    return nn.utils.parametrizations.weight_norm(layer)


@pytest.mark.parametrize(
    ("layer", "common", "part", "loudness"),
    [
        (nn.Conv2d(8, 8, 1), 8.0, 0.9, 1.0),
        (nn.Conv2d(8, 8, 1), 40.0, 0.9, None),
        (nn.Conv2d(8, 8, 1, bias=False), 8.0, None, None),
        (nn.Conv2d(8, 8, 1, bias=False), 40.0, None, None),
        (normed(nn.Conv2d(8, 8, 1)), 8.0, 0.9, 0.0),
        (Patches(8, 8, 1), 2.0, None, None),
    ],
)
def test_a_layer_is_centred_where_it_can_be_and_never_made_loud(layer, common, part, loudness):
    """Its inputs are mostly the same for all pictures."""
    torch.manual_seed(3)
    for values in layer.parameters():
        values.data.copy_(torch.rand(values.shape) - 0.5)
    inputs = common + 0.02 * torch.randn(6, 8, 5, 5)
    with torch.no_grad():
        before = layer(inputs)
        with untrained._kept_alive([layer]):
            given = layer(image=inputs) if isinstance(layer, Patches) else layer(inputs)
        after = layer(inputs)
    assert torch.allclose(given, after, atol=0.01 * float(after.std()))
    assert after.std() < 10.1
    if isinstance(layer, Patches):  # scaled alone
        assert torch.allclose(after / after.std(), before / before.std(), rtol=1e-3, atol=1e-4)
        assert float(after.std() / before.std()) > 1.5
    if part:
        assert float(after.var(dim=0).mean().sqrt() / after.std()) > part
    if loudness is not None:
        assert float(after.std()) == pytest.approx(loudness * float(before.std()), rel=0.1, abs=0.1)


def test_a_layer_that_overflows_is_left_alone():
    layer = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        layer.weight.fill_(3e38)
        with untrained._kept_alive([layer]):
            layer(torch.randn(2, 3, 4, 4))
    assert (layer.weight == torch.tensor(3e38)).all()


def test_a_layer_whose_variance_overflows_is_brought_back():
    layer = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        layer.weight.fill_(1e30)
        with untrained._kept_alive([layer]):
            given = layer(torch.randn(2, 3, 4, 4))
    assert float(given.std()) == pytest.approx(1, rel=0.01)
