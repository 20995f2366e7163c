"""Models in plain files and folders: told apart by what they hold, loaded without letting them run code."""

import contextlib
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeworthy import export
from edgeworthy.cli import main
from edgeworthy.errors import (
    CheckpointError,
    EdgeworthyError,
    NotAClassifierError,
    OptionError,
    SourceError,
    TracedBranchError,
    UnexportableError,
    UntrustedPickleError,
)
from edgeworthy.evidence import own_entries
from edgeworthy.model import metadata_of, read
from edgeworthy.sources import programs
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.detection import examine
from edgeworthy.sources.registry import load_source
from tests.factory import classifier_file
from tests.models import OPTIONS, SIZE, Tiny, TwoInputs

UNSIZED = {key: value for key, value in OPTIONS.items() if key != "input_size"}
CPU, GPU = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"  # the names of devices, pickled
LEGACY = {"_use_new_zipfile_serialization": False}


def load(spec, **details):
    return load_source(SourceRequest(spec=str(spec), **details))


@pytest.fixture(autouse=True)
def one_child(sandbox, monkeypatch):
    """All archives are tried in one child, which has torch imported from the first on."""
    monkeypatch.setattr(programs, "Sandbox", lambda: contextlib.nullcontext(sandbox))


class Placing(Tiny):
    """Makes a tensor where the picture lies, by name once it is traced."""

    def forward(self, image):
        return super().forward(image) + torch.arange(4, device=image.device) / 4


@torch.jit.script
def shifted(scores):
    return scores + torch.arange(4, device="cuda:0") / 4


class Calling(nn.Module):
    """Has a function make its tensor on a GPU."""

    def forward(self, image):
        return shifted(image.mean(dim=(2, 3)).sum(dim=1, keepdim=True).expand(1, 4))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One file of each kind, of the same model."""
    folder = tmp_path_factory.mktemp("private_place")
    model, picture = Tiny().eval(), torch.rand(1, *SIZE)
    torch.jit.trace(model, picture).save(folder / "traced.pt")
    torch.jit.script(Plain().eval()).save(folder / "scripted.pt")
    torch.export.save(torch.export.export(model, (picture,)), folder / "program.pt2")
    torch.save(model, folder / "whole.pt")
    torch.save({"model": model, "epoch": 3}, folder / "whole_legacy.pt", **LEGACY)
    torch.save(model.state_dict(), folder / "weights.pt")
    torch.save({"state_dict": model.state_dict()}, folder / "weights_legacy.pth", **LEGACY)
    save_file(model.state_dict(), folder / "weights.safetensors")
    return folder


class Plain(nn.Module):
    """Can be scripted; looks at the number of dimensions, as torch's own functions do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def score(self, image):
        return 4 * self.head(torch.relu(self.norm(self.conv(image))).mean(dim=[2, 3]))

    def forward(self, image):
        return self.score(image)


class Branch(Plain):
    """Takes another road for bright pictures."""

    def forward(self, image):
        scores = self.score(image)
        if bool(image.mean() > 0.4):
            scores = scores.flip(1)
        return scores


class Counting(Plain):
    """Computes with a number that it reads from the picture."""

    def forward(self, image):
        return self.score(image) * float(int(image.abs().sum()) % 3 + 1)


class Pair(Plain):
    """Wants a second picture."""

    def forward(self, image, other: torch.Tensor):
        return self.score(image + other)


