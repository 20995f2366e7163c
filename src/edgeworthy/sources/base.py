"""What every adapter receives and gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeworthy.contract import Normalization
from edgeworthy.errors import EdgeworthyError, SourceError, first_line
from edgeworthy.evidence import Activation
from edgeworthy.frames import Frame
from edgeworthy.labels import ClassNames

if TYPE_CHECKING:
    from torch import nn


InputSize = tuple[int, int, int]

INSTEAD = "Give your own weights with --checkpoint FILE; to try the road without any: export --untrained."


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """A trained model as the user asks for it.

    Attributes:
        spec: what names the model: `timm:NAME`, `file.py:callable`, the path of a file or folder, and so on.
        checkpoint: weights to load into the architecture.
        arch: for a file that holds weights alone, the source whose architecture they belong to.
        prompts: for a model of pictures and texts, one text for each class.
        untrained: whether random weights from a fixed seed are wanted.
        trust_pickle: whether a file may run code when it is loaded.
    """

    spec: str
    checkpoint: Path | None = None
    arch: str | None = None
    prompts: tuple[str, ...] = ()
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
        activation: what makes probabilities of the module's outputs, where the library says so.
        untrained: whether the weights are random.
        notes: what the user should know about how it was loaded.
    """

    module: nn.Module
    name: str
    class_names: ClassNames | None = None
    input_size: InputSize | None = None
    normalization: Normalization | None = None
    frame_at: Callable[[InputSize], Frame] | None = None
    activation: Activation | None = None
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
