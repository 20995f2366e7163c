"""From the text that names a source to the trained model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgeworthy.errors import OptionError
from edgeworthy.sources.base import Adapter, SourceRequest, TrainedModel
from edgeworthy.sources.callables import CallableAdapter
from edgeworthy.sources.files import FileAdapter, missing_path
from edgeworthy.sources.timm_library import TimmAdapter
from edgeworthy.sources.torchvision_library import TorchvisionAdapter
from edgeworthy.sources.transformers_library import TransformersAdapter
from edgeworthy.sources.untrained import SEED

ADAPTERS: tuple[Adapter, ...] = (
    TimmAdapter(),
    TorchvisionAdapter(),
    TransformersAdapter(),
    FileAdapter(),
    CallableAdapter(),
)

FORMS = (
    "timm:NAME, torchvision:NAME[:WEIGHTS], hf:ORG/NAME, hf:FOLDER, the path of a model file or folder, "
    "path/to/file.py:callable or package.module:callable"
)


@contextlib.contextmanager
def _seeded(*, untrained: bool) -> Iterator[None]:
    """Random weights from a fixed seed; the caller's random state is as before afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        if untrained:
            torch.manual_seed(SEED)
        yield


def load_source(request: SourceRequest) -> TrainedModel:
    """Load a trained model.

    Raises:
        OptionError: where the text names no source, or options contradict each other.
        SourceError: where the model cannot be had.
    """
    if not request.spec.strip():
        raise OptionError("The source is an empty text.", hint="Is a shell variable empty?")
    if request.untrained and request.checkpoint:
        raise OptionError("--untrained and --checkpoint exclude each other.", hint="Drop one of them.")
    if request.arch and request.checkpoint:
        raise OptionError("--arch and --checkpoint exclude each other.", hint="Drop one of them.")
    for adapter in ADAPTERS:
        if adapter.accepts(request.spec):
            if request.arch and not isinstance(adapter, FileAdapter):
                raise OptionError(
                    f"--arch is for a file of weights, and {request.spec!r} names an architecture.",
                    hint=f"Turn it round: {request.spec} --checkpoint FILE.",
                )
            if request.prompts and not isinstance(adapter, FileAdapter | TransformersAdapter):
                raise OptionError(
                    f"{request.spec!r} takes no prompts.",
                    hint="Prompts are for models of pictures and texts: hf:openai/clip-vit-base-patch32.",
                )
            with _seeded(untrained=request.untrained):
                return adapter.load(request)
    if missing_path(request.spec):
        raise OptionError(f"There is no file or folder {request.spec!r}.", hint=f"Give a source as {FORMS}.")
    raise OptionError(f"The source {request.spec!r} is not understood.", hint=f"Give it as {FORMS}.")