def altered(source, target, change):
    """A copy of a zip archive with what `change(name, content)` makes of each record."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


def same(model, other):
    picture = torch.rand(1, *SIZE)
    with torch.no_grad():
        return torch.allclose(model.eval()(picture), other.eval()(picture), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "what", "options"),
    [
        ("traced.pt", "traced.pt is a TorchScript archive.", {}),
        ("scripted.pt", "scripted.pt is a TorchScript archive.", {}),
        ("program.pt2", "program.pt2 is a torch.export program.", {}),
        ("whole.pt", "whole.pt is a whole model of the class tests.models.Tiny.", {"trust_pickle": True}),
    ],
)
def test_files_of_whole_models_are_exported_and_say_what_they_are(made, tmp_path, name, what, options):
    settled = UNSIZED if name.endswith("pt2") else OPTIONS
    artefact = export(str(made / name), tmp_path / "m.onnx", **settled, **options)
    assert artefact.parity.verdict == "same"
    assert artefact.notes[0] == what
    assert own_entries(metadata_of(read(tmp_path / "m.onnx")))["source"] == name
    assert b"private_place" not in (tmp_path / "m.onnx").read_bytes()


def picture():
    return torch.zeros(1, *SIZE)


PROGRAMS = {
    "traced": lambda model: torch.jit.trace(model, picture()),
    "frozen": lambda model: torch.jit.freeze(torch.jit.script(model)),
    "program": lambda model: torch.export.export(model, (picture(),)),
    "program's module": lambda model: torch.export.export(model, (picture(),)).module(),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs_in_memory_are_exported_too(tmp_path, kind):
    source = PROGRAMS[kind](Tiny().eval())
    options = dict(OPTIONS)
    if kind == "program":
        del options["input_size"]  # it says so itself
    artefact = export(source, tmp_path / "m.onnx", **options)
    assert artefact.parity.verdict == "same"
    assert artefact.contract.input_shape[-2:] == SIZE[-2:]


def test_a_program_in_memory_that_takes_two_inputs_says_so(tmp_path):
    for source in (
        torch.jit.trace(TwoInputs().eval(), (picture(), picture())),
        torch.export.export(TwoInputs().eval(), (picture(), picture())),
    ):
        with pytest.raises(SourceError, match="takes 2 inputs"):
            export(source, tmp_path / "m.onnx", **OPTIONS)


def test_a_script_with_hooks_is_refused_since_they_are_not_compiled(tmp_path):
    script = torch.jit.trace(Tiny().eval(), picture())
    script.register_forward_hook(lambda module, given, result: result * 0.1)
    with pytest.raises(SourceError, match="forward hooks"):
        export(script, tmp_path / "m.onnx", **OPTIONS)


def test_a_script_may_have_what_would_be_suspicious_in_a_file(tmp_path):
    class Named(Tiny):
        save: int = 3

        def forward(self, image):
            return super().forward(image) * self.save

    model = Named().eval()
    model.save = 3
    artefact = export(torch.jit.trace(model, picture()), tmp_path / "m.onnx", **OPTIONS)
    assert artefact.parity.verdict == "same"


@pytest.mark.parametrize("model", [Tiny(), nn.Sequential(nn.Dropout(0.5), Tiny().eval())])
def test_a_program_for_training_is_refused_and_left_as_it_is(tmp_path, model):
    if isinstance(model, Tiny):
        model.train()
    program = torch.export.export(model, (picture(),))
    before = {name: value.clone() for name, value in program.state_dict.items()}
    with pytest.raises(SourceError, match=r"exported for training"):
        export(program, tmp_path / "m.onnx", **OPTIONS)
    torch.export.save(program, tmp_path / "program.pt2")
    with pytest.raises(SourceError, match=r"exported for training"):
        load(str(tmp_path / "program.pt2"))
    assert all(torch.equal(value, program.state_dict[name]) for name, value in before.items())


def test_a_program_within_a_module_has_no_eval_mode(tmp_path):
    inner = torch.export.export(Tiny().eval(), (picture(),)).module()
    with pytest.raises(NotAClassifierError, match=r"eval mode.*Give the program itself"):
        export(nn.Sequential(inner), tmp_path / "m.onnx", **OPTIONS)


def test_what_a_file_is_does_not_hang_on_its_suffix(made, tmp_path):
    for name in (
        "traced.pt",
        "program.pt2",
        "whole.pt",
        "weights.pt",
        "weights_legacy.pth",
        "weights.safetensors",
    ):
        found = examine(made / name)
        renamed = tmp_path / "something.onnx"
        renamed.write_bytes((made / name).read_bytes())
        assert examine(renamed) == found
    with pytest.raises(CheckpointError, match=r"'something\.onnx' is a state dict of 11 tensors"):
        load(renamed)


def test_weights_of_a_script_are_those_of_the_model_and_go_to_double_precision(made):
    script = load(made / "traced.pt").module
    assert same(script, Tiny())
    picture = torch.rand(1, *SIZE).double()
    with torch.no_grad():
        assert torch.allclose(script.double()(picture), Tiny().eval().double()(picture), atol=1e-12)


def test_a_frozen_script_keeps_its_weights_to_be_digested(tmp_path):
    model = Plain().eval()
    torch.jit.freeze(torch.jit.script(model)).save(tmp_path / "frozen.pt")
    loaded = load(tmp_path / "frozen.pt").module
    assert {tuple(tensor.shape) for tensor in loaded.state_dict().values()} >= {(8, 3, 3, 3), (4, 8)}
    assert same(loaded, model)


def test_a_script_saved_in_training_mode_is_evaluated(tmp_path):
    class Dropping(Plain):
        def forward(self, image):
            return nn.functional.dropout(self.score(image), 0.5, self.training)

    torch.jit.script(Dropping().train()).save(tmp_path / "training.pt")
    assert same(load(tmp_path / "training.pt").module, Plain())


@pytest.mark.parametrize("kind", [Branch, Counting])
def test_a_script_whose_road_depends_on_pixels_is_refused(tmp_path, kind):
    torch.jit.script(kind().eval()).save(tmp_path / "branch.pt")
    with pytest.raises(TracedBranchError, match="values that it computes from the picture"):
        export(str(tmp_path / "branch.pt"), tmp_path / "m.onnx", **OPTIONS)
    assert not (tmp_path / "m.onnx").exists()


def test_a_script_cannot_go_through_dynamo_and_the_error_says_why(made, tmp_path):
    with pytest.raises(UnexportableError, match="TorchScript archive is a finished program"):
        export(str(made / "traced.pt"), tmp_path / "m.onnx", exporter="dynamo", **OPTIONS)


def test_a_script_of_two_inputs_or_half_precision_or_another_device(made, tmp_path):
    torch.jit.script(Pair().eval()).save(tmp_path / "pair.pt")
    with pytest.raises(SourceError, match="it takes 2 inputs, expected one picture"):
        load(tmp_path / "pair.pt")
    torch.jit.script(Plain().eval().half()).save(tmp_path / "half.pt")
    with pytest.raises(NotAClassifierError, match=r"torch\.float16"):
        export(str(tmp_path / "half.pt"), tmp_path / "m.onnx", **OPTIONS)
    moved = altered(made / "scripted.pt", tmp_path / "gpu.pt", lambda _, content: content.replace(CPU, GPU))
    assert moved.stat().st_size > (made / "scripted.pt").stat().st_size - 9000
    assert any(GPU in zipfile.ZipFile(moved).read(name) for name in zipfile.ZipFile(moved).namelist())
    assert same(load(moved).module, Plain())


def test_a_script_that_makes_tensors_on_a_gpu_makes_them_on_the_cpu(tmp_path):
    script = torch.jit.trace(Placing().eval(), torch.rand(1, 3, 20, 28))
    devices = [
        node
        for node in script.graph.findAllNodes("prim::Constant", recurse=True)
        if str(node.output().type()) == "Device"
    ]
    assert devices
    for node in devices:
        node.s_("value", "cuda:0")  # as a trace on a GPU has it
    script.save(tmp_path / "gpu.pt")
    names = zipfile.ZipFile(tmp_path / "gpu.pt").namelist()
    assert any(b'"cuda:0"' in zipfile.ZipFile(tmp_path / "gpu.pt").read(name) for name in names)
    assert same(load(tmp_path / "gpu.pt").module, Placing())


def test_so_does_a_function_that_a_script_calls(tmp_path):
    torch.jit.script(Calling().eval()).save(tmp_path / "gpu.pt")
    with torch.no_grad():
        scores = load(tmp_path / "gpu.pt").module(torch.zeros(1, *SIZE))
    assert scores.tolist() == [[0, 0.25, 0.5, 0.75]]


def test_a_program_from_a_gpu_runs_on_the_cpu_and_stays_as_it_was(tmp_path):
    program = torch.export.export(Placing().eval(), (torch.rand(1, 3, 20, 28),)).module()
    gpu, changed = torch.device("cuda:0"), 0
    for node in program.graph.nodes:
        if "device" in node.kwargs and "assert" not in str(node.target):
            node.update_kwarg("device", gpu)
            changed += 1
    assert changed
    program.recompile()
    assert export(program, tmp_path / "m.onnx", **OPTIONS).parity.verdict == "same"
    assert sum(node.kwargs.get("device") == gpu for node in program.graph.nodes) == changed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it can be loaded")
def test_a_program_that_was_saved_on_a_gpu_is_no_danger_and_says_what_to_do(made, tmp_path):
    def move(name, content):
        if name.endswith("sample_inputs/model.pt"):
            return altered(
                io.BytesIO(content), io.BytesIO(), lambda _, inner: inner.replace(CPU, GPU)
            ).getvalue()
        moved = b'"type": "cuda", "index": 0'
        return content.replace(b'"type": "cpu", "index": null', moved) if name.endswith(".json") else content

    gpu = altered(made / "program.pt2", tmp_path / "gpu.pt2", move)
    with pytest.raises(SourceError, match="CUDA") as caught:
        load(gpu)
    assert "torch.export.passes" in caught.value.hint


def test_a_script_that_crashes_its_loader_is_an_error(made, tmp_path):
    nested = b"(" * 200_000 + b"self.conv" + b")" * 200_000

    def deepen(name, content):
        return content.replace(b"self.conv", nested, 1) if name.endswith(".py") else content

    deep = altered(made / "scripted.pt", tmp_path / "deep.pt", deepen)
    assert deep.stat().st_size > len(nested)
    with pytest.raises(SourceError, match=r"'deep\.pt' cannot be loaded as a TorchScript archive"):
        load(deep)


def test_a_script_that_touches_files_is_refused(tmp_path):
    class Writing(Plain):
        def forward(self, image):
            torch.save(image, "marker")
            return self.score(image)

    torch.jit.script(Writing().eval()).save(tmp_path / "writing.pt")
    with pytest.raises(UntrustedPickleError, match="may read or write files"):
        load(tmp_path / "writing.pt")


def test_a_script_optimised_for_one_machine_says_so(tmp_path):
    optimised = torch.jit.optimize_for_inference(torch.jit.script(Plain().eval()))
    optimised.save(tmp_path / "fast.pt")
    try:
        load(tmp_path / "fast.pt")
    except SourceError as error:
        assert "optimised for inference" in error.hint
    else:
        assert "mkldnn" not in str(optimised.graph)


def test_programs_know_their_size_and_say_what_they_take(tmp_path, made):
    model, picture = Tiny().eval(), torch.rand(8, *SIZE)
    batch = torch.export.Dim("batch")

    def saved(name, module, inputs, **options):
        torch.export.save(torch.export.export(module, inputs, **options), tmp_path / name)
        return tmp_path / name

    free = saved("free.pt2", model, (picture,), dynamic_shapes=({0: batch},))
    assert load(free).input_size == load(made / "program.pt2").input_size == SIZE
    assert same(load(free).module, model)
    with pytest.raises(SourceError, match="exported for 8 pictures at a time"):
        load(saved("eight.pt2", model, (picture,)))
    with pytest.raises(SourceError, match="takes 2 inputs, expected one picture"):
        load(saved("two.pt2", TwoInputs().eval(), (picture, picture)))
    with pytest.raises(SourceError, match=r"takes float32 \[1, 32\], expected float32 \[1, C, H, W\]"):
        load(saved("flat.pt2", nn.Linear(32, 4), (torch.rand(1, 32),)))


class Bomb:
    """Writes a marker when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def pickled(thing):
    stream = io.BytesIO()
    torch.save(thing, stream)
    return stream.getvalue()


