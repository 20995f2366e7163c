"""Programs in files, as modules that can be asked and traced: TorchScript archives and torch.export's."""

from __future__ import annotations

import copy
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.errors import SourceError, UnexportableError, UntrustedPickleError, first_line
from edgeworthy.sandbox import Sandbox
from edgeworthy.sources.archives import records, what_runs
from edgeworthy.sources.base import InputSize

if TYPE_CHECKING:
    from torch import nn

_PROBE = "edgeworthy.sources.programs:probe_script"

_TRUST = "If you made the file yourself, or trust who did, add --trust-pickle."
_ONE_PICTURE = "expected one picture [1, C, H, W]"
_BACK = "Give the PyTorch model that it was made from."

_FILES = re.compile(rb"\b(save|from_file)\b")  # aten::save and aten::from_file, which write and map files
_STORAGE = re.compile(r"[^/]+/(data|constants)/\d+")
_LOOKS_AT_VALUES = {"prim::If", "prim::Loop", "aten::Bool", "aten::Int", "aten::Float", "aten::item"}


def program_of(source: Any) -> tuple[nn.Module, InputSize | None] | None:
    """A program in memory as a module that can be asked and traced, and its size where that is fixed.

    Args:
        source: a ScriptModule, an ExportedProgram or the module of one; None is returned for anything else.

    Raises:
        SourceError: where it takes something else than one picture.
    """
    import torch

    if isinstance(source, torch.jit.ScriptModule):
        return _of_script(source), None
    if isinstance(source, torch.export.ExportedProgram):
        size = _picture_size(source, "The program")
        return _program_module(source.module()), size
    if isinstance(source, torch.fx.GraphModule) and "train" in vars(source):  # it raises: see below
        return _program_module(source), None
    return None


def _of_script(script: Any) -> nn.Module:
    """A script in memory, by way of a file, which leaves the caller's own alone."""
    import torch

    if any(part._forward_hooks or part._forward_pre_hooks for part in script.modules()):
        raise SourceError(
            "The script has forward hooks, which are no part of what it was compiled to.", hint=_BACK
        )
    try:
        with tempfile.TemporaryDirectory(prefix="edgeworthy-") as folder:
            path = Path(folder) / "script.pt"
            torch.jit.save(script, path)
            return _lowered(path)
    except Exception as error:
        reason = first_line(error)
        raise SourceError(f"The script cannot be taken: {reason[:300]}", hint=_hint(reason)) from error


def load_script(path: Path) -> nn.Module:
    """A TorchScript archive as a module with its weights as buffers, on the CPU.

    Raises:
        UntrustedPickleError: where its code reads or writes files.
        SourceError: where it cannot be loaded, or crashes the process that tries.
    """
    with Sandbox() as sandbox:  # its parser overflows the stack on deeply nested code
        outcome = sandbox.call(_PROBE, str(path))
    if not outcome.done:
        raise _unloadable("TorchScript archive", path, outcome.message.removeprefix("SourceError: "))
    if not outcome.value:
        raise UntrustedPickleError(
            f"The code in {path.name!r} may read or write files (save, from_file).", hint=_BACK
        )
    try:
        return _lowered(path)
    except Exception as error:
        raise _unloadable("TorchScript archive", path, first_line(error)) from error


def probe_script(path: str) -> bool:
    """Load a TorchScript archive in the child process; False, and it is not loaded, where it may touch files.

    The child is kept from torch otherwise: here it is let in.
    """
    for name in ("torch", "sympy"):
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
    if any(_FILES.search(content) for name, content in records(path, ".py")):
        return False
    _lowered(Path(path))
    return True


def load_program(path: Path, *, trust: bool) -> tuple[nn.Module, InputSize | None]:
    """A torch.export program as a module, and the size of the picture that it takes where that is fixed.

    Raises:
        UntrustedPickleError: where loading could run code, and `trust` is not given.
        SourceError: where it cannot be loaded, or takes something else than one picture.
    """
    import torch

    try:
        reason = "" if trust else what_runs(path)
    except Exception as error:  # what is cut off or made up raises anything
        raise _unloadable("torch.export program", path, first_line(error)) from error
    if reason:
        raise UntrustedPickleError(
            f"{path.name!r} cannot be loaded without letting it run code: it has {reason}.", hint=_TRUST
        )
    try:
        with path.open("rb") as stream:  # the name of a path must end in .pt2
            program = torch.export.load(stream)
        size = _picture_size(program, f"The program in {path.name!r}")
        return _program_module(program.module()), size
    except SourceError:
        raise
    except Exception as error:
        raise _unloadable("torch.export program", path, first_line(error)) from error


def _unloadable(what: str, path: Path, reason: str) -> SourceError:
    return SourceError(f"{path.name!r} cannot be loaded as a {what}: {reason[:300]}", hint=_hint(reason))


def _hint(reason: str) -> str:
    if "CUDA" in reason or "cuda" in reason:
        return "It was made on a GPU: make it again on the CPU; torch.export.passes moves programs."
    if "'value' is undefined" in reason or "mkldnn" in reason:
        return "Was it optimised for inference on one machine? Save it before that."
    if _ONE_PICTURE in reason:
        return "Save a module that takes the picture alone."
    return f"Is it cut off, or made by a newer torch? {_BACK}"


