"""Transformers' classifiers: from folders and the hub's cache, with their own names and preprocessing."""

import json
import pickle

import numpy as np
import pytest
import skimage.data
import torch
from benchmarks.small_configs import small_config, small_side
from huggingface_hub import constants
from PIL import Image

import edgeworthy
from edgeworthy import errors
from edgeworthy.images import frame_picture
from edgeworthy.silence import quiet
from edgeworthy.sources import image_processors
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.image_processors import pipeline_of
from edgeworthy.sources.imagegpt import nearest
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.torchvision_shim import mend_torchvision
from tests.test_sources import fill

mend_torchvision()
import transformers  # noqa: E402
from transformers import AutoModelForImageClassification as Classifier  # noqa: E402

NAMES = ["tabby cat", "dog", "teapot", "banana"]


def load(spec, **details):
    with quiet():
        return load_source(SourceRequest(spec=f"hf:{spec}", **details))


def vit(**details):
    config = small_config("vit")
    config.id2label = dict(enumerate(NAMES))
    for key, value in details.items():
        setattr(config, key, value)
    torch.manual_seed(5)
    return Classifier.from_config(config).eval()


def picture(side=32, channels=3):
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(6))


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path):
    """A classifier as `save_pretrained` leaves it, with its image processor."""
    place = tmp_path / "private" / "cats"
    with quiet():
        vit().save_pretrained(place)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(place)
    return place


def test_a_folder_settles_everything(folder):
    trained = load(folder)
    assert trained.name == "hf:cats"
    assert list(trained.class_names) == NAMES
    assert trained.input_size == (3, 32, 32)
    assert trained.normalization.mean == pytest.approx((127.5,) * 3)
    assert trained.frame_at((3, 32, 32)).mode == "stretch"
    assert (trained.activation, trained.untrained, trained.notes) == (None, False, ())
    with torch.no_grad():
        theirs = Classifier.from_pretrained(folder)(picture()).logits
        assert torch.allclose(trained.module(picture()), theirs, atol=1e-5)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def copies(folder):
    return {
        path.name: lambda target, path=path: target.write_bytes(path.read_bytes())
        for path in folder.iterdir()
    }


def test_a_repository_comes_from_the_hubs_cache(hub, folder):
    fill(hub, "me/cats", copies(folder))
    trained = load("me/cats")
    assert trained.name == "hf:me/cats"
    assert list(trained.class_names) == NAMES
    assert torch.equal(trained.module(picture()), load(folder).module(picture()))


def test_a_revision_is_a_part_of_the_name(hub, folder):
    fill(hub, "me/cats", copies(folder))
    (hub / "models--me--cats" / "refs" / "v2").write_text("abc")
    assert load("me/cats@v2").name == "hf:me/cats@v2"
    with pytest.raises(errors.SourceError, match=r"local cache.*--checkpoint FILE"):
        load("me/cats@v3")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("me/dogs", r"'me/dogs' cannot be had from the hub.*local cache.*--untrained"),
        ("/absent/folder", "neither a folder nor a repository"),
        ("me/cats/dogs", "neither a folder nor a repository"),
        ("", "neither a folder nor a repository"),
    ],
)
def test_what_cannot_be_had_says_so(hub, spec, message):
    with pytest.raises(errors.SourceError, match=message):
        load(spec)


def test_random_weights_need_the_configuration_alone(folder):
    (folder / "model.safetensors").unlink()
    first, second = (load(folder, untrained=True) for _ in range(2))
    assert first.untrained
    assert torch.equal(first.module(picture()), second.module(picture()))
    with pytest.raises(errors.CheckpointError, match=r"cats holds no weights.*--untrained"):
        load(folder)


def test_a_missing_head_is_an_error_and_not_random_numbers(tmp_path):
    with quiet():
        vit().vit.save_pretrained(tmp_path / "body")
    with pytest.raises(errors.CheckpointError, match=r"2 missing \(first: classifier.bias\).*fine-tuned"):
        load(tmp_path / "body")