def in_model(change):
    """Alter the program's own JSON."""

    def alter(name, content):
        if not name.endswith("models/model.json"):
            return content
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return alter


def _expression(marker):
    def change(document):
        size = document["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
        call = f"__import__('os').system('touch {marker}')"
        size[0] = {"as_expr": {"expr_str": call, "hint": {"as_int": 1}}}

    return in_model(change)


def _operator(marker):
    def change(document):
        node = document["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "c", "arg": {"as_string": f"touch {marker}"}, "kind": 1}]

    return in_model(change)


def _guards(marker):
    return in_model(lambda d: d.update(guards_code=[f"__import__('os').system('touch {marker}')"]))


def _enumeration(marker):
    def change(document):
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        context = json.dumps({"__enum__": True, "module": "antigravity", "qualname": "a", "name": "b"})
        children = [{"type": None, "context": None, "children_spec": []}]
        signature["in_spec"] = json.dumps(
            [1, {"type": "builtins.dict", "context": context, "children_spec": children}]
        )

    return in_model(change)


def _samples(marker):
    return lambda name, content: pickled(Bomb(marker)) if "sample_inputs" in name else content


def _weight(marker):
    def alter(name, content):
        if name.endswith("weights/weight_0"):
            return pickled(Bomb(marker))
        return content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)

    return alter


def _constant(marker):
    def alter(name, content):
        if not name.endswith("model_constants_config.json"):
            return content
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
        return json.dumps({"config": {"thing": entry}}).encode()

    return alter


@pytest.mark.parametrize(
    "attack", [_expression, _operator, _guards, _enumeration, _samples, _weight, _constant]
)
def test_a_program_that_would_run_code_is_refused_and_does_not_run(made, tmp_path, attack):
    marker = tmp_path / "marker"
    hostile = altered(made / "program.pt2", tmp_path / "hostile.pt2", attack(marker))
    assert "antigravity" not in sys.modules
    with pytest.raises(UntrustedPickleError, match="without letting it run code: it has") as caught:
        load(hostile)
    assert "--trust-pickle" in caught.value.hint
    assert not marker.exists()
    assert "antigravity" not in sys.modules


def test_a_program_with_absurd_numbers_or_twin_records_is_refused(made, tmp_path):
    huge = altered(
        made / "program.pt2",
        tmp_path / "huge.pt2",
        lambda name, content: (
            content.replace(b'{"as_int": 8}', b'{"as_int": 99999999999999}')
            if name.endswith("weights_config.json")
            else content
        ),
    )
    with pytest.raises(UntrustedPickleError, match="a tensor that no file holds"):
        load(huge)
    twin = tmp_path / "twin.pt2"
    twin.write_bytes((made / "program.pt2").read_bytes())
    with zipfile.ZipFile(twin, "a") as archive:
        archive.writestr("program/models/MODEL.json", b"{}")
    with pytest.raises(SourceError, match="two of its records have one name"):
        load(twin)


@pytest.mark.parametrize("name", ["whole.pt", "whole_legacy.pt"])
def test_a_whole_pickled_model_names_its_class_and_wants_trust(made, name):
    with pytest.raises(UntrustedPickleError, match=r"'tests\.models\.Tiny'.*--trust-pickle"):
        load(made / name)
    trained = load(made / name, trust_pickle=True)
    assert isinstance(trained.module, Tiny)
    assert (trained.name, trained.normalization, trained.class_names) == (name, None, None)


def test_a_pickled_timm_model_keeps_what_timm_knows(tmp_path):
    from edgeworthy.sources.torchvision_shim import mend_torchvision

    mend_torchvision()
    import timm

    torch.save(timm.create_model("test_resnet", num_classes=5), tmp_path / "best.pth")
    trained = load(tmp_path / "best.pth", trust_pickle=True)
    assert trained.input_size == (3, 160, 160)
    assert trained.frame_at is not None


def test_a_class_that_is_not_to_be_found_says_where_to_run(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text("from torch import nn\nclass Net(nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_nets

    torch.save(my_nets.Net(3, 4), tmp_path / "net.pt")
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "my_nets")
    with pytest.raises(CheckpointError, match=r"needs Python code.*my_nets.*in the folder"):
        load(tmp_path / "net.pt", trust_pickle=True)
    monkeypatch.chdir(tmp_path)
    assert type(load("net.pt", trust_pickle=True).module).__name__ == "Net"
    assert str(tmp_path) not in sys.path
    sys.modules.pop("my_nets")


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_a_pickle_that_would_run_code_does_not(tmp_path, options):
    torch.save({"model": Bomb(tmp_path / "marker")}, tmp_path / "a.pt", **options)
    with pytest.raises(UntrustedPickleError, match="system"):
        load(tmp_path / "a.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "marker"), protocol=2))
    with pytest.raises(SourceError):
        load(tmp_path / "plain.pkl")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["weights.pt", "weights_legacy.pth", "weights.safetensors"])
def test_a_file_of_weights_is_described_or_put_into_its_architecture(made, name):
    with pytest.raises(CheckpointError) as caught:
        load(made / name)
    assert f"'{name}' is a state dict of 11 tensors" in caught.value.message
    assert "gives 4 outputs" in caught.value.message
    assert "--arch timm:NAME" in caught.value.hint
    trained = load(made / name, arch="tests.models:tiny")
    assert same(trained.module, Tiny())
    assert trained.name == "tests.models:tiny"
    assert trained.notes[0] == f"{name} is a file of weights for tests.models:tiny."


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("traced.pt", {"arch": "tests.models:tiny"}, "--arch does not go with 'traced.pt'"),
        ("traced.pt", {"untrained": True}, "--untrained does not go with"),
        ("program.pt2", {"checkpoint": Path("x.pt")}, "--checkpoint does not go with"),
        ("program.pt2", {"prompts": ("a cat",)}, "--prompts does not go with"),
        ("weights.pt", {"checkpoint": Path("x.pt")}, "--checkpoint gives weights, too"),
        ("weights.pt", {"arch": "a", "checkpoint": Path("x.pt")}, "--arch and --checkpoint exclude"),
        ("weights.pt", {"arch": "tests"}, "is a file or folder, expected the source"),
    ],
)
def test_options_that_do_not_go_with_a_file_are_refused(made, source, options, message):
    with pytest.raises(OptionError, match=message):
        load(made / source, **options)


