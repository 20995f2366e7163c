"""Large arrays as a few thousand numbers, from which can be told how far two arrays are apart.

Every value counts, with a sign drawn from a fixed seed, in one of 4093 sums. The length of the sums'
difference over that of the sums is the arrays' relative distance, within 2 % or so: M. Charikar, K. Chen,
M. Farach-Colton, Finding frequent items in data streams (2002); K. Weinberger et al., Feature hashing for
large scale multitask learning (2009).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Sketch = npt.NDArray[np.float64]

SUMS = 4093  # a prime, so that no column of a table falls into one sum

_SEED = 1984
_SMALLEST = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """What a module of a trained model takes or gives, for some pictures.

    Attributes:
        module: its qualified name; "" for the model itself.
        given: whether it comes out of the module.
        before: numbers of the taps that the module took, where this one comes out of it.
        size: number of values for one picture.
        sketches: of the values, for each picture.
    """

    module: str
    given: bool
    before: tuple[int, ...]
    size: int
    sketches: tuple[Sketch, ...]


def sketch(values: npt.NDArray[Any]) -> Sketch:
    """The sums of an array in the order of its axes; its own values where they are no more."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if flat.size <= SUMS:
        return flat.copy()
    rows = -(-flat.size // SUMS)
    signed = np.zeros(rows * SUMS)
    np.multiply(flat, _signs(flat.size), out=signed[: flat.size])
    return np.asarray(signed.reshape(rows, SUMS).sum(axis=0))


@functools.lru_cache(maxsize=16)
def _signs(size: int) -> npt.NDArray[np.int8]:
    """For so many values; a model's have few sizes."""
    drawn = np.random.default_rng(_SEED).integers(0, 2, size, dtype=np.int8)
    return np.asarray(2 * drawn - 1, dtype=np.int8)


class Known:
    """Sketches in which equal ones are looked for.

    Args:
        entries: of each array its size, its sketch, and the relative distance that rounding explains; one of
            zeros alone equals nothing.
    """

    def __init__(self, entries: Iterable[tuple[int, Sketch, float]]) -> None:
        self._places: dict[int, list[int]] = {}
        rows: dict[int, list[tuple[Sketch, float, float]]] = {}
        for place, (size, values, allowed) in enumerate(entries):
            length = float(np.linalg.norm(values))
            if 0 < length < np.inf:
                self._places.setdefault(size, []).append(place)
                rows.setdefault(size, []).append((values, length, allowed))
        self._stacks = {
            size: (np.stack([row[0] for row in some]), np.array([row[1] * row[2] for row in some]))
            for size, some in rows.items()
        }

    def equal(self, size: int, values: Sketch) -> list[int]:
        """The places of the arrays that an array equals, but for rounding."""
        if size not in self._stacks or not np.isfinite(values).all():
            return []
        stack, bounds = self._stacks[size]
        near = np.linalg.norm(stack - values, axis=1) <= bounds
        return [place for place, hit in zip(self._places[size], near, strict=True) if hit]


def distance(one: Sketch, other: Sketch) -> float:
    """How far two arrays are apart, relative to the first; infinite where that cannot be told."""
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    return float(np.linalg.norm(one - other) / max(float(np.linalg.norm(one)), _SMALLEST))
