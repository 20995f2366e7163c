"""The trained model in eager PyTorch, asked about the same framed pixels as its file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from edgeworthy.errors import OptionError
from edgeworthy.exporting.classifier import Floats, Original, choose_activation
from edgeworthy.exporting.settings import evaluating, prepared, traceable
from edgeworthy.exporting.taps import scores_tap, taps_of
from edgeworthy.filemodel import FileModel
from edgeworthy.images import Pixels, normalise
from edgeworthy.probes import moved
from edgeworthy.settling import ExportOptions, settle
from edgeworthy.sketches import Tap
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
        activation: what makes probabilities of its scores; known while it is `asking`.

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
            row = self.logits(np.zeros((height, width, channels), np.uint8))
            self.activation = choose_activation(row, self._asked)
            answered = self._original.probabilities(row, self.activation).shape[1]
            if answered != len(self.class_names):
                raise OptionError(
                    f"{self.name} has {answered} classes, the file {len(self.class_names)}.",
                    hint="Is it the model that the file was made from?",
                )
            yield self

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of all classes, float32 [classes], for framed pixels, uint8 [H, W, C]."""
        return np.asarray(self.scores(self.logits(pixels))[0], dtype=np.float32)

    def scores(self, logits: npt.NDArray[np.float32]) -> Floats:
        """Probabilities [pictures, classes] of raw scores."""
        return self._original.probabilities(logits, self.activation)

    def otherwise(self, pixels: Pixels) -> list[Floats]:
        """Probabilities [classes] in other arithmetics: `Original.otherwise`."""
        with self._one_at_a_time:
            return list(self._original.otherwise(self.values(pixels), self.activation))

    def taps(self, pixels: Pixels) -> list[Tap]:
        """What its modules take and give, for framed pixels and for those moved by rounding; scores last."""
        picture = self.values(pixels)
        rows: list[Floats] = []

        def asked(values: npt.NDArray[np.float32]) -> Callable[[], object]:
            return lambda: rows.append(
                self._original.probabilities(self._original.ask(values, "picture"), self.activation)
            )

        with self._one_at_a_time, traceable():
            found = taps_of(self._module, [asked(picture), asked(next(moved(picture)))])
        return [*found, scores_tap(*rows)]

    def values(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """What the model takes for framed pixels: float32 [1, C, H, W]."""
        return normalise(pixels, self._settled.normalization, "nchw")

    def logits(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Its raw scores for framed pixels: float32 [1, columns]."""
        picture = self.values(pixels)
        with self._one_at_a_time:
            return self._original.ask(picture, "picture")
