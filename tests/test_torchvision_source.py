"""torchvision's classifiers: its own weights from a local cache, fine-tuned heads, and its own pipeline."""

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from edgeworthy import errors
from edgeworthy.images import frame_picture, normalise
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.torchvision_library import _described, frame_of
from edgeworthy.sources.torchvision_shim import mend_torchvision

mend_torchvision()
from torchvision import models  # noqa: E402

SPEC = "torchvision:squeezenet1_1"


def load(spec, **details):
    return load_source(SourceRequest(spec=spec, **details))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of torch's hub, where the weights would be had they been downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_weights_of_its_own_settle_everything(hub, offline):
    weights = models.SqueezeNet1_1_Weights.DEFAULT
    torch.manual_seed(1)
    state = models.squeezenet1_1(weights=None).state_dict()
    torch.save(state, hub / weights.url.rpartition("/")[2])
    trained = load(SPEC)
    assert trained.name == "torchvision:squeezenet1_1:IMAGENET1K_V1"
    assert (trained.input_size, len(trained.class_names)) == ((3, 224, 224), 1000)
    assert list(trained.class_names) == weights.meta["categories"]
    assert trained.normalization.mean == pytest.approx((123.675, 116.28, 103.53))
    assert trained.notes == ()
    for name, tensor in trained.module.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_without_a_cache_or_network_it_says_what_to_do(hub, offline):
    with pytest.raises(errors.SourceError, match=r"local cache.*--checkpoint"):
        load(f"{SPEC}:IMAGENET1K_V1")


@pytest.mark.parametrize("under", ["", "model."])
def test_a_fine_tuned_head_tells_the_number_of_classes(tmp_path, under):
    torch.manual_seed(2)
    tuned = models.squeezenet1_1(weights=None, num_classes=4)
    torch.save({f"{under}{key}": value for key, value in tuned.state_dict().items()}, tmp_path / "tuned.pth")
    trained = load(SPEC, checkpoint=tmp_path / "tuned.pth")
    assert trained.class_names is None  # nobody knows them
    assert trained.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    assert any("torchvision's own weights" in note for note in trained.notes)
    assert any("'model' is used" in note for note in trained.notes) == bool(under)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    torch.save(models.alexnet(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(errors.CheckpointError):
        load(SPEC, checkpoint=tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:squeezenet", "Did you mean: squeezenet1_1"),
        ("torchvision:fcn_resnet50", "no classifier named"),  # it segments
        ("torchvision:resnet50:V3", "There are: IMAGENET1K_V1, IMAGENET1K_V2"),
    ],
)
def test_an_unknown_name_gets_the_nearest(spec, message):
    with pytest.raises(errors.SourceError, match=message):
        load(spec)


def test_named_weights_and_others_exclude_each_other():
    with pytest.raises(errors.OptionError, match="Leave one out"):
        load(f"{SPEC}:IMAGENET1K_V1", untrained=True)


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_classifier_says_its_names_size_and_normalisation(name):
    described = _described(None, name, models.get_model_weights(name).DEFAULT, names=True)
    assert len(described.class_names) == 1000
    assert described.frame_at(described.input_size).height == described.input_size[1]
    assert described.notes == ()


@pytest.mark.parametrize("name", ["squeezenet1_1", "efficientnet_b1", "swin_t", "inception_v3"])
@pytest.mark.parametrize("picture", ["astronaut", "coffee", "rocket"])
def test_a_frame_is_what_torchvisions_own_transform_does(name, picture):
    """From the pixels to the model's input: other interpolations, sizes and ratios."""
    weights = models.get_model_weights(name).DEFAULT
    trained = load(f"torchvision:{name}", untrained=True)
    image = Image.fromarray(getattr(skimage.data, picture)())
    frame = trained.frame_at(trained.input_size)
    ours = normalise(frame_picture(image, frame), trained.normalization, "nchw")
    theirs = weights.transforms()(image)[None].numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_picture_covers_an_input_that_is_not_square():
    preset = models.SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()
    frame = frame_of(preset, (3, 100, 64))
    assert frame.describe() == "resize 114x73 (cover-round), crop 100x64, bilinear"
    for size in ((300, 300), (640, 480), (480, 640)):
        assert np.asarray(frame_picture(Image.new("RGB", size, "white"), frame)).min() == 255
    assert frame_of(preset, (3, 224, 224)).resize == 256