def test_mis_shaped_weights_are_named(folder):
    edit(folder / "config.json", intermediate_size=64)
    with pytest.raises(
        errors.CheckpointError, match=r"6 mis-shaped \(first: \S+ is 48, the architecture has 64"
    ):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_single(tmp_path, dtype):
    with quiet():
        vit().to(dtype).save_pretrained(tmp_path / "half")
    trained = load(tmp_path / "half")
    assert {value.dtype for value in trained.module.state_dict().values()} == {torch.float32}
    assert any(str(dtype).removeprefix("torch.") in note for note in trained.notes)
    with torch.no_grad():
        theirs = vit().to(dtype).float()(picture()).logits
        assert torch.allclose(trained.module(picture()), theirs, atol=1e-5)


def test_shards_are_joined(tmp_path, folder):
    with quiet():
        vit().save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    assert torch.equal(load(tmp_path / "shards").module(picture()), load(folder).module(picture()))
    edit(
        tmp_path / "shards" / "model.safetensors.index.json",
        weight_map={"a": "../private/cats/model.safetensors"},
    )
    with pytest.raises(errors.CheckpointError, match="names no files beside it"):
        load(tmp_path / "shards")


class Bomb:
    """A pickle that runs code when it is loaded."""

    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_a_pickle_is_read_without_running_it(folder):
    whole = load(folder).module(picture())
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch.save(vit().state_dict(), path)
    assert torch.equal(load(folder).module(picture()), whole)
    torch.save({**vit().state_dict(), "extra": Bomb()}, path)
    with pytest.raises(errors.UntrustedPickleError, match=r"letting it run code.*--trust-pickle"):
        load(folder)
    assert not Bomb.exploded
    load(folder, trust_pickle=True)
    assert Bomb.exploded


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights_say_so(folder, name):
    if name.endswith("bin"):
        (folder / "model.safetensors").unlink()
        torch.save(vit().state_dict(), folder / name)
    whole = (folder / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello", pickle.dumps("hello", protocol=2)):
        (folder / name).write_bytes(content)
        with pytest.raises(errors.CheckpointError, match=name):
            load(folder)


@pytest.mark.parametrize("under", ["", "model."])
def test_a_checkpoints_head_tells_the_number_of_classes(tmp_path, folder, under):
    tuned = vit(num_labels=7)
    state = {f"{under}{key}": value for key, value in tuned.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "tuned.pth")
    trained = load(folder, checkpoint=tmp_path / "tuned.pth")
    with torch.no_grad():
        assert torch.allclose(trained.module(picture()), tuned(picture()).logits, atol=1e-5)
    assert trained.class_names is None  # nobody knows them
    assert any("those of cats" in note for note in trained.notes)
    assert any("'model' is used" in note for note in trained.notes) == bool(under)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, folder):
    other = Classifier.from_config(small_config("resnet"))
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(errors.CheckpointError, match=r"unexpected \(first: classifier.1.bias"):
        load(folder, checkpoint=tmp_path / "other.pth")


def test_placeholders_are_no_names(folder):
    edit(folder / "config.json", id2label={str(i): f"LABEL_{i}" for i in range(4)})
    assert load(folder).class_names is None


def test_names_that_the_platform_cannot_carry_are_mended_and_told(folder):
    edit(folder / "config.json", id2label={"0": "cat;dog", "1": "a\nb", "2": "crane", "3": "crane"})
    trained = load(folder)
    assert list(trained.class_names) == ["cat,dog", "a b", "crane", "crane (3)"]
    assert any("'crane'" in note for note in trained.notes)
    assert any("'cat;dog', 'a\\nb'" in note for note in trained.notes)


@pytest.mark.parametrize(
    "labels", [{"0": "a", "1": "b", "2": "c", "9": "d"}, {"0": "a", "1": ["b"], "2": "c", "3": None}]
)
def test_labels_that_are_no_texts_in_a_row_are_no_names(folder, labels):
    edit(folder / "config.json", id2label=labels)
    trained = load(folder)
    assert trained.class_names is None
    assert any("id2label" in note for note in trained.notes)


