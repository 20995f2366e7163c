"""Predictions as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeworthy.report.tables import printable
from edgeworthy.results import Prediction, Unreadable

if TYPE_CHECKING:
    from rich.text import Text

_BAR_CHARACTERS = 20


def render_prediction(result: Prediction | Unreadable) -> Text:
    """The picture's path, and a line for each of its classes."""
    from rich.text import Text

    text = Text(printable(result.path), "bold")
    if isinstance(result, Unreadable):
        text.append(f"\n  {printable(result.message)}", "red")
        return text
    if result.time_s is not None:
        text.append(f" at {result.time_s:.2f} s", "bold")
    for score in result.scores:
        filled = round(_BAR_CHARACTERS * min(1.0, max(0.0, score.probability)))
        text.append(f"\n  {score.probability:6.4f} ")
        text.append("█" * filled + " " * (_BAR_CHARACTERS - filled), "blue")
        text.append(f" {printable(score.name)}")
    return text
