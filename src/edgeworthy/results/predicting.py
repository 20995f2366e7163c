"""What `predict` returns: classes of pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One class of one picture; probability in 0..1."""

    class_id: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The best classes of one picture, best first; of a frame, with its seconds in the video."""

    path: str
    scores: tuple[Score, ...]
    time_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A picture that could not be classified, and why."""

    path: str
    message: str
