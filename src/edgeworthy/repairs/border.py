"""How the repaired model's input and output correspond to the original's.

Each repair that changes what goes in or what comes out says so here, in numpy. The proof feeds the
original what the repaired model's input means to it, and expects of the repaired model what the
original's output means to the platform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Step = Callable[[Array], Array]


@dataclass(slots=True)
class Border:
    """Steps between the two, on arrays whose first axis runs over the probes.

    Attributes:
        exact: whether only names, shapes and metadata have changed, so that answers must be equal to the bit.
    """

    exact: bool = True
    _inward: list[tuple[Step, bool]] = field(default_factory=list)
    _outward: list[Step] = field(default_factory=list)

    def inward(self, step: Step, *, rounds: bool = False) -> None:
        """A step from the input as it is now to the one as it was before; does it merely round?"""
        self._inward.append((step, rounds))

    def outward(self, step: Step) -> None:
        """A step from the output as it was before to the one as it is now."""
        self._outward.append(step)

    def to_original(self, pictures: Array, *, rounded: bool = True) -> Array:
        """What the original is fed, for what the repaired model is fed; or that before rounding."""
        for step, rounds in reversed(self._inward):
            pictures = step(pictures) if rounded or not rounds else pictures
        return pictures

    def from_original(self, answers: Array) -> Array:
        """What the repaired model should answer, for what the original answers."""
        for step in self._outward:
            answers = step(answers)
        return answers


def softmax(values: Array) -> Array:
    """Along the last axis, in double precision."""
    values = values.astype(np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(values: Array) -> Array:
    """In double precision, without overflow."""
    values = values.astype(np.float64)
    tail = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + tail), tail / (1 + tail))


def before_softmax(scores: Array) -> Array:
    """Probabilities whose softmax the scores are; their sum of 1 settles the constant."""
    logarithms = np.log(np.maximum(scores.astype(np.float64), np.finfo(np.float64).tiny))
    return np.asarray(logarithms + (1 - logarithms.sum(axis=-1, keepdims=True)) / scores.shape[-1])