def test_a_multi_label_model_gets_sigmoids(folder):
    edit(folder / "config.json", problem_type="multi_label_classification")
    assert load(folder).activation == "sigmoid"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoConfig": "mine.MyConfig"}}, r"asks for code of its own.*never runs it"),
        ({"problem_type": "regression"}, "it gives numbers, no classes"),
        ({"model_type": "bert"}, "is a 'bert' model, and Transformers has no image classifier of that type"),
        ({"model_type": "no_such_model"}, "does not understand the config.json"),
        ({"model_type": 5}, "does not understand the config.json"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights"),
        ({"num_labels": 10**9}, "num_labels=1000000000"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers=10000000"),
        ({"hidden_size": 10**6, "intermediate_size": 10**6}, r"GiB"),
        ({"hidden_size": 10**15}, r"cannot make|GiB|does not understand"),
        ({"hidden_size": "many"}, r"cannot make|does not understand"),
        ({"patch_size": 0}, r"cannot make"),
        ({"hidden_act": "no such function"}, r"cannot make"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, "one text for each class with --prompts"),
    ],
)
def test_a_configuration_that_is_no_classifiers_is_refused(folder, changes, message):
    edit(folder / "config.json", **changes)
    for untrained in (True, False):
        with pytest.raises(errors.SourceError, match=message):
            load(folder, untrained=untrained)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00\x01", "[" * 100_000, '"vit"'])
def test_a_damaged_configuration_says_so(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(errors.SourceError, match=r"config\.json of cats"):
        load(folder)


def test_prompts_are_for_models_of_pictures_and_texts(folder):
    with pytest.raises(errors.OptionError, match=r"'vit' model, and takes no prompts"):
        load(folder, prompts=("a cat", "a dog"))


def test_another_size_than_the_models_own_interpolates_its_positions(folder):
    trained = load(folder)
    with torch.no_grad():
        theirs = Classifier.from_pretrained(folder)(picture(64), interpolate_pos_encoding=True).logits
        assert torch.allclose(trained.module(picture(64)), theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "levit", "perceiver", "pp_lcnet", "timm_wrapper", "vit_msn"])
def test_a_model_of_any_kind_gives_its_logits_from_one_picture(kind, tmp_path):
    config = small_config(kind)
    with quiet():
        config.save_pretrained(tmp_path)
    module = load(tmp_path, untrained=True).module.eval()
    image = picture(small_side(config))
    with torch.no_grad():
        assert torch.equal(module(image), module.model(pixel_values=image)[0])
        assert module(image).shape == (1, 4)


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("deit", "DeiTForImageClassificationWithTeacher"),
        ("levit", "LevitForImageClassificationWithTeacher"),
    ],
)
def test_a_model_with_a_teacher_gives_the_mean_of_both_heads(kind, architecture, tmp_path):
    config = small_config(kind)
    config.architectures = [architecture]
    with quiet():
        config.save_pretrained(tmp_path)
    module = load(tmp_path, untrained=True).module.eval()
    assert type(module.model).__name__ == architecture
    with torch.no_grad():
        output = module.model(pixel_values=picture(small_side(config)))
        mean = (output.cls_logits + output.distillation_logits) / 2
        assert torch.equal(module(picture(small_side(config))), mean)


def test_a_model_of_timms_keeps_timms_pipeline(tmp_path):
    import timm
    from timm.models import save_for_hf

    model = timm.create_model("test_resnet", num_classes=4).eval()
    save_for_hf(model, tmp_path / "net", model_config={"num_classes": 4, "label_names": NAMES})
    trained = load(tmp_path / "net")
    assert (trained.name, trained.input_size) == ("hf:net", (3, 160, 160))
    assert list(trained.class_names) == NAMES
    assert trained.frame_at((3, 160, 160)).resize == 168
    with torch.no_grad():
        assert torch.allclose(trained.module(picture(160)), model(picture(160)), atol=1e-5)


