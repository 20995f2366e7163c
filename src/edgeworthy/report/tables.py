"""Pieces that several reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_FIRST = 4


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Two columns without lines: what, and its value; nothing in a value is taken for markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, Text(printable(value)))
    return table


def counted(count: int, noun: str) -> str:
    """`1 error`, `2 errors`, `2 classes`; information has no plural."""
    plural = "" if noun == "info" else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{'' if count == 1 else plural}"


def printable(text: str) -> str:
    """The text without characters that would steer a terminal or break a line."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def first_and_last(names: Sequence[str]) -> str:
    """`1000: tench, goldfish, great white shark, tiger shark, … toilet tissue`."""
    more = f", … {names[-1]}" if len(names) > _FIRST else ""
    return f"{len(names)}: {', '.join(names[:_FIRST])}{more}"
