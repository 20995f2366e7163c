"""`edgeworthy rule`: explain a rule."""

from __future__ import annotations

import click

from edgeworthy.cli.shared import examples, output_console

EXAMPLES = examples("edgeworthy rule EW501", "edgeworthy rule EW3", "edgeworthy rule")


@click.command(epilog=EXAMPLES)
@click.argument("codes", nargs=-1)
def command(codes: tuple[str, ...]) -> None:
    """Explain rules by code, or by the beginning of codes; without one, list all."""
    from edgeworthy.linter import choose
    from edgeworthy.report.findings import render_rule

    console = output_console()
    for rule in choose(codes):
        console.print(render_rule(rule, whole=bool(codes)), soft_wrap=True)