def test_an_architecture_wants_its_weights_the_other_way_round():
    with pytest.raises(OptionError, match="timm:resnet18 --checkpoint FILE"):
        load("timm:resnet18", arch="weights.pt")


def test_a_folder_of_timm_goes_to_timm_and_keeps_its_path_to_itself(tmp_path, monkeypatch):
    from edgeworthy.sources.torchvision_shim import mend_torchvision

    mend_torchvision()
    import timm
    from timm.models import save_for_hf

    folder = tmp_path / "private_place" / "cats"
    model = timm.create_model("test_resnet", num_classes=3)
    save_for_hf(model, folder, model_config={"num_classes": 3, "label_names": ["a", "b", "c"]})
    monkeypatch.chdir(folder)
    trained = load(".")
    assert (trained.name, trained.class_names.names) == ("timm:local-dir:cats", ("a", "b", "c"))
    assert trained.notes[0] == "cats is a folder as timm saves it."
    with pytest.raises(OptionError, match="--arch does not go with 'cats'"):
        load(folder, arch="timm:resnet18")


def test_folders_are_told_apart_by_their_config_alone(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")  # whoever reads it hangs
    cases = {
        '{"architecture": "resnet18"}': "timm",
        '{"pretrained_cfg": {}}': "timm",
        '{"model_type": "vit"}': "transformers",
        '{"model_type": 3, "architecture": []}': "foreign",
        "[" * 100_000: "foreign",
        "\x00\xff": "foreign",
        '["model_type"]': "foreign",
    }
    for text, kind in cases.items():
        (tmp_path / "config.json").write_text(text)
        assert examine(tmp_path).kind == kind
    with pytest.raises(SourceError, match=r"Looked for: config\.json .* It has 'model\.safetensors'"):
        load(tmp_path)


FOREIGN = {
    b"": "is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "Git LFS pointer.*git lfs pull",
    b"\x89HDF\r\n\x1a\n" + bytes(40): "Keras.*tf2onnx",
    bytes([28, 0, 0, 0]) + b"TFL3" + bytes(40): "TensorFlow Lite",
    b"GGUF" + bytes(40): "GGUF",
    b"7767517\n75 83\n": "NCNN",
    b"\x08\x04\x12\x02ab\xa2\x1f\x01a": "Core ML",
    b"import torch\n": "a text file.*:callable",
    "ünïcödé\n".encode(): "a text file",
    b"<!DOCTYPE html><html>": "a web page",
    b"\x1f\x8b\x08" + bytes(40): "compressed archive",
    b"\xff\xfe\x00\x01" * 20: "none of the model files that are known",
    b"\x08": "none of the model|a text file",
    b"PK\x03\x04" + bytes(30): "cut off or damaged",
    b"PK\x03\x04"
    + bytes(5 << 20)
    + b"PK\x05\x06"
    + struct.pack("<4H2LH", 0, 0, 9, 9, 5 << 20, 4, 0): "no model has",
}


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_no_pytorch_model_is_named_with_the_next_step(tmp_path, content):
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=rf"'best\.pt' is .*{FOREIGN[content].removeprefix('is ')}"
    ) as caught:
        load(path)
    assert caught.value.hint


