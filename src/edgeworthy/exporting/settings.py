"""The state in which a module is asked and traced, and its restoration."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import NotAClassifierError, first_line


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, one thread, full precision and the caller's random state kept, all restored afterwards.

    Raises:
        NotAClassifierError: where a part of it has no eval mode.
    """
    modes = [(part, part.training) for part in module.modules()]
    threads = torch.get_num_threads()
    random = torch.get_rng_state()
    try:
        module.eval()
    except NotImplementedError as error:  # of torch.export's programs
        raise NotAClassifierError(
            f"The model cannot be put into eval mode: {first_line(error)}",
            hint="Give the program itself, or the module that it was made from.",
        ) from error
    torch.set_num_threads(1)  # figures that repeat
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        torch.set_num_threads(threads)
        torch.set_rng_state(random)


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """Without the fast path of multi-head attention, which no exporter can write."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def prepared(module: nn.Module) -> nn.Module:
    """The module itself, or a copy on the CPU where it lies elsewhere.

    Raises:
        NotAClassifierError: where its weights are not float32, or too large for one file.
    """
    module = unwrapped(module)
    tensors = [*module.parameters(), *module.buffers()]
    if any(tensor.is_meta or is_lazy(tensor) for tensor in tensors):
        raise NotAClassifierError(
            "Some of the model's weights are not there yet: they are on the meta device, or lazy.",
            hint="Load the weights, or run the model once, before it is exported.",
        )
    size = sum({tensor.untyped_storage().data_ptr(): _bytes(tensor) for tensor in tensors}.values())
    if size > MAX_FILE_BYTES:
        raise NotAClassifierError(
            f"The weights take {size / 2**30:.2f} GiB; one self-contained ONNX file holds less than 2 GiB.",
            hint="Choose a smaller model.",
        )
    halves = {str(t.dtype) for t in tensors if t.is_floating_point() and t.dtype != torch.float32}
    if halves:
        raise NotAClassifierError(
            f"The model's weights are {', '.join(sorted(halves))}, expected torch.float32.",
            hint="Call .float() on it first.",
        )
    if all(tensor.device.type == "cpu" for tensor in tensors) and not any(_naming_devices(module)):
        return module
    module = copied(module, lambda tensor: tensor.cpu()).cpu()  # and what modules move in ways of their own
    for program, node in _naming_devices(module):
        node.args, node.kwargs = torch.fx.node.map_aggregate((node.args, node.kwargs), _cpu_for_a_device)
        program.recompile()
    return module


def _naming_devices(module: nn.Module) -> Iterator[tuple[torch.fx.GraphModule, torch.fx.Node]]:
    """The steps of programs that name another device than the CPU, as a program from a GPU does."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                values = (*node.args, *node.kwargs.values())
                if any(isinstance(value, torch.device) and value.type != "cpu" for value in values):
                    yield part, node


def _cpu_for_a_device(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) else value


def unwrapped(module: nn.Module) -> nn.Module:
    """The module in what torch.compile and DataParallel make of it; the latter refuses to run elsewhere."""
    while True:
        inside = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inside = module.module
        if not isinstance(inside, nn.Module):
            return module
        module = inside


def copied(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A copy of a module that has other tensors, without the same ones on the way.

    Args:
        module: which stays as it is.
        change: makes of each parameter, buffer and tensor that a part holds as an attribute the one to take;
            where it gives back the tensor itself, both share it.
    """
    held = [tensor for part in module.modules() for tensor in vars(part).values()]
    tensors = [*module.parameters(), *module.buffers(), *held]  # they live as long as their ids are needed
    changed: dict[int, torch.Tensor] = {}
    for tensor in tensors:
        if isinstance(tensor, nn.Parameter):
            kind = type(tensor)  # there are subclasses
            changed[id(tensor)] = kind(change(tensor.detach()), requires_grad=False)
        elif isinstance(tensor, torch.Tensor):
            changed[id(tensor)] = change(tensor.detach())
    return copy.deepcopy(module, changed)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