def test_siglips_patches_are_cut_in_the_graph(tmp_path):
    config = small_config("siglip2")
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=36)
    with quiet():
        torch.manual_seed(5)
        model = Classifier.from_config(config).eval()
        torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight)
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
    trained = load(tmp_path)
    assert trained.input_size == (3, 48, 48)
    assert trained.normalization.mean == pytest.approx((127.5, 127.5, 127.5))
    assert any("own proportions" in note for note in trained.notes)
    random = np.random.default_rng(3)
    for height, width in ((48, 48), (32, 72)):  # which the processor leaves as they are
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        given = processor(images=Image.fromarray(pixels), return_tensors="pt")
        assert given["spatial_shapes"].tolist() == [[height // 8, width // 8]]
        ours = torch.from_numpy((pixels.astype(np.float32) - 127.5) / 127.5).permute(2, 0, 1)[None]
        with torch.no_grad():
            assert torch.allclose(trained.module(ours), model(**given).logits, atol=1e-5)
    with pytest.raises(ValueError, match="50x48 px is no whole number of patches of 8 px"):
        trained.module(torch.zeros(1, 3, 50, 48))


@pytest.fixture
def imagegpt(tmp_path):
    """A classifier of colour tokens in a folder, with its image processor on Pillow."""
    config = small_config("imagegpt")
    config.id2label = dict(enumerate(NAMES))
    torch.manual_seed(5)
    model = Classifier.from_config(config).eval()
    torch.nn.init.normal_(model.transformer.wte.weight)
    torch.nn.init.normal_(model.score.weight)
    clusters = np.random.default_rng(4).uniform(-1, 1, (16, 3)).tolist()
    processor = transformers.ImageGPTImageProcessorPil(clusters=clusters, size={"height": 8, "width": 8})
    with quiet():
        model.save_pretrained(tmp_path / "gpt")
        processor.save_pretrained(tmp_path / "gpt")
    return tmp_path / "gpt", model, processor


def test_imagegpts_tokens_are_those_of_its_processor(imagegpt):
    folder, model, processor = imagegpt
    trained = load(folder)
    assert trained.input_size == (3, 8, 8)
    assert trained.normalization.mean == pytest.approx((127.5,) * 3)
    assert trained.frame_at((3, 8, 8)).describe() == "stretch to 8x8, bilinear"
    assert any("nearest of 16 colours" in note for note in trained.notes)
    random = np.random.default_rng(3)
    for _ in range(50):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        given = processor(images=Image.fromarray(pixels), return_tensors="pt")
        ours = torch.from_numpy((pixels.astype(np.float32) - 127.5) / 127.5).permute(2, 0, 1)[None]
        assert torch.equal(nearest(ours.flatten(2), trained.module.clusters), given["input_ids"])
        with torch.no_grad():
            assert torch.allclose(trained.module(ours), model(**given).logits, atol=1e-5)
    with pytest.raises(ValueError, match="9x8 px are more than 64 tokens"):
        trained.module(torch.zeros(1, 3, 9, 8))


@pytest.mark.parametrize("opset", [12, 16])
def test_imagegpts_file_gives_what_the_library_gives(opset, imagegpt, tmp_path):
    folder, model, processor = imagegpt
    artefact = edgeworthy.export(f"hf:{folder}", tmp_path / "gpt.onnx", opset=opset)
    assert (artefact.parity.verdict, artefact.parity.yardstick) == ("same", None)
    for image in photographs():
        image.save(tmp_path / "photo.png")
        (found,) = edgeworthy.predict(tmp_path / "gpt.onnx", tmp_path / "photo.png", top_k=None)
        with torch.no_grad():
            theirs = model(**processor(images=image, return_tensors="pt")).logits.softmax(1)[0]
        for score in found.scores:
            assert score.probability == pytest.approx(float(theirs[NAMES.index(score.name)]), abs=1e-5)


def test_the_first_of_two_colours_that_are_as_near_is_taken():
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [-1, 0, 0], [0, 0, 0]])
    pixels = torch.tensor([[0.0, 0, 0], [-0.5, 0, 0], [0.5, 0.5, 0.5]]).T[None]
    assert nearest(pixels, colours).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (None, r"gpt takes colour tokens in place of pixels.*has no clusters.*preprocessor_config\.json"),
        ([], "has no clusters"),
        ([1, 2, 3], "has no clusters"),
        ([[0.1, 0.2]], "has no clusters"),
        ([[0.1, 0.2, "red"]], "has no clusters"),
        ([[0.1, 0.2, 0.3], [0.1]], "has no clusters"),
        ([[0.1, 0.2, float("nan")]], "has no clusters"),
        ([[0.1, 0.2, 0.3]] * 18, "has 18 clusters, the model 17 tokens"),
    ],
)
def test_without_its_colours_an_imagegpt_is_refused(clusters, message, imagegpt):
    edit(imagegpt[0] / "preprocessor_config.json", clusters=clusters)
    with pytest.raises(errors.SourceError, match=message):
        load(imagegpt[0])