def test_zip_archives_of_others_are_named_and_bombs_are_left_alone(tmp_path):
    path = tmp_path / "a.zip"

    def packed(*names, content=b"x", method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in names:
                archive.writestr(name, content)
        return examine(path)

    assert "Keras" in packed("config.json", "metadata.json", "model.weights.h5").what
    assert "NumPy" in packed("a.npy").what
    assert "AOTInductor" in packed("m/data/aotinductor/model/a.so", "m/archive_format").what
    assert "torch.package" in packed("m/.data/extern_modules", "m/data.pkl").what
    assert "without a model" in packed("readme.txt").what
    assert packed("m/data.pkl").kind == "pickle"
    bomb = packed("m/data.pkl", content=bytes(10 << 20), method=zipfile.ZIP_DEFLATED)
    assert "of a size that no model has" in bomb.what
    packed("m/archive_format", "m/models/model.json", "serialized_exported_program.json", "version")
    with pytest.raises(UntrustedPickleError, match=r"torch 2\.7 and older"):
        load(path)


def test_an_onnx_file_is_one_already(tmp_path):
    path = classifier_file(tmp_path / "m.onnx")
    for content in (path.read_bytes(), path.read_bytes()[:-10]):
        (tmp_path / "m.bin").write_bytes(content)
        with pytest.raises(OptionError, match=r"an ONNX model already.*edgeworthy repair"):
            load(tmp_path / "m.bin")


NAMES = ["traced.pt", "program.pt2", "weights.pt", "weights_legacy.pth", "weights.safetensors", "whole.pt"]


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_cut_off_or_altered_are_errors_of_our_own(made, tmp_path, name):
    whole = (made / name).read_bytes()
    path = tmp_path / name
    for part in (0.01, 0.3, 0.6, 0.9, 0.99, 0.9999):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(EdgeworthyError) as caught:
            load(path)
        assert name in caught.value.message
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", ["traced.pt", "program.pt2"])
def test_archives_with_a_record_that_is_cut_off_are_errors_of_our_own(made, tmp_path, name):
    records = zipfile.ZipFile(made / name).namelist()
    wanted = (
        "data.pkl",
        "constants.pkl",
        "models.py",
        "model.json",
        "weights_config.json",
        "archive_version",
    )
    for record in [record for record in records if record.endswith(wanted)]:
        short = altered(
            made / name,
            tmp_path / name,
            lambda each, content, record=record: content[: len(content) // 2] if each == record else content,
        )
        with pytest.raises(SourceError, match=f"'{name}' cannot be loaded as a"):
            load(short)


@pytest.mark.parametrize("left", [0, 4])
def test_weights_that_are_shorter_than_they_claim_are_not_read_from_elsewhere(made, tmp_path, left):
    torch.jit.freeze(torch.jit.script(Plain().eval())).save(tmp_path / "frozen.pt")
    for source, record in [
        (made / "traced.pt", "traced/data/10"),
        (tmp_path / "frozen.pt", "frozen/constants/3"),
    ]:
        short = altered(
            source,
            tmp_path / "short.pt",
            lambda name, content, record=record: content[:left] if name == record else content,
        )
        with pytest.raises(SourceError, match="its weights are cut off"):
            load(short)


@pytest.mark.parametrize("source", ["./absent.pt", "absent.safetensors", "models/cats", "/absent"])
def test_a_path_that_is_not_there_says_so(source):
    with pytest.raises(OptionError, match=f"There is no file or folder '{source}'.*file.py:callable"):
        load(source)


def test_texts_that_are_no_path_at_all_are_refused():
    for source in ("a" * 5000, "a\0b", "", "C:best"):
        with pytest.raises(EdgeworthyError):
            load(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        load(tmp_path / "pipe.pt")


def test_the_program_ends_with_two_where_a_file_cannot_be_taken(made, tmp_path, capsys):
    (tmp_path / "empty.pt").write_bytes(b"")
    refused = [
        [str(made / "whole.pt")],
        [str(made / "weights.pt")],
        [str(made / "traced.pt"), "--arch", "timm:resnet18"],
        [str(classifier_file(tmp_path / "m.onnx"))],
        [str(tmp_path / "empty.pt")],
        [str(tmp_path / "absent.pt")],
        [str(tmp_path)],
    ]
    for words in refused:
        with pytest.raises(SystemExit) as ended:
            main(["export", *words, "-o", str(tmp_path / "out.onnx")])
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert "next: " in told
        assert "Traceback" not in told
        assert "not foreseen" not in told
    assert not (tmp_path / "out.onnx").exists()
