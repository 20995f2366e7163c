"""A bar for long work on stderr, with its rate and the time that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeworthy.cli.shared import status_console

if TYPE_CHECKING:
    from rich.progress import Progress


def pictures_bar() -> Progress:
    """Counts pictures; it vanishes when it is left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.0f}/s")

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=status_console(), transient=True)


def stages_bar() -> Progress:
    """Says what is being done, and how much of it is left; it vanishes when it is left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=status_console(), transient=True)