def test_an_imagegpt_needs_its_own_image_processor(imagegpt):
    for settings in ({"image_processor_type": "ViTImageProcessor"}, None):
        path = imagegpt[0] / "preprocessor_config.json"
        edit(path, **settings) if settings else path.unlink()
        for untrained in (True, False):
            with pytest.raises(errors.SourceError, match="has no clusters"):
                load(imagegpt[0], untrained=untrained)


def test_the_settings_of_an_older_imagegpt_are_understood(imagegpt):
    """As the first releases of Transformers wrote them."""
    path = imagegpt[0] / "preprocessor_config.json"
    old = {"do_normalize": True, "do_resize": True, "resample": 2, "size": 8}
    old |= {"feature_extractor_type": "ImageGPTFeatureExtractor", "clusters": imagegpt[2].clusters.tolist()}
    now = load(imagegpt[0])
    path.write_text(json.dumps(old))
    trained = load(imagegpt[0])
    assert (trained.input_size, trained.normalization) == (now.input_size, now.normalization)
    assert trained.frame_at((3, 8, 8)) == now.frame_at((3, 8, 8))
    assert torch.equal(trained.module.clusters, now.module.clusters)


def test_a_grayscale_model_takes_grayscale_pictures(tmp_path):
    details = {"image_mean": [0.3], "image_std": [0.2], "size": {"height": 32, "width": 32}}
    with quiet():
        vit(num_channels=1).save_pretrained(tmp_path)
        transformers.ViTImageProcessor(**details).save_pretrained(tmp_path)
    trained = load(tmp_path)
    assert trained.input_size == (1, 32, 32)
    assert trained.normalization.std == pytest.approx((51,))
    assert trained.frame_at((1, 32, 32)).channel_order == "L"
    assert trained.module(picture(channels=1)).shape == (1, 4)


def test_a_file_that_takes_rgb_is_made_of_a_model_that_takes_bgr(tmp_path):
    config = small_config("mobilevit")
    with quiet():
        config.save_pretrained(tmp_path)
        transformers.MobileViTImageProcessor().save_pretrained(tmp_path)
    trained = load(tmp_path, untrained=True)
    assert trained.normalization.std == (255.0,) * 3
    image = picture(256)
    with torch.no_grad():
        module = trained.module.eval()
        assert torch.equal(module(image), module.model(pixel_values=image.flip(1)).logits)


def test_an_export_needs_nothing_but_the_folder(folder, tmp_path):
    artefact = edgeworthy.export(f"hf:{folder}", tmp_path / "cats.onnx")
    assert artefact.parity.verdict in {"same", "inconclusive"}  # the weights are random
    assert list(artefact.contract.class_names) == NAMES
    assert artefact.frame.describe() == "stretch to 32x32, bilinear"
    assert "private" not in (tmp_path / "cats.onnx").read_bytes().decode("latin-1")


