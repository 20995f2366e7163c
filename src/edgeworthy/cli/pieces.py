"""Styled text on stdout, which only a terminal needs rich for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from edgeworthy.cli.shared import output_console


def show(pieces: Iterable[tuple[str, str]]) -> None:
    """Print pieces of text, each with its style, as one block without white space at its end."""
    if not (sys.stdout.isatty() or os.environ.get("FORCE_COLOR")):
        click.echo("".join(text for text, _ in pieces).rstrip())
        return
    from rich.text import Text

    text = Text.assemble(*pieces)
    text.rstrip()
    output_console().print(text, soft_wrap=True)
