"""From the text that names a source to the trained model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgeworthy.errors import OptionError
from edgeworthy.sources.base import Adapter, SourceRequest, TrainedModel
from edgeworthy.sources.callables import CallableAdapter
from edgeworthy.sources.timm_library import TimmAdapter
from edgeworthy.sources.torchvision_library import TorchvisionAdapter
from edgeworthy.sources.untrained import SEED

ADAPTERS: tuple[Adapter, ...] = (TimmAdapter(), TorchvisionAdapter(), CallableAdapter())

FORMS = "timm:NAME, torchvision:NAME[:WEIGHTS], path/to/file.py:callable or package.module:callable"


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
    if request.untrained and request.checkpoint:
        raise OptionError("--untrained and --checkpoint exclude each other.", hint="Drop one of them.")
    for adapter in ADAPTERS:
        if adapter.accepts(request.spec):
            with _seeded(untrained=request.untrained):
                return adapter.load(request)
    raise OptionError(f"The source {request.spec!r} is not understood.", hint=f"Give it as {FORMS}.")