# The image processors

BASE = {"do_resize": True, "do_rescale": True, "do_normalize": True}
UNIT = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
PROCESSORS = {
    "exact": ("ViTImageProcessor", {"size": {"height": 60, "width": 80}}),
    "shorter": ("CLIPImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": 64}),
    "crop": ("MobileNetV1ImageProcessor", {"size": {"shortest_edge": 90}, "crop_size": 64}),
    "both": ("DeiTImageProcessor", {"size": {"height": 80, "width": 72}, "crop_size": 64}),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    "convnext 384": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "poolformer": (
        "PoolFormerImageProcessor",
        {"size": {"shortest_edge": 64}, "crop_size": 64, "crop_pct": 0.8},
    ),
    "poolformer square": (
        "PoolFormerImageProcessor",
        {"size": {"height": 64, "width": 64}, "crop_size": 64, "crop_pct": 0.94},
    ),
    "levit": ("LevitImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": 64}),
    "efficientnet": (
        "EfficientNetImageProcessor",
        {"size": {"height": 64, "width": 64}, "include_top": True},
    ),
    "offset": (
        "EfficientNetImageProcessor",
        {"size": {"height": 64, "width": 64}, "rescale_factor": 1 / 127.5, "rescale_offset": True},
    ),
    "bgr": ("MobileViTImageProcessor", {"size": {"shortest_edge": 72}, "crop_size": 64}),
    "bgr rounded": ("PPLCNetImageProcessor", {"resize_short": 73, "crop_size": 64}),
    "lanczos": ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "resample": 1}),
    "box": ("ViTImageProcessorPil", {"size": {"height": 64, "width": 64}, "resample": 4}),
    "unscaled": ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "do_rescale": False}),
    "not normalised": ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "do_normalize": False}),
    "segformer": ("SegformerImageProcessor", {"size": {"height": 64, "width": 96}}),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 64, "width": 64}}),
    "beit": (
        "BeitImageProcessor",
        {"size": {"height": 64, "width": 64}, "do_center_crop": True, "crop_size": 48},
    ),
}


def made(name, details):
    """The processor twice: as the library makes it, and on Pillow, where it has that."""
    fast = getattr(transformers, name)(**details)
    slow = getattr(transformers, f"{name}Pil", None)
    return fast, slow(**details) if slow else None


def ours_and_theirs(pipeline, processor, image):
    frame = pipeline.frame_at(pipeline.input_size)
    levels = frame_picture(image, frame).transpose(2, 0, 1).astype(np.float64)
    values = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0], np.float64)
    if pipeline.flips_channels:
        values = values[::-1]
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (pipeline.normalization.mean, pipeline.normalization.std))
    return levels, values * std + mean


def photographs():
    for name in ("astronaut", "coffee", "chelsea"):  # square, wide, and wide with an odd side
        image = Image.fromarray(getattr(skimage.data, name)())
        yield image
        yield image.transpose(Image.Transpose.ROTATE_90)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_pipeline_is_what_the_image_processor_does(kind, tmp_path):
    name, details = PROCESSORS[kind]
    fast, slow = made(name, BASE | UNIT | details)
    fast.save_pretrained(tmp_path)
    pipeline = pipeline_of(tmp_path)
    assert pipeline.notes == ()
    for image in photographs():
        ours, theirs = ours_and_theirs(pipeline, slow or fast, image)
        assert np.abs(ours - theirs).max() < (1e-3 if slow else 1.01)  # a tensor's resize is not Pillow's


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "CLIPImageProcessorPil"])
def test_a_crop_with_half_a_pixel_left_over_lies_where_the_processors_does(name, tmp_path):
    processor = getattr(transformers, name)()
    processor.save_pretrained(tmp_path)
    pipeline = pipeline_of(tmp_path)
    assert pipeline.notes == ()
    image = Image.fromarray(skimage.data.rocket())
    frame = pipeline.frame_at(pipeline.input_size)
    longer = int(frame.resize * max(image.size) / min(image.size))
    assert (longer - frame.width) % 4 == 3  # which torchvision's rule rounds up
    ours, theirs = ours_and_theirs(pipeline, processor, image)
    assert np.abs(ours - theirs).max() <= 1.01


