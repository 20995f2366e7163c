"""The trained model in eager PyTorch, asked about the same framed pixels as its file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeworthy.errors import OptionError
from edgeworthy.exporting.classifier import Original, choose_activation
from edgeworthy.exporting.settings import evaluating, prepared
from edgeworthy.filemodel import FileModel
from edgeworthy.images import Pixels, normalise
from edgeworthy.settling import ExportOptions, settle
from edgeworthy.sources.base import SourceRequest
from edgeworthy.sources.registry import load_source


class Trained:
    """A trained model, normalised as its own source says, or where that is silent, as the file does.

    Args:
        request: what names the model.
        file: with the same classes; it gives what the source does not say.

    Attributes:
        name: of the model.
        class_names: the file's.

    Raises:
        EdgeworthyError: where the model cannot be had.
    """

    def __init__(self, request: SourceRequest, file: FileModel) -> None:
        trained = load_source(request)
        given = None if trained.normalization else file.normalization
        channels, height, width = file.input_size
        self._settled = settle(
            trained,
            ExportOptions(
                classes=file.class_names,
                fix_names=True,  # as they are: the file carries them already
                input_size=(channels, height, width),
                mean=given.mean if given else None,
                std=given.std if given else None,
                scale=255 if given else None,
            ),
        )
        self.name = trained.name
        self.class_names: Sequence[str] = file.class_names
        self._asked = self._settled.activation or file.activation
        self._module = prepared(trained.module)
        self._one_at_a_time = threading.Lock()  # modules of anybody's are not made for several threads
        self._original: Original = Original(self._module, len(file.class_names))

    @contextlib.contextmanager
    def asking(self) -> Iterator[Self]:
        """Eval mode, one thread for a picture.

        Raises:
            OptionError: where the model has another number of classes than the file.
        """
        channels, height, width = self._settled.input_size
        with evaluating(self._module):
            row = self._logits(np.zeros((height, width, channels), np.uint8))
            self._activation = choose_activation(row, self._asked)
            answered = self._original.probabilities(row, self._activation).shape[1]
            if answered != len(self.class_names):
                raise OptionError(
                    f"{self.name} has {answered} classes, the file {len(self.class_names)}.",
                    hint="Is it the model that the file was made from?",
                )
            yield self

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of all classes, float32 [classes], for framed pixels, uint8 [H, W, C]."""
        row = self._logits(pixels)
        return np.asarray(self._original.probabilities(row, self._activation)[0], dtype=np.float32)

    def _logits(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        picture = normalise(pixels, self._settled.normalization, "nchw")
        with self._one_at_a_time:
            return self._original.ask(picture, "picture")
