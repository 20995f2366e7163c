"""What the trained model itself answers: on which probes, and how far rounding alone moves the answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeworthy.evidence import Activation
from edgeworthy.frames import Frame
from edgeworthy.images import framed, normalise
from edgeworthy.memory import large_pieces_given_back
from edgeworthy.parity import Floats, verify
from edgeworthy.pictures import list_pictures
from edgeworthy.probes import Probe, standard_probes
from edgeworthy.results import Parity
from edgeworthy.settling import ExportOptions, Settled

if TYPE_CHECKING:
    from torch import nn

    from edgeworthy.exporting.outputs import Accessor

# What takes so long for a picture holds large activations: proof and examination one after another, then, or
# the memory of both adds up (coat_tiny: 0.80 in place of 0.91 GB).
_LARGE_FROM_S = 0.1
_HUGE_FROM_S = 0.5


class Reference:
    """A trained model's own answers, which the file's are compared with.

    Args:
        module: ready to be asked.
        settled: how pictures are normalised, and how many classes there are.
        options: of the export.

    Attributes:
        probes: what it is asked about.
        activation: what makes probabilities of its raw scores; known once it was asked.
    """

    def __init__(self, module: nn.Module, settled: Settled, options: ExportOptions) -> None:
        from edgeworthy.exporting.classifier import Original

        self.probes = _probes(settled, options)
        self.activation: Activation = "softmax"
        self._settled, self._atol = settled, options.atol
        self._module = module
        self._original = Original(module, len(settled.class_names))
        self._rows: list[npt.NDArray[np.float32]] = []
        self._asking_s = 0.0
        self._others: dict[int, tuple[list[Floats], Iterator[Floats]]] = {}  # what was answered, and the rest

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Eval mode on one thread, restored afterwards."""
        from edgeworthy.exporting.settings import evaluating

        with evaluating(self._module):
            yield

    def begin(self) -> int:
        """Ask about as many probes as it takes to settle the activation.

        Returns:
            The number of its raw scores.
        """
        from edgeworthy.exporting.classifier import choose_activation, may_be_probabilities

        self._ask(1)
        self._original.repeat(self._picture(0), self._rows[0])
        if may_be_probabilities(self._rows[0]):
            self._ask(len(self.probes))
        self.activation = choose_activation(np.concatenate(self._rows), self._settled.activation)
        return int(self._rows[0].shape[1])

    def complete(self) -> None:
        """Ask about all other probes."""
        from edgeworthy.exporting.classifier import choose_activation

        self._ask(len(self.probes))
        self._logits = np.concatenate(self._rows)
        choose_activation(self._logits, self._settled.activation)  # what was asked for may not hold for all
        self._probabilities = self._original.probabilities(self._logits, self.activation)

    def compared(self, scores: Floats, some: slice = slice(None), *, briefly: bool = False) -> Parity:
        """How a file's probabilities [probes, classes] differ from its own.

        Args:
            scores: the file's.
            some: which probes they are of.
            briefly: ask for the yardstick on the worst of them alone; what that leaves unexplained counts as
                different, though another probe might explain it.
        """
        indices = range(len(self.probes))[some]
        asked: set[int] = set()

        def otherwise(row: int) -> Iterable[Floats]:
            asked.add(row)
            return self._otherwise(indices[row]) if len(asked) == 1 or not briefly else ()

        return verify(
            probes=[self.probes[index].name for index in indices],
            reference=self._probabilities[some],
            candidate=scores,
            logits=self._logits[some],
            activation=self.activation,
            otherwise=otherwise,
            atol=self._atol,
        )

    def rest(self) -> None:
        """Let go of what the comparisons needed."""
        self._original.rest()

    @property
    def accessor(self) -> Accessor:
        """Finds the scores in the model's output."""
        return self._original.accessor

    @property
    def is_large(self) -> bool:
        """Whether a picture takes so long that what the model holds meanwhile must be large."""
        return self._seconds_a_picture > _LARGE_FROM_S

    def leaner(self) -> contextlib.AbstractContextManager[None]:
        """For the few runs that take the most memory: what is huge is rather a little slower."""
        huge = self._seconds_a_picture > _HUGE_FROM_S
        return large_pieces_given_back() if huge else contextlib.nullcontext()

    @property
    def _seconds_a_picture(self) -> float:
        return self._asking_s / len(self._rows)

    def _ask(self, count: int) -> None:
        started = time.perf_counter()
        for index in range(len(self._rows), count):
            self._rows.append(self._original.ask(self._picture(index), self.probes[index].name))
        self._asking_s += time.perf_counter() - started

    def _picture(self, index: int) -> npt.NDArray[np.float32]:
        """What the model is asked about, [1, C, H, W]; made anew each time, since large ones add up."""
        return normalise(self.probes[index].pixels, self._settled.normalization, "nchw")

    def _otherwise(self, index: int) -> Iterator[Floats]:
        """See `Original.otherwise`; asked once a probe, however many files are compared."""
        if index not in self._others:
            self._others[index] = [], self._original.otherwise(self._picture(index), self.activation)
        answered, coming = self._others[index]
        yield from answered
        while True:
            with self.leaner():
                answer = next(coming, None)
            if answer is None:
                return
            answered.append(answer)
            yield answer


def _probes(settled: Settled, options: ExportOptions) -> list[Probe]:
    channels, height, width = settled.input_size
    probes = standard_probes(height, width, channels)
    if options.samples is not None:
        order: Any = "L" if channels == 1 else "RGB"
        frame = settled.frame or Frame.letterbox(height, width, channel_order=order)
        for picture in list_pictures([str(options.samples)]):
            probes.append(Probe(Path(picture.name).name, framed(picture, frame)))
    return probes
