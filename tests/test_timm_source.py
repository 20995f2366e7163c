"""What timm's configurations settle, and what in them is no basis for anything."""

import json

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from edgeworthy.errors import EdgeworthyError, SourceError
from edgeworthy.settling import ExportOptions, settle
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.timm_names import names_of
from edgeworthy.sources.torchvision_shim import mend_torchvision

mend_torchvision()
import timm  # noqa: E402

SMALL = "test_resnet"
CLASSES = 3


def load(spec, **details):
    return load_source(SourceRequest(spec=spec, **details))


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(3)
    return timm.create_model(SMALL, num_classes=CLASSES).state_dict()


@pytest.fixture
def saved(tmp_path, weights):
    """Write a folder as timm saves it, with other settings, and load it."""

    def build(settings=None, **top):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        config = {"architecture": SMALL, "num_classes": CLASSES, **top}
        plain = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": CLASSES}
        (folder / "config.json").write_text(
            json.dumps({**config, "pretrained_cfg": {**plain, **(settings or {})}})
        )
        save_file(weights, folder / "model.safetensors")
        return load(f"timm:local-dir:{folder}")

    return build


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (["cat", "dog", "cow"], ("cat", "dog", "cow")),
        ({"2": "cow", "0": "cat", "1": "dog"}, ("cat", "dog", "cow")),
        (["cat", "dog", "cat"], ("cat", "dog", "cat (2)")),
        (["cat;dog", "a:b", "cow"], ("cat,dog", "a-b", "cow")),
    ],
)
def test_names_are_taken_in_the_order_of_their_numbers_and_mended(saved, listed, names):
    loaded = saved(label_names=listed)
    assert loaded.class_names.names == names
    assert any("Repeated" in note or "cannot carry" in note for note in loaded.notes) is (
        names != ("cat", "dog", "cow")
    )


@pytest.mark.parametrize(
    "listed",
    [{"0": "cat", "2": "cow", "3": "dog"}, "cat", 3, ["cat", "dog"], ["cat", 1, "dog"], {}, {"a": "b"}],
)
def test_a_list_that_is_none_gives_no_names_and_a_note(listed):
    names, notes = names_of({"label_names": listed}, CLASSES, own=False)
    assert names is None
    assert "not taken from label_names" in notes[0]


def test_synsets_are_named_by_their_descriptions(saved):
    described = {"n01": "cat", "n02": "dog", "n03": "cow"}
    assert saved(label_names=list(described), label_descriptions=described).class_names[2] == "cow"
    del described["n02"]
    assert saved(label_names=["n01", "n02", "n03"], label_descriptions=described).class_names[2] == "n03"


@pytest.mark.parametrize(
    ("tag", "classes", "first", "last"),
    [
        ("a1_in1k", 1000, "tench", "toilet tissue"),
        ("fb_in22k_ft_in1k_384", 1000, "tench", "toilet tissue"),
        ("in12k", 11821, "benthos", None),
        ("augreg_in21k", 21843, None, None),
        ("miil_in21k", 11221, None, None),
        ("ms_in22k", 21842, None, None),
        ("fb_in22k", 21841, None, None),
    ],
)
def test_the_imagenets_are_named_where_the_tag_says_which(tag, classes, first, last):
    names, notes = names_of({"tag": tag}, classes, own=True)
    assert len(names) == classes
    assert first is None or names[0] == first
    assert last is None or names[classes - 1] == last
    assert classes == 1000 or "told apart" in notes[0]
    assert names_of({"tag": tag}, classes, own=False) == (None, ())
    assert names_of({"tag": "mine"}, classes, own=True) == (None, ())
    assert names_of({"tag": tag}, 77, own=True) == (None, ())


@pytest.mark.parametrize("name", [SMALL, "tresnet_m", "repvgg_a0", "fastvit_t8", "crossvit_tiny_240"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_checkpoint_tells_channels_whatever_its_first_layer_is(tmp_path, name, channels):
    state = timm.create_model(name, num_classes=CLASSES, in_chans=channels).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    loaded = load(f"timm:{name}", checkpoint=tmp_path / "a.safetensors")
    assert loaded.input_size[0] == channels
    assert loaded.module.num_classes == CLASSES


def test_four_channels_are_refused_with_the_number(tmp_path):
    state = timm.create_model(SMALL, in_chans=4).state_dict()
    torch.save(state, tmp_path / "a.pth")
    loaded = load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")
    with pytest.raises(EdgeworthyError, match="takes 4 channels; the platform sends 1 or 3"):
        settle(loaded, ExportOptions(classes="imagenet-1k"))


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_pct": "x"},
        {"crop_pct": float("nan")},
        {"crop_pct": -1},
        {"crop_pct": 1e-9},
        {"input_size": [3, 64.5, 64]},
        {"input_size": [64, 64]},
        {"mean": "grey"},
        {"mean": 3},
        {"std": [0, 0, 0]},
        {"mean": [float("inf")] * 3},
    ],
)
def test_settings_that_nothing_can_come_of_end_in_an_error_of_ours(saved, settings):
    with pytest.raises(EdgeworthyError) as caught:
        settle(saved(settings), ExportOptions(classes=["a", "b", "c"]))
    assert caught.value.message
    assert "mine" not in caught.value.message or "/" not in caught.value.message


@pytest.mark.parametrize("settings", [{"interpolation": "random"}, {"crop_mode": "zoom"}])
def test_a_framing_that_is_not_known_is_left_out_and_told(saved, settings):
    loaded = saved(settings)
    assert loaded.frame_at is None
    assert any("not known" in note and next(iter(settings.values())) in note for note in loaded.notes)


def test_values_of_pixels_to_255_are_not_multiplied_again(saved):
    loaded = saved({"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]})
    assert loaded.normalization is None
    assert any("123.7" in note for note in loaded.notes)


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(SourceError, match="There is no folder"):
        load(f"timm:local-dir:{tmp_path / 'absent'}")


def test_models_without_a_head_get_one_to_try_the_road_and_are_refused_with_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    name = "vit_small_patch14_dinov2"
    loaded = load(f"timm:{name}", untrained=True)
    assert loaded.module.num_classes == 1000
    assert "head" in loaded.notes[0]

    def headless(*_, **__):
        model = timm.models.VisionTransformer(depth=1, num_classes=0)
        model.pretrained_cfg = {}
        return model

    monkeypatch.setattr(timm, "create_model", headless)
    with pytest.raises(SourceError, match=r"no classifier head.*--checkpoint"):
        load(f"timm:{name}")


def test_clips_embedding_is_not_taken_for_classes(monkeypatch):
    def clip(name, **_):
        model = timm.models.VisionTransformer(depth=1, num_classes=512)
        model.pretrained_cfg = timm.get_pretrained_cfg(name).to_dict()
        return model

    monkeypatch.setattr(timm, "create_model", clip)
    with pytest.raises(SourceError, match="picture embedding"):
        load("timm:vit_base_patch32_clip_224.openai")
