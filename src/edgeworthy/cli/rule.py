"""`edgeworthy rule`: explain a rule."""

from __future__ import annotations

import click

from edgeworthy.cli.pieces import show
from edgeworthy.cli.shared import examples, json_option, print_json

EXAMPLES = examples(
    "edgeworthy rule EW501", "edgeworthy rule EW3", "edgeworthy rule EW405 --json", "edgeworthy rule"
)


@click.command(epilog=EXAMPLES)
@click.argument("codes", nargs=-1)
@json_option
def command(codes: tuple[str, ...], as_json: bool) -> None:
    """Explain rules by code, or by the beginning of codes; without one, list all.

    A rule says what it requires, why, an example of the defect, where the requirement comes from, and
    whether and how safely `edgeworthy repair` mends it.
    """
    from edgeworthy.linter import choose
    from edgeworthy.report.findings import rule_facts, rule_pieces

    rules = choose(codes)
    if as_json:
        print_json([rule_facts(rule) for rule in rules])
        return
    for position, rule in enumerate(rules):
        if codes and position:
            click.echo()
        show(rule_pieces(rule, whole=bool(codes)))
