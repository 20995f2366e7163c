"""CLIP and SigLIP with prompts: the baked head scores as the library does, and the text half is gone."""

import gc
import json
import string
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import edgeworthy
from edgeworthy import errors
from edgeworthy.silence import quiet
from edgeworthy.sources import hub, zero_shot
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.torchvision_shim import mend_torchvision

mend_torchvision()
import transformers  # noqa: E402

PROMPTS = ("a cat", "a photo of a dog", "the red cow")
SIDE = 24

LAYERS = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = LAYERS | {"image_size": SIDE, "patch_size": 8}
TEXT = LAYERS | {"max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
WORDS = ("<pad>", "</s>", "<unk>", "a", "cat", "photo", "of", "dog", "the", "red", "cow", "A")


def characters():
    """CLIP's own tokenizer over single letters: a token a letter, and two at the ends."""
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocabulary = {text: number for number, text in enumerate(("<|startoftext|>", "<|endoftext|>", *letters))}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=40)


def words(**details):
    """A fast tokenizer over whole words, with an end."""
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **details
    )


def clip():
    text = TEXT | {"vocab_size": 54}
    model = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    )
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    images = transformers.CLIPImageProcessor(**sizes)
    return model, transformers.CLIPProcessor(images, characters())


def siglip():
    text = TEXT | {"vocab_size": len(WORDS), "max_position_embeddings": 64, "projection_size": 16}
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=VISION))
    images = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    return model, transformers.SiglipProcessor(images, words(model_max_length=64))


BUILDERS = {"clip": clip, "siglip": siglip}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small wait longer for a second thread than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders with a model, its tokenizer and its image processor, as Transformers saves them."""
    folders = {}
    for kind, build in BUILDERS.items():
        torch.manual_seed(3)
        model, processor = build()
        spread(model)
        folder = tmp_path_factory.mktemp("models") / kind
        with quiet():
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        folders[kind] = SimpleNamespace(folder=folder, model=model.eval(), processor=processor)
    return folders


def spread(model):
    """Make weights large enough for the scores to differ from picture to picture."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)


@pytest.fixture
def copied(saved, tmp_path):
    """A folder of its own, to damage."""

    def copy(kind):
        folder = tmp_path / kind
        folder.mkdir()
        for path in saved[kind].folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return folder

    return copy


def load(folder, prompts=PROMPTS, **details):
    place = hub.place_of(str(folder), weights=not details)
    request = SourceRequest(spec=f"hf:{folder}", prompts=tuple(prompts), **details)
    return zero_shot.load(place, hub.read_config(place), request)


