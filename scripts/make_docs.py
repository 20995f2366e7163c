"""Write docs/rules.md and docs/cli.md from the code; `--check` compares instead."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edgeworthy.cli.app import COMMANDS, EXIT_CODES, app
from edgeworthy.rules import RULES
from edgeworthy.rules.base import Rule

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 100

FAMILIES = {
    "EW1": "The file",
    "EW2": "The input",
    "EW3": "The output and the class names",
    "EW4": "The normalisation",
    "EW5": "What the model answers",
}

NOTE = "<!-- Written by scripts/make_docs.py: change the code, then run `make docs`. -->"


def rules() -> Iterator[str]:
    """docs/rules.md, line by line."""
    yield from ("# Rules", "", NOTE, "")
    yield (
        "What `edgeworthy check` looks for. An **error** means that the platform refuses the file, "
        "recognises nothing or shows wrong results; a **warning**, that it works in places or is likely "
        "a mistake; an **info**, that one target alone may dislike it. A rule passes, finds something, or "
        "is skipped with its reason, which never counts as passed. The rows are those of "
        "[contract.md](contract.md)."
    )
    for family, title in FAMILIES.items():
        yield from ("", f"## {title}", "", "| code | name | severity | rows |", "|---|---|---|---|")
        members = [rule for rule in RULES if rule.code.startswith(family)]
        for rule in members:
            yield f"| [{rule.code}](#{anchor(rule)}) | {rule.name} | {rule.severity} | {rows(rule)} |"
        for rule in members:
            yield from ("", f"### {rule.code} {rule.name}", "", f"**{rule.title}** {rule.why}")
    assert all(rule.code[:3] in FAMILIES for rule in RULES)


def anchor(rule: Rule) -> str:
    """Of the rule's heading."""
    return f"{rule.code.lower()}-{rule.name}"


def rows(rule: Rule) -> str:
    """Of the contract that the rule is about."""
    return ", ".join(map(str, rule.rows))


def commands() -> Iterator[str]:
    """docs/cli.md, line by line."""
    yield from ("# Commands", "", NOTE, "", "## Exit codes", "")
    yield from ("The same for every command:", "", "| code | meaning |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    settings = {**app.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    root = click.Context(app, info_name="edgeworthy", **settings)
    yield from ("", "## edgeworthy", "", "```text", app.get_help(root), "```")
    for name in COMMANDS:
        command = app.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, **settings)
        yield from ("", f"## edgeworthy {name}", "", "```text", command.get_help(context), "```")


def main() -> int:
    """Write or compare."""
    stale = []
    for name, lines in {"rules.md": rules(), "cli.md": commands()}.items():
        path, text = DOCS / name, "\n".join(lines) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
    if stale:
        print(f"not as the code says: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
