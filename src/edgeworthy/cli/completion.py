"""`edgeworthy completion`: the script that completes commands in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgeworthy.cli.shared import examples

EXAMPLES = examples(
    "edgeworthy completion bash >> ~/.bashrc",
    "edgeworthy completion zsh >> ~/.zshrc",
    "edgeworthy completion fish > ~/.config/fish/completions/edgeworthy.fish",
)


@click.command(epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands, options and files in a shell."""
    from edgeworthy.cli.app import app

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(app, {}, "edgeworthy", "_EDGEWORTHY_COMPLETE").source())