def settings(path, **changes):
    """Change a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def photograph(side=None):
    image = Image.fromarray(skimage.data.astronaut())
    return image.resize((side, side)) if side else image


def as_the_library_does(kind, picture, prompts=PROMPTS):
    """Logits and probabilities [1, prompts] of the whole model, and the picture that it took."""
    padding = "max_length" if kind.name == "siglip" else True
    inputs = kind.processor(text=list(prompts), images=picture, return_tensors="pt", padding=padding)
    with torch.no_grad():
        logits = kind.model(**inputs).logits_per_image
    scores = logits.sigmoid() if kind.name == "siglip" else logits.softmax(dim=1)
    return scores, inputs["pixel_values"]


@pytest.fixture(params=list(BUILDERS))
def kind(request, saved):
    return SimpleNamespace(name=request.param, **vars(saved[request.param]))


def test_the_baked_head_gives_the_librarys_own_probabilities(kind):
    trained = load(kind.folder)
    scores, picture = as_the_library_does(kind, photograph())
    with torch.no_grad():
        logits = trained.module(picture)
    ours = logits.sigmoid() if trained.activation == "sigmoid" else logits.softmax(dim=1)
    assert ours.shape == (1, 3)
    assert (ours - scores).abs().max() < 1e-6
    assert float(scores.max() - scores.min()) > 0.01


def test_everything_else_is_settled_from_the_folder(kind):
    trained = load(kind.folder)
    assert trained.name == f"hf:{kind.name}"
    assert tuple(trained.class_names) == PROMPTS
    assert trained.input_size == (3, SIDE, SIDE)
    assert trained.activation == {"clip": "softmax", "siglip": "sigmoid"}[kind.name]
    assert trained.normalization is not None
    assert trained.frame_at(trained.input_size).height == SIDE


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_whole_export_predicts_what_the_librarys_pipeline_does(kind, exporter, tmp_path):
    artefact = edgeworthy.export(
        f"hf:{kind.folder}", tmp_path / "m.onnx", prompts=PROMPTS, exporter=exporter, simplify=False
    )
    assert artefact.parity.verdict == "same"
    assert tuple(edgeworthy.inspect(tmp_path / "m.onnx").class_names) == PROMPTS
    photograph(SIDE).save(tmp_path / "p.png")  # of the input's size: nothing is resized
    (predicted,) = edgeworthy.predict(tmp_path / "m.onnx", [tmp_path / "p.png"], top_k=3)
    with quiet():
        pipeline = transformers.pipeline("zero-shot-image-classification", model=str(kind.folder))
        expected = pipeline(photograph(SIDE), candidate_labels=list(PROMPTS), hypothesis_template="{}")
    assert [one.name for one in predicted.scores] == [one["label"] for one in expected]
    ours = [one.probability for one in predicted.scores]
    assert ours == pytest.approx([one["score"] for one in expected], abs=1e-5)


def other(kind):
    """A model of another family, with whole words for a tokenizer."""
    text = TEXT | {"vocab_size": len(WORDS), "pad_token_id": 0}
    halves = {"text_config": text, "vision_config": VISION, "projection_dim": 12}
    if kind == "altclip":
        text["project_dim"] = 12
    if kind == "tipsv2":
        del halves["projection_dim"]
    if kind == "align":
        pictures = {"image_size": 64, "hidden_dim": 32, "width_coefficient": 0.2, "depth_coefficient": 0.2}
        halves |= {"vision_config": pictures, "projection_dim": 64}
    config = transformers.AutoConfig.for_model(kind, **halves)
    return transformers.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING[type(config)](config).eval()


@pytest.mark.parametrize("family", ["align", "altclip", "chinese_clip", "clipseg", "metaclip_2", "tipsv2"])
def test_other_families_score_as_the_library_does(family, tmp_path):
    torch.manual_seed(4)
    model, tokenizer = other(family), words(model_max_length=40)
    spread(model)
    with quiet():
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
    trained = load(tmp_path)
    picture = torch.randn(1, *trained.input_size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        texts = tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
        expected = model(**texts, pixel_values=picture).logits_per_image.softmax(dim=1)
        ours = trained.module(picture).softmax(dim=1)
    assert (ours - expected).abs().max() < 1e-6
    assert expected.max() - expected.min() > 1e-3
    assert trained.normalization is None  # no image processor says it
    assert trained.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "siglip2"}, "'siglip2' model, the NaFlex variant, which takes patches and a mask"),
        ({"model_type": "blip"}, "'blip' model, whose published weights hold no projections"),
        ({"model_type": "vit"}, "not known to compare one embedding with another"),
    ],
)
def test_models_that_compare_no_two_embeddings_are_refused_with_the_reason(tmp_path, change, message):
    (tmp_path / "config.json").write_text(json.dumps(change))
    with pytest.raises(errors.SourceError, match=message):
        load(tmp_path, untrained=True)


def test_the_text_half_and_the_tokenizer_are_gone(kind, monkeypatch):
    kept = []
    made = hub.load

    def watched(*args):
        model, notes = made(*args)
        kept.append(weakref.ref(model.text_model))
        return model, notes

    monkeypatch.setattr(hub, "load", watched)
    trained = load(kind.folder)
    gc.collect()
    assert [reference() for reference in kept] == [None]
    assert not [name for name in trained.module.state_dict() if "text" in name or "token" in name]
    assert trained.module.head.weight.shape[0] == len(PROMPTS)


def test_another_input_size_interpolates_the_positions(saved):
    trained, model = load(saved["clip"].folder), saved["clip"].model
    picture = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        texts = saved["clip"].processor.tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
        expected = model(**texts, pixel_values=picture, interpolate_pos_encoding=True).logits_per_image
        ours = trained.module(picture)
    assert (ours.softmax(dim=1) - expected.softmax(dim=1)).abs().max() < 1e-6


def test_an_image_processor_of_another_size_is_told(copied):
    folder = copied("clip")
    with quiet():
        sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        transformers.CLIPProcessor(transformers.CLIPImageProcessor(**sizes), characters()).save_pretrained(
            folder
        )
    trained = load(folder)
    assert trained.input_size == (3, 32, 32)
    assert "The image processor gives 32x32 px, and the model was made for 24x24." in trained.notes
    assert trained.module(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_an_image_processor_of_bgr_is_refused(copied):
    folder = copied("clip")
    (folder / "processor_config.json").unlink()
    with quiet():
        sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
        transformers.MobileViTImageProcessor(**sizes).save_pretrained(folder)
    with pytest.raises(errors.SourceError, match="gives BGR"):
        load(folder)


def test_many_prompts_are_embedded_in_parts(saved):
    prompts = [f"{first}{second}" for first in "abcdefghij" for second in "klmnopq"]
    assert len(prompts) > zero_shot._TOGETHER
    kind = SimpleNamespace(name="clip", **vars(saved["clip"]))
    scores, picture = as_the_library_does(kind, photograph(), prompts)
    with torch.no_grad():
        ours = load(kind.folder, prompts).module(picture).softmax(dim=1)
    assert (ours - scores).abs().max() < 1e-6


def test_prompts_that_are_no_class_names_are_written_otherwise_and_embedded_as_typed(saved):
    typed = ("a: cat", "a; dog", "a- cat")
    trained = load(saved["siglip"].folder, typed)
    assert tuple(trained.class_names) == ("a- cat", "a, dog", "a- cat (2)")
    note = next(note for note in trained.notes if "as typed" in note)
    assert "'a: cat' is 'a- cat'" in note
    assert "'a- cat' is 'a- cat (2)'" in note
    kind = SimpleNamespace(name="siglip", **vars(saved["siglip"]))
    scores, picture = as_the_library_does(kind, photograph(), typed)
    with torch.no_grad():
        assert (trained.module(picture).sigmoid() - scores).abs().max() < 1e-6


def test_prompts_that_the_tokenizer_cannot_tell_apart_are_told(saved):
    trained = load(saved["clip"].folder, ("a cat", "a dog", "A CAT"))
    assert "The model reads the same in 'a cat' and 'A CAT': their scores are always equal." in trained.notes
    assert not any("reads the same" in note for note in load(saved["clip"].folder).notes)
    twice = load(saved["clip"].folder, ("a cat", "a cat"))
    assert tuple(twice.class_names) == ("a cat", "a cat (1)")
    assert any("'a cat' and 'a cat': their scores are always equal" in note for note in twice.notes)


def test_prompts_can_come_from_a_file(saved, tmp_path):
    (tmp_path / "prompts.txt").write_bytes("a cat\r\nein Hündchen\r\n".encode())
    trained = load(saved["clip"].folder, (f"@{tmp_path / 'prompts.txt'}", "the red cow"))
    assert tuple(trained.class_names) == ("a cat", "ein Hündchen", "the red cow")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No prompts can be had from.*cannot be read"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "is empty"),
        (b"a cat\n\na dog\n", "The prompt 2 of 3 is empty"),
    ],
)
def test_a_file_without_prompts_is_refused(saved, tmp_path, content, message):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.OptionError, match=message):
        load(saved["clip"].folder, [f"@{path}"])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "number of prompts is 0, expected is 2"),
        (["a cat"], 'number of prompts is 1, expected is 2.*"something else"'),
        (["a cat", " "], "prompt 2 of 2 is empty"),
        (["a cat", 7], "The prompt '7' is int, expected str"),
        (["a cat", "a \udcff"], "not valid Unicode"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(kind, prompts, message):
    with pytest.raises(errors.OptionError, match=message):
        load(kind.folder, prompts)


@pytest.mark.parametrize(("name", "limit"), [("clip", 40), ("siglip", 64)])
def test_a_prompt_is_never_cut(saved, name, limit):
    letter, ends = {"clip": ("a", 2), "siglip": ("a ", 1)}[name]
    longest = letter * (limit - ends)
    assert len(load(saved[name].folder, (longest, "a cat")).class_names) == 2
    with pytest.raises(
        errors.OptionError, match=rf"prompt 'a.* has {limit + 1} tokens.* takes {limit} at most"
    ):
        load(saved[name].folder, ("a cat", longest + letter))


def test_random_weights_still_need_a_tokenizer(copied):
    folder = copied("clip")
    (folder / "model.safetensors").unlink()
    trained = load(folder, untrained=True)
    assert trained.untrained
    assert trained.module(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 3)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(errors.SourceError, match="clip has no tokenizer for the prompts"):
        load(folder, untrained=True)


@pytest.mark.parametrize("under", ["", "model."])
def test_a_checkpoint_brings_its_own_weights(copied, under):
    folder = copied("siglip")
    weights = load_file(folder / "model.safetensors")
    weights["logit_bias"] += 2
    weights = {f"{under}{key}": value for key, value in weights.items()}
    save_file(weights, folder / "tuned.safetensors", {"format": "pt"})
    picture = torch.zeros(1, 3, SIDE, SIDE)
    before, after = load(folder).module, load(folder, checkpoint=folder / "tuned.safetensors").module
    assert (after(picture) - before(picture)).detach().numpy() == pytest.approx(np.full((1, 3), 2), abs=1e-5)


@pytest.mark.parametrize("lost", ["visual_projection.weight", "text_projection.weight", "logit_scale"])
def test_missing_weights_are_named(copied, lost):
    folder = copied("clip")
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(errors.CheckpointError, match=f"1 missing .first: {lost}."):
        load(folder)


def test_weights_that_are_no_numbers_are_refused(copied):
    folder = copied("clip")
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(errors.SourceError, match="do not explain its scores: a probability differs by nan"):
        load(folder)


def test_scores_that_do_not_follow_from_the_embeddings_are_refused(saved, monkeypatch):
    forward = transformers.CLIPModel.forward

    def another(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits_per_image = output.logits_per_image * 1.01
        return output

    monkeypatch.setattr(transformers.CLIPModel, "forward", another)
    with pytest.raises(errors.SourceError, match="do not explain its scores"):
        load(saved["clip"].folder)


def test_the_tokenizer_of_another_model_is_refused(copied):
    folder = copied("siglip")
    with quiet():
        characters().save_pretrained(folder)
    with pytest.raises(errors.SourceError, match=r"gives the token \d+, and the model knows 12 tokens"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "tokenizer_config.json",
            '{"auto_map": {"AutoTokenizer": ["t.T", null]}}',
            "asks for code of its own",
        ),
        ("tokenizer_config.json", "[1]", "cannot be read"),
        ("tokenizer.json", "{}", "cannot be read"),
        ("tokenizer.json", "", "cannot be read"),
        ("tokenizer_config.json", '{"model_max_length": "many"}', "cannot (be )?read"),
    ],
)
def test_a_hostile_tokenizer_is_refused(copied, name, content, message):
    folder = copied("clip")
    (folder / name).write_text(content)
    with pytest.raises(errors.SourceError, match=f"The tokenizer of clip {message}"):
        load(folder)


def test_a_tokenizer_of_sentencepiece_says_what_it_needs(copied, monkeypatch):
    def absent(*args, **kwargs):  # what Transformers says where the library is not installed
        raise ImportError("\nSiglipTokenizer requires the SentencePiece library but it was not found")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", absent)
    with pytest.raises(errors.SourceError, match="pip install sentencepiece protobuf"):
        load(copied("siglip"))


@pytest.mark.parametrize("size", [0, 10**9, [24, "x"], None])
def test_an_impossible_image_size_is_refused(copied, size):
    folder = copied("siglip")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    settings(folder / "config.json", vision_config=config["vision_config"] | {"image_size": size})
    with pytest.raises(errors.SourceError, match="image_size"):
        load(folder)
