"""Trained models from timm, from checkpoints, from a hub's cache and from the user's own files."""

import io
import pickle
import sys

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from edgeworthy.errors import CheckpointError, OptionError, SourceError, UntrustedPickleError
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.registry import load_source
from edgeworthy.sources.torchvision_shim import mend_torchvision
from tests.models import Tiny

mend_torchvision()
import timm  # noqa: E402

SMALL = "test_resnet"


def load(spec, **details):
    return load_source(SourceRequest(spec=spec, **details))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(3)
    return timm.create_model(SMALL, num_classes=7)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty hub cache, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def same_weights(model, other):
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(one, two) for (a, one), (b, two) in pairs)


def fill(cache, repository, files):
    """Files as huggingface_hub lays them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name, write in files.items():
        write(snapshot / name)


def test_pretrained_weights_come_from_the_hubs_cache(offline):
    torch.manual_seed(4)
    model = timm.create_model(SMALL)
    fill(
        offline,
        "timm/test_resnet.r160_in1k",
        {"model.safetensors": lambda p: save_file(model.state_dict(), p)},
    )
    loaded = load(f"timm:{SMALL}")
    assert same_weights(loaded.module, model)
    assert loaded.input_size == (3, 160, 160)
    assert loaded.class_names[954] == "banana"
    assert loaded.normalization.mean == pytest.approx((127.5, 127.5, 127.5))
    assert not loaded.untrained


def test_without_weights_to_be_had_the_error_says_what_else_there_is(offline):
    with pytest.raises(SourceError, match=r"not in the local cache.*--checkpoint FILE.*--untrained"):
        load("timm:resnet18")


def test_an_architecture_without_pretrained_weights_says_so(offline):
    with pytest.raises(SourceError, match=r"no pretrained weights|cannot make"):
        load("timm:resnet10t.nothing")


@pytest.mark.parametrize(
    ("name", "closest"), [("resnet81", "resnet18"), ("efficientnet_b00", "efficientnet_b0")]
)
def test_the_closest_names_are_suggested(name, closest):
    with pytest.raises(SourceError, match=f"no model named '{name}'.*{closest}"):
        load(f"timm:{name}")


def wrapped(state):
    return {
        "plain": state,
        "state_dict": {"epoch": 3, "state_dict": state, "best_prec1": 0.9},
        "model": {"model": state, "optimizer": {"lr": 0.1}},
        "module.": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "compiled": {f"_orig_mod.module.{key}": value for key, value in state.items()},
    }


@pytest.mark.parametrize("kind", ["plain", "state_dict", "model", "module.", "compiled"])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_checkpoints_are_unwrapped_and_the_classes_counted(tmp_path, trained, kind, suffix):
    path = tmp_path / f"best{suffix}"
    torch.save(wrapped(trained.state_dict())[kind], path)
    loaded = load(f"timm:{SMALL}", checkpoint=path)
    assert loaded.module.num_classes == 7
    assert same_weights(loaded.module, trained)


@pytest.mark.parametrize("name", ["model.", "task.net."])
def test_weights_are_found_in_a_module_that_trains_them(tmp_path, trained, name):
    inner = {f"{name}{key}": value for key, value in trained.state_dict().items()}
    content = {"state_dict": {"loss.weight": torch.ones(7), **inner}, "pytorch-lightning_version": "2.5.0"}
    torch.save(content, tmp_path / "last.ckpt")
    loaded = load(f"timm:{SMALL}", checkpoint=tmp_path / "last.ckpt")
    assert loaded.module.num_classes == 7
    assert same_weights(loaded.module, trained)
    assert loaded.notes[0] == (
        f"Of the checkpoint, what lies under '{name[:-1]}' is used. 1 left out (first: loss.weight)."
    )


@pytest.mark.parametrize("beside", ["classifier.weight", "temperature", "model_ema.decay"])
def test_weights_beside_which_something_may_take_part_are_not_chosen(tmp_path, trained, beside):
    state = {f"model.{key}": value for key, value in trained.state_dict().items()}
    torch.save(state | {beside: torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"unexpected \(first: model\."):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")


def test_weights_that_fit_twice_are_not_chosen_between(tmp_path, trained):
    state = trained.state_dict()
    twice = {f"{name}.{key}": value for key, value in state.items() for name in ("student", "teacher")}
    torch.save(twice, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"unexpected \(first: student"):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")


def test_a_part_that_lacks_a_key_is_none(tmp_path, trained):
    state = {f"model.{key}": value for key, value in trained.state_dict().items()}
    state.pop(next(reversed(state)))
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"missing .*unexpected \(first: model\."):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")


def test_averaged_weights_are_preferred_and_told(tmp_path, trained):
    raw = {key: torch.zeros_like(value) for key, value in trained.state_dict().items()}
    torch.save({"state_dict": raw, "state_dict_ema": trained.state_dict()}, tmp_path / "a.pth")
    loaded = load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")
    assert same_weights(loaded.module, trained)
    assert "averaged weights" in loaded.notes[0]


def test_safetensors(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / "a.safetensors")
    assert same_weights(load(f"timm:{SMALL}", checkpoint=tmp_path / "a.safetensors").module, trained)


def test_a_grayscale_checkpoint_makes_a_grayscale_model(tmp_path):
    model = timm.create_model(SMALL, in_chans=1, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "a.pth")
    loaded = load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")
    assert loaded.input_size == (1, 160, 160)
    assert len(loaded.normalization.mean) == 1


def test_a_checkpoint_of_another_architecture_names_keys(tmp_path, trained):
    state = dict(trained.state_dict())
    state["stranger.weight"] = state.pop("conv1.0.weight", next(iter(state.values())))
    missing = next(key for key in trained.state_dict() if key not in state)
    shaped = next(key for key, value in state.items() if value.ndim == 4)
    state[shaped] = state[shaped][:1]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")
    message = str(caught.value)
    assert f"1 missing (first: {missing})" in message
    assert "1 unexpected (first: stranger.weight)" in message
    assert f"1 mis-shaped (first: {shaped} is 1x" in message


class Bomb:
    """A pickle that runs code when it is loaded."""

    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, trained):
    torch.save({"state_dict": trained.state_dict(), "extra": Bomb()}, tmp_path / "a.pth")
    with pytest.raises(UntrustedPickleError, match=r"letting it run code.*--trust-pickle"):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")
    assert not Bomb.exploded
    load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth", trust_pickle=True)
    assert Bomb.exploded


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_what_is_no_checkpoint_says_so(tmp_path, trained, name):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(trained.state_dict(), path)
    else:
        save_file(trained.state_dict(), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello", pickle.dumps("hello", protocol=2)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            load(f"timm:{SMALL}", checkpoint=path)


def test_a_checkpoint_without_weights_says_so(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="is not a file"):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "absent.pth")


def test_options_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(OptionError, match="exclude each other"):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth", untrained=True)


@pytest.mark.parametrize("source", ["resnet18", "keras:resnet", "model.py", "model.py:", ":build", "a b:c d"])
def test_other_sources_are_refused_with_the_forms_there_are(source):
    with pytest.raises((OptionError, SourceError)) as caught:
        load(source)
    assert "package.module:callable" in str(caught.value) or "file.py:callable" in str(caught.value)


def test_untrained_is_the_same_every_time():
    assert same_weights(
        load(f"timm:{SMALL}", untrained=True).module, load(f"timm:{SMALL}", untrained=True).module
    )


def test_a_folder_as_timm_saves_it_keeps_its_path_to_itself(tmp_path, trained):
    from timm.models import save_for_hf

    folder = tmp_path / "cats"
    names = [f"cat {i}" for i in range(7)]
    save_for_hf(trained, folder, model_config={"num_classes": 7, "label_names": names})
    loaded = load(f"timm:local-dir:{folder}")
    assert loaded.name == "timm:local-dir:cats"
    assert loaded.class_names.names == tuple(names)
    assert same_weights(loaded.module, trained)


def test_a_callable_in_a_file(tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("from tests.models import Tiny\n")
    (tmp_path / "my_model.py").write_text(
        "from helper_of_mine import Tiny\ndef build():\n    return Tiny()\nready = Tiny()\nnumber = 3\n"
        "def fails():\n    raise KeyError('weights')\ndef text():\n    return 'model'\n"
    )
    spec = str(tmp_path / "my_model.py")
    loaded = load(f"{spec}:build")
    assert isinstance(loaded.module, Tiny)
    assert (loaded.name, loaded.input_size) == ("my_model.py:build", None)
    assert isinstance(load(f"{spec}:ready").module, nn.Module)
    for name, message in [
        ("absent", "no 'absent'.*build"),
        ("number", "is int, expected a callable"),
        ("fails", "Calling .* failed: KeyError"),
        ("text", "returned str, expected a torch.nn.Module"),
    ]:
        with pytest.raises(SourceError, match=message):
            load(f"{spec}:{name}")


@pytest.mark.parametrize("under", ["", "net."])
def test_a_callable_in_a_package_and_its_checkpoint(tmp_path, under):
    loaded = load("tests.models:tiny")
    assert (type(loaded.module), loaded.name) == (Tiny, "tests.models:tiny")
    state = {f"{under}{key}": value for key, value in Tiny().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    assert same_weights(load("tests.models:tiny", checkpoint=tmp_path / "a.pth").module, Tiny())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent.py:build", "is not there"),
        ("no_such_package.module:build", "cannot be imported"),
    ],
)
def test_a_place_that_is_none_says_so(spec, message):
    with pytest.raises(SourceError, match=message):
        load(spec)


def test_a_file_that_cannot_be_imported_says_why(tmp_path):
    (tmp_path / "broken.py").write_text("def build(:\n")
    with pytest.raises(SourceError, match="SyntaxError"):
        load(f"{tmp_path}/broken.py:build")
    assert str(tmp_path) not in sys.path


def test_untrained_callables_are_the_same_every_time_and_leave_the_callers_random_state(tmp_path):
    (tmp_path / "random_model.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Linear(3, 4)\n"
    )
    before = torch.get_rng_state()
    first, second = (load(f"{tmp_path}/random_model.py:build", untrained=True).module for _ in range(2))
    assert same_weights(first, second)
    load(f"timm:{SMALL}", untrained=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_torchs_own_averaged_model(tmp_path, trained):
    from torch.optim.swa_utils import AveragedModel

    torch.save(AveragedModel(trained).state_dict(), tmp_path / "a.pth")
    assert same_weights(load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth").module, trained)
    torch.save({"ema": {"decay": 0.9}, "model": trained.state_dict()}, tmp_path / "b.pth")
    assert same_weights(load(f"timm:{SMALL}", checkpoint=tmp_path / "b.pth").module, trained)


def test_a_grayscale_models_normalisation_is_not_taken_from_the_red_channel(tmp_path):
    model = timm.create_model("resnet10t", in_chans=1, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "a.pth")
    assert load("timm:resnet10t", checkpoint=tmp_path / "a.pth").normalization is None


def test_a_neighbouring_module_may_be_imported_while_the_model_is_built(tmp_path):
    (tmp_path / "late_neighbour.py").write_text("from tests.models import Tiny\n")
    (tmp_path / "lazy_model.py").write_text(
        "import sys\nsys.path.insert(0, '/mine')\n"
        "def build():\n    from late_neighbour import Tiny\n    return Tiny()\n"
    )
    load(f"{tmp_path}/lazy_model.py:build")
    assert str(tmp_path) not in sys.path
    sys.path.remove("/mine")


@pytest.mark.parametrize("spec", ["timm:resnet18.nothing", "timm:hf-hub:bad repo//x"])
def test_what_timm_raises_names_the_model(spec):
    with pytest.raises(SourceError, match=spec.removeprefix("timm:").replace(".", r"\.")):
        load(spec, untrained=True)


def test_code_that_ends_the_process_does_not(tmp_path):
    (tmp_path / "exits.py").write_text("import sys\ndef build():\n    sys.exit(7)\n")
    with pytest.raises(SourceError, match="SystemExit"):
        load(f"{tmp_path}/exits.py:build")


def test_random_bytes_are_no_checkpoint_to_trust(tmp_path):
    (tmp_path / "a.pth").write_bytes(bytes(range(7, 200)))
    with pytest.raises(CheckpointError, match=r"a\.pth is no checkpoint"):
        load(f"timm:{SMALL}", checkpoint=tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "what", "step"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html>404</html>", "a web page", "Download the model again"),
        (b"", "empty", "download it again"),
        (b"\x1f\x8b" + bytes(40), "a compressed archive", "Unpack it"),
        (b"PK\x03\x04" + bytes(40), "a zip archive that is cut off", "download it again"),
        (b"weights\n", "a text file", "what torch.save writes"),
        (b"Page not found\n", "a text file", "what torch.save writes"),
        (b"(see the wiki)\n", "a text file", "what torch.save writes"),
        (b"\x93NUMPY" + bytes(40), "a NumPy array", "as torch.save writes it"),
    ],
)
def test_what_is_no_checkpoint_is_told_for_what_it_is(tmp_path, suffix, content, what, step):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    for trusted in (False, True):
        with pytest.raises(CheckpointError, match=f"{path.name} is no checkpoint, it is {what}") as caught:
            load(f"timm:{SMALL}", checkpoint=path, trust_pickle=trusted)
        assert step in caught.value.hint


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_plain_pickle_is_read_where_it_is_trusted(tmp_path, protocol):
    model = timm.create_model(SMALL)
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"state_dict": model.state_dict()}, protocol))
    error, message = (
        (UntrustedPickleError, "it is or holds .*_load_from_bytes|it is written in a protocol")
        if protocol > 1
        else (CheckpointError, r"weights\.pkl is no checkpoint")
    )
    with pytest.raises(error, match=message):
        load(f"timm:{SMALL}", checkpoint=path)
    assert same_weights(load(f"timm:{SMALL}", checkpoint=path, trust_pickle=True).module, model)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [False, True])
def test_what_torch_saves_in_another_protocol_is_read_where_it_is_trusted(tmp_path, zipped):
    model = timm.create_model(SMALL)
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path, pickle_protocol=4, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedPickleError, match="a protocol of pickles"):
        load(f"timm:{SMALL}", checkpoint=path)
    assert same_weights(load(f"timm:{SMALL}", checkpoint=path, trust_pickle=True).module, model)


seen: list[int] = []


def leave_a_trace():
    seen.append(1)


class Counting:
    """Leaves a trace each time it is unpickled."""

    def __reduce__(self):
        return (leave_a_trace, ())


def test_a_pickle_runs_once(tmp_path, trained):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"other": Counting(), "state_dict": trained.state_dict()}))
    seen.clear()
    load(f"timm:{SMALL}", checkpoint=path, trust_pickle=True)
    assert seen == [1]


def test_a_plain_pickle_from_a_gpu_is_read(tmp_path, trained):
    path = tmp_path / "weights.pkl"
    saved = io.BytesIO()
    torch.save(torch.zeros(3), saved, _use_new_zipfile_serialization=False)
    there = (
        saved.getvalue()
        .replace(b"cpu", b"cuda:0")
        .replace(b"X\x03\x00\x00\x00cuda:0", b"X\x06\x00\x00\x00cuda:0")
    )
    assert b"X\x06\x00\x00\x00cuda:0" in there

    class There:
        def __reduce__(self):
            return (torch.storage._load_from_bytes, (there,))

    path.write_bytes(pickle.dumps({"other": There(), "state_dict": trained.state_dict()}))
    load(f"timm:{SMALL}", checkpoint=path, trust_pickle=True)


@pytest.mark.filterwarnings("ignore:.*TorchScript archive")
def test_a_checkpoint_that_is_a_model_of_its_own_is_told_so(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Flatten()).save(path)
    with pytest.raises(CheckpointError, match="it is a TorchScript archive") as caught:
        load(f"timm:{SMALL}", checkpoint=path)
    assert caught.value.hint.endswith(f"edgeworthy export {path}")


def test_a_checkpoint_in_torchs_old_format_that_is_cut_off_is_to_be_copied_again(tmp_path, trained):
    path = tmp_path / "old.pth"
    torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for trusted in (False, True):
        with pytest.raises(CheckpointError, match="cut off") as caught:
            load(f"timm:{SMALL}", checkpoint=path, trust_pickle=trusted)
        assert "Copy or download it again" in caught.value.hint


def test_prompts_are_refused_by_what_takes_none():
    with pytest.raises(OptionError, match=r"takes no prompts.*pictures and texts"):
        load(f"timm:{SMALL}", prompts=("a cat", "a dog"), untrained=True)


@pytest.mark.parametrize("source", ["timm:vit_tiny_patch16_224", "torchvision:alexnet"])
def test_weights_for_more_than_one_file_are_refused_while_they_are_made(monkeypatch, source):
    from edgeworthy.sources import giants

    monkeypatch.setattr(giants, "MAX_FILE_BYTES", 20 * 2**20)  # as if a file ended there
    made = []
    handle = register_module_parameter_registration_hook(lambda *told: made.append(told[2]))
    try:
        with pytest.raises(SourceError, match=r"The weights of \w+ take at least 0\.\d+ GiB"):
            load(source, untrained=True)
    finally:
        handle.remove()
    sizes = [4 * weights.numel() for weights in made if weights is not None]
    assert sum(sizes[:-1]) < 20 * 2**20  # nothing after the one too many
