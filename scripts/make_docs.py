"""Write what of docs/ is made from the code: rules, repairs, opset, cli, the API, and a table of serve.md.

`--check` compares instead.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from edgeworthy.cli.app import COMMANDS, EXIT_CODES, app
from edgeworthy.contract import MAX_OPSET, MIN_OPSET
from edgeworthy.opset import steps
from edgeworthy.opset.converter import OLDEST
from edgeworthy.opset.registry import REVIEWED, Direction, Key
from edgeworthy.repairer import NUMBERED, REPAIRS
from edgeworthy.rules import RULES
from edgeworthy.rules.base import FAMILIES, MENDINGS, Rule
from edgeworthy.rules.rows import SOURCES
from edgeworthy.web.app import create_app
from edgeworthy.web.problems import KINDS
from edgeworthy.web.service import Service
from edgeworthy.web.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 100

TITLES: dict[Direction, str] = {"lower": "Lowering", "raise": "Raising"}

NOTE = "<!-- Written by scripts/make_docs.py: change the code, then run `make docs`. -->"


def rules() -> Iterator[str]:
    """docs/rules.md, line by line."""
    yield from ("# Rules", "", NOTE, "")
    yield (
        "What `edgeworthy check` looks for. An **error** means that the platform refuses the file, "
        "recognises nothing or shows wrong results; a **warning**, that it works in places or is likely "
        "a mistake; an **info**, that one target alone may dislike it. A rule passes, finds something, or "
        "is skipped with its reason, which never counts as passed. The rows are those of "
        "[contract.md](contract.md). The rules EW6 give advice for one target, and are off without "
        "`--target`; `--static` skips those that run the model or simplify it."
    )
    yield from ("", "Whether a defect can be mended:", "")
    yield from (f"- **{mending}**: {meaning}" for mending, meaning in MENDINGS.items())
    for family, title in FAMILIES.items():
        yield from _family(title, [rule for rule in RULES if rule.code.startswith(family)])
    yield from ("", "## Sources", "")
    yield from (f"- **{tag}**: {meaning}." for tag, meaning in SOURCES.items())


def repairs() -> Iterator[str]:
    """docs/repairs.md, line by line."""
    yield from ("# Repairs", "", NOTE, "")
    yield (
        "What `edgeworthy repair` does to a file that breaks rules, in this order. What is **safe** leaves "
        "the predictions as they are, and is done without asking; what is **unsafe** can change them, and is "
        "done only when `--allow` names it. Each repair does nothing where its defect is absent. Afterwards "
        "the rules run again, and the repaired file's predictions are compared with the original's."
    )
    yield from ("", "| repair | safety | mends |", "|---|---|---|")
    for repair in REPAIRS:
        codes = ", ".join(f"[{code}](rules.md#{_anchors()[code]})" for code in repair.mends)
        yield f"| [{repair.name}](#{repair.name}) | {repair.safety} | {codes or 'what is asked for'} |"
    for repair in REPAIRS:
        yield from ("", f"## {repair.name}", "", f"**{repair.title}** {repair.details}".rstrip())
    yield from ("", f"## {NUMBERED}", "")
    yield (
        f"**`--allow {NUMBERED}`** is no repair of its own: where nobody knows the class names, class-names "
        "writes `class 0`, `class 1` and so on. Names that are made up are worse than none to whoever reads "
        "the results."
    )


def opsets() -> Iterator[str]:
    """docs/opset.md, line by line."""
    yield from ("# Opset conversion", "", NOTE, "")
    yield (
        f"`edgeworthy repair --opset N` takes a graph from opset {OLDEST} up to {REVIEWED} to any of "
        f"{MIN_OPSET} to {MAX_OPSET}, one opset at a time. An operator that an opset changed is rewritten by "
        "a step of its own, in the tables below. One whose types alone were widened stays, where its own "
        "types are among the older ones. Anything else ends the conversion with the operator, the node and "
        "the opset. Every step is compared before and after on ONNX Runtime, and on onnx's reference "
        "evaluator, where they know the operator."
    )
    for direction, title in TITLES.items():
        keys = [key for key in steps.registered() if key[0] == direction]
        yield from ("", f"## {title}", "", *_grouped(keys, _what_changes, "what changes"))
        yield from ("", f"### {title}: without a counterpart", "", *_grouped(keys, _why_not, "why"))


def _grouped(keys: list[Key], text: Callable[[Key], str], column: str) -> Iterator[str]:
    """A table of the operators and opsets that the same text is true of, where there is one."""
    rows: dict[tuple[str, int], list[str]] = {}
    for key in keys:
        if text(key):
            rows.setdefault((text(key), key[2]), []).append(key[1])
    yield from (f"| operators | opset | {column} |", "|---|---|---|")
    table = [(", ".join(sorted(operators)), opset, said) for (said, opset), operators in rows.items()]
    yield from (f"| {operators} | {opset} | {said} |" for operators, opset, said in sorted(table))


def _what_changes(key: Key) -> str:
    step = steps.step_for(*key)
    return _first_sentence(step) if step else ""


def _why_not(key: Key) -> str:
    return "" if steps.step_for(*key) else steps.why_absent(*key)


def _first_sentence(step: object) -> str:
    text = inspect.cleandoc(getattr(step, "func", step).__doc__ or "")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def _anchors() -> dict[str, str]:
    return {rule.code: anchor(rule) for rule in RULES}


def _family(title: str, members: list[Rule]) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| code | name | severity | rows | mended |", "|---|---|---|---|---|")
    for rule in members:
        link = f"[{rule.code}](#{anchor(rule)})"
        yield f"| {link} | {rule.name} | {rule.severity} | {rows(rule)} | {rule.mending} |"
    for rule in members:
        yield from ("", f"### {rule.code} {rule.name}", "", f"**{rule.title}** {rule.why}")
        yield from ("", f"Example: {rule.example}", "", f"Source: {'; '.join(rule.sources)}. {applied(rule)}")


def applied(rule: Rule) -> str:
    """When a rule is applied, and what becomes of its defect."""
    targets = f"Applied with `--target` {' or '.join(rule.targets)}. " if rule.targets else ""
    return targets + ("" if rule.static else "Skipped by `--static`. ") + MENDINGS[rule.mending]


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


def openapi() -> Iterator[str]:
    """docs/schemas/openapi.json: what a server with uploads gives."""
    service = Service({}, Settings(allow_upload=True), jobs=1)
    yield json.dumps(create_app(service).openapi(), indent=2, ensure_ascii=False)
    service.close()


def problems() -> Iterator[str]:
    """docs/serve.md, whose table of problems is the code's."""
    before, begin, rest = (DOCS / "serve.md").read_text("utf-8").partition("<!-- problems: begin")
    mark, _, rest = rest.partition("\n")
    _, end, after = rest.partition("<!-- problems: end")
    yield f"{before}{begin}{mark}"
    yield from ("", "| problem | status | |", "|---|---|---|")
    yield from (f"| `{slug}` | {status} | {title} |" for slug, (status, title) in KINDS.items())
    yield f"\n{end}{after.removesuffix(chr(10))}"


def main() -> int:
    """Write or compare."""
    stale = []
    for name, lines in {
        "rules.md": rules(),
        "repairs.md": repairs(),
        "opset.md": opsets(),
        "cli.md": commands(),
        "serve.md": problems(),
        "schemas/openapi.json": openapi(),
    }.items():
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