def _lowered(path: Path) -> nn.Module:
    """The archive's forward as one function of the picture and the weights.

    A ScriptModule cannot be traced from outside, and a frozen one hides its weights. The steps are those
    of `torch.onnx.utils._create_jit_graph`.
    """
    import torch

    script = torch.jit.load(str(path), map_location="cpu").eval()
    _check_storages(script, path)
    _name_the_cpu(script)
    core: Any = torch._C
    frozen = core._freeze_module(script._c, preserveParameters=True)
    graph, weights = core._jit_pass_lower_graph(frozen._get_method("forward").graph, frozen)
    pictures = len(list(graph.inputs())) - len(weights)
    if pictures != 1:
        raise SourceError(f"it takes {pictures} inputs, {_ONE_PICTURE}")
    weights = [*weights, *_constants_as_inputs(graph)]
    function = core._create_function_from_graph("forward", graph)
    kinds = {node.kind() for kind in _LOOKS_AT_VALUES for node in graph.findAllNodes(kind, recurse=True)}
    return _script_module(function, weights, looks_at_values=bool(kinds))


def _check_storages(script: Any, path: Path) -> None:
    """Refuse weights that take more bytes than the archive has, which torch would read from elsewhere.

    Raises:
        SourceError: where they do.
    """
    graph = script.inlined_graph  # its nodes live as long as it does
    constants = [node.t("value") for node in _tensor_constants(graph)]
    claimed = {
        tensor.data_ptr() - tensor.storage_offset() * tensor.element_size(): tensor.untyped_storage().nbytes()
        for tensor in (*script.state_dict().values(), *constants)
    }
    with zipfile.ZipFile(path) as archive:
        there = sum(e.file_size for e in archive.infolist() if _STORAGE.fullmatch(e.filename))
    if claimed.get(0) or sum(claimed.values()) > there:
        raise SourceError("its weights are cut off")


def _name_the_cpu(script: Any) -> None:
    """Make tensors on the CPU that a script from a GPU makes there, which only its weights are moved from."""
    import torch

    core: Any = torch._C
    for part in script.modules():
        for name in part._c._method_names():
            graph = part._c._get_method(name).graph
            core._jit_pass_inline(graph)  # functions that it calls
            for node in graph.findAllNodes("prim::Constant", recurse=True):
                if str(node.output().type()) == "Device":
                    node.s_("value", "cpu")


def _tensor_constants(graph: Any) -> list[Any]:
    nodes = graph.findAllNodes("prim::Constant", recurse=True)
    return [node for node in nodes if node.hasAttribute("value") and node.kindOf("value") == "t"]


def _constants_as_inputs(graph: Any) -> Iterator[Any]:
    """Weights that freezing has put into the graph, taken out again."""
    for node in _tensor_constants(graph):
        value = node.t("value")
        if value.is_floating_point() and value.ndim:
            port = graph.addInput()
            port.setType(node.output().type())
            node.output().replaceAllUsesWith(port)
            node.destroy()
            yield value


def _script_module(function: Any, weights: list[Any], *, looks_at_values: bool) -> nn.Module:
    import torch
    from torch import nn

    class Script(nn.Module):
        """Calls the function with the weights; deep copies share it."""

        def __init__(self, weights: list[Any]) -> None:
            super().__init__()
            for place, weight in enumerate(weights):
                self.register_buffer(f"weight_{place}", weight.detach())

        def __deepcopy__(self, memo: dict[int, Any]) -> Script:
            return Script([copy.deepcopy(weight, memo) for weight in self.buffers()])

        def forward(self, image: Any) -> Any:
            if torch.compiler.is_compiling():
                raise UnexportableError(
                    "a TorchScript archive is a finished program, and the dynamo exporter reads Python alone."
                )
            if looks_at_values:  # what happens inside gives the tracer no reason to warn
                warnings.warn("Converting a tensor to a Python value", stacklevel=2)
            return function(image, *self.buffers())

    return Script(weights)


def _program_module(module: nn.Module) -> nn.Module:
    from torch import nn

    class Program(nn.Module):
        """The program, whose own eval() and train() raise: what it does is settled."""

        def __init__(self) -> None:
            super().__init__()
            self.program = module

        def train(self, mode: bool = True) -> Program:
            self.training = mode
            return self

        def forward(self, image: Any) -> Any:
            return self.program(image)

    return Program()


def _picture_size(program: Any, name: str) -> InputSize | None:
    """From the shape of the program's one input; None where height or width are free."""
    import torch

    if program.graph_signature.buffers_to_mutate or any(map(_trains, program.graph.nodes)):
        raise SourceError(
            f"{name} was exported for training: it drops values, or changes its own statistics, as it runs.",
            hint="Export the module after .eval().",
        )
    named = set(program.graph_signature.user_inputs)
    inputs = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in named
    ]
    if len(named) != 1 or len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise SourceError(
            f"{name} takes {len(program.graph_signature.user_inputs)} inputs, {_ONE_PICTURE}.",
            hint="Export a module that takes the picture alone.",
        )
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
    if len(shape) != 4 or inputs[0].dtype != torch.float32:
        raise SourceError(
            f"{name} takes {str(inputs[0].dtype).removeprefix('torch.')} "
            f"{['any' if side is None else side for side in shape]}, expected float32 [1, C, H, W].",
            hint="Export a module that takes one picture.",
        )
    if shape[0] not in {1, None}:
        raise SourceError(
            f"{name} was exported for {shape[0]} pictures at a time.",
            hint="Export it with one picture, or with a dynamic batch.",
        )
    channels, height, width = shape[1:]
    return None if channels is None or height is None or width is None else (channels, height, width)


def _trains(node: Any) -> bool:
    """Whether a node of a program drops values, or normalises by the pictures that it is given."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return False
    given = {entry.name: value for entry, value in zip(schema.arguments, node.args, strict=False)}
    given |= node.kwargs
    normalises = given.get("training") is True and given.get("running_mean") is not None
    return normalises or (given.get("train") is True and "p" in given)
