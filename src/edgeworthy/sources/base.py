"""What every adapter receives and gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeworthy.contract import Normalization
from edgeworthy.errors import EdgeworthyError, SourceError, first_line
from edgeworthy.frames import Frame
from edgeworthy.labels import ClassNames

if TYPE_CHECKING:
    from torch import nn


InputSize = tuple[int, int, int]

INSTEAD = "Give your own weights with --checkpoint FILE, or try the road with --untrained."


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """A trained model as the user asks for it.

    Attributes:
        spec: behind the adapter's prefix: a model's name, or `file.py:callable`.
        checkpoint: weights to load into the architecture.
        untrained: whether random weights from a fixed seed are wanted.
        trust_pickle: whether a checkpoint may run code.
    """

    spec: str
    checkpoint: Path | None = None
    untrained: bool = False
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A classifier and what its library knows about it; None where it does not.

    Attributes:
        module: takes one float32 picture [1, C, H, W]; on the CPU.
        name: for the evidence, without private paths.
        class_names: in the order of the outputs.
        input_size: (channels, height px, width px).
        normalization: on the 0..255 scale.
        frame_at: the geometry of the training library's evaluation transform, for an input size.
        untrained: whether the weights are random.
        notes: what the user should know about how it was loaded.
    """

    module: nn.Module
    name: str
    class_names: ClassNames | None = None
    input_size: InputSize | None = None
    normalization: Normalization | None = None
    frame_at: Callable[[InputSize], Frame] | None = None
    untrained: bool = False
    notes: tuple[str, ...] = ()


class Adapter(Protocol):
    """One library, or one way to name a model."""

    def accepts(self, source: str) -> bool:
        """Whether this adapter is meant by the source's text."""
        ...

    def load(self, request: SourceRequest) -> TrainedModel:
        """Load the model.

        Raises:
            SourceError: where it cannot be had.
            MissingExtraError: where the library is not installed.
        """
        ...


@contextlib.contextmanager
def told_as(library: str, name: str) -> Iterator[None]:
    """What a library and its hub raise, as an error that names the model.

    Raises:
        SourceError: in place of anything that is not edgeworthy's own.
    """
    try:
        yield
    except EdgeworthyError:
        raise
    except Exception as error:
        raise SourceError(f"{library} cannot make {name!r}: {first_line(error)}", hint=INSTEAD) from error
