"""The state in which a module is asked and traced, and its restoration."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from edgeworthy.contract import MAX_FILE_BYTES
from edgeworthy.errors import NotAClassifierError, first_line


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, one thread and the caller's random state kept, all restored afterwards.

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
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
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
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    return copy.deepcopy(module).cpu()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