UNSAID = {
    "a canvas": ("DonutImageProcessor", {"size": {"height": 64, "width": 48}}, "onto a canvas", (3, 64, 48)),
    "a crop first": ("PerceiverImageProcessor", {}, "crops before it resizes", (3, 224, 224)),
    "multiples": ("TextNetImageProcessor", {}, "multiple of a number", None),
    "no resize": ("ViTImageProcessor", {"do_resize": False}, "does not resize", (3, 224, 224)),
    "a ratio kept": (
        "ViTImageProcessor",
        {"size": {"shortest_edge": 64}},
        "keeps each picture's ratio",
        None,
    ),
    "a divisor": ("PPLCNetImageProcessor", {"size_divisor": 10**6}, "multiples of a number", None),
    "two bounds": (
        "ViTImageProcessor",
        {"size": {"shortest_edge": 64, "longest_edge": 96}},
        "its size is",
        None,
    ),
    "padding": (
        "ViTImageProcessor",
        {"do_pad": True, "pad_size": {"height": 300, "width": 300}},
        "it pads to a size",
        None,
    ),
    "a resize that is not believed": (
        "ViTImageProcessor",
        {"size": {"height": 10**9, "width": 4}},
        "px",
        (3, 10**9, 4),
    ),
}


@pytest.mark.parametrize("kind", UNSAID)
def test_a_framing_that_cannot_be_said_is_none_with_the_reason(kind, tmp_path):
    name, details, reason, size = UNSAID[kind]
    getattr(transformers, name)(**details).save_pretrained(tmp_path)
    pipeline = pipeline_of(tmp_path)
    assert (pipeline.frame_at, pipeline.input_size) == (None, size)
    assert reason in " ".join(pipeline.notes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_std": [0.5, 0.0, 0.5]}, "std"),
        ({"image_std": [0.5, 0.5]}, "expected 3 numbers"),
        ({"image_mean": "grey"}, "image_mean"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"rescale_factor": "1/255"}, "rescale_factor is '1/255'"),
        ({"image_mean": [1e400, 0, 0]}, "image_mean"),
        ({"size": "large"}, ""),
        ({"size": {"height": -1, "width": 2.5}}, ""),
        ({"resample": 99}, ""),
        ({"image_processor_type": "AutoModel"}, "image_processor_type is 'AutoModel'"),
        ({"image_processor_type": "NoSuchImageProcessor"}, ""),
        ({"image_processor_type": "ImageGPTImageProcessor"}, "colour tokens"),
        ({"image_processor_type": None, "auto_map": {"AutoImageProcessor": "mine.Mine"}}, ""),
        ({"auto_map": 7}, ""),
    ],
)
def test_settings_that_anybody_wrote_never_raise(changes, reason, folder):
    edit(folder / "preprocessor_config.json", **changes)
    trained = load(folder)
    assert trained.frame_at is None
    assert reason in " ".join(trained.notes)
    assert trained.notes


def test_no_processor_is_said_and_the_size_is_the_models(folder):
    (folder / "preprocessor_config.json").unlink()
    trained = load(folder)
    assert (trained.input_size, trained.normalization, trained.frame_at) == ((3, 32, 32), None, None)
    assert "its settings are not there" in trained.notes[0]


def test_a_processor_inside_another_is_found(folder):
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    assert load(folder).frame_at((3, 32, 32)).mode == "stretch"


def test_a_picture_covers_an_input_of_another_shape_than_the_processor_s():
    geometry = image_processors._Geometry(resize=80, rule="shorter-truncate", crop=(64, 64))
    assert geometry.frame_at((3, 100, 64)).describe() == "resize 125x80 (cover-round), crop 100x64, bilinear"
    assert geometry.frame_at((3, 128, 128)).resize == 160
