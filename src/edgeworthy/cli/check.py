"""`edgeworthy check`: say what is wrong with a classifier's ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeworthy import machine
from edgeworthy.cli.configuration import check_settings
from edgeworthy.cli.pieces import show
from edgeworthy.cli.shared import examples, model_files, print_json, status_console
from edgeworthy.results import LintReport, Unchecked

if TYPE_CHECKING:
    from edgeworthy.linter import CheckOptions

EXAMPLES = examples(
    "edgeworthy check cats.onnx",
    "edgeworthy check models/ --strict",
    "edgeworthy check cats.onnx --static",
    "edgeworthy check cats.onnx --target hailo --target intel",
    "edgeworthy check cats.onnx --select EW3 --json",
    "edgeworthy check cats.onnx --ignore 'EW308=we deploy to no MemryX'",
)

Result = LintReport | Unchecked


@click.command(epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILES...")
@click.option(
    "--select", metavar="CODES", multiple=True, help="Apply these rules only: EW301, or EW3 for all 3xx."
)
@click.option(
    "--ignore",
    metavar="CODES[=REASON]",
    multiple=True,
    help="Leave these rules out: EW308, or EW308=reason, which the report repeats.",
)
@click.option(
    "--target",
    "targets",
    metavar="NAME",
    multiple=True,
    help="Give advice for this target, too: cpu, hailo, intel, memryx, nvidia or qualcomm.",
)
@click.option(
    "--static",
    is_flag=True,
    help="Neither run the model nor simplify it: faster, and it says what it left out.",
)
@click.option("--strict", is_flag=True, default=None, help="Let warnings fail the check, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="For people, for machines, as annotations of a GitHub workflow, or for code scanning.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--jobs", type=click.IntRange(min=1), help="Files at a time; as many as cores if left out.")
def command(files: tuple[Path, ...], form: str, as_json: bool, jobs: int | None, **rules: Any) -> int:
    """Say what is wrong with a classifier's ONNX file, whoever made it, and why it matters.

    FILES are ONNX files, or folders whose .onnx files are meant, subfolders included. Errors mean that the
    platform refuses the file, recognises nothing or shows wrong results. Rules that could not be applied
    are listed with the reason, and do not count as passed.

    A table [tool.edgeworthy] in the nearest pyproject.toml may set select, ignore, target and strict.
    """
    from edgeworthy.linter import check_all

    settings = check_settings(Path.cwd())
    options: CheckOptions = {
        "select": _split(rules["select"]) or settings.select,
        "ignore": settings.ignore | _with_reasons(rules["ignore"]),
        "targets": _split(rules["targets"]) or settings.target,
        "static": rules["static"],
    }
    strict = settings.strict if rules["strict"] is None else rules["strict"]
    form = "json" if as_json else form
    tell = _PRINTERS.get(form, _show_nothing)
    results: list[Result] = []
    for result in check_all(model_files(files), jobs=jobs or machine.cores(), **options):
        results.append(result)
        tell(result)
    _finish(form, results, options)
    return _exit_code(results, strict=strict)


def _show_text(result: Result) -> None:
    from edgeworthy.report.findings import report_pieces

    if isinstance(result, Unchecked):
        status_console().print(f"error: {result.message}", style="red", soft_wrap=True)
    else:
        show(report_pieces(result))


def _show_annotations(result: Result) -> None:
    from edgeworthy.report.github import render_annotations

    for line in render_annotations(result):
        click.echo(line)


def _show_nothing(result: Result) -> None:
    """JSON and SARIF are printed whole, at the end."""


_PRINTERS: dict[str, Callable[[Result], None]] = {"text": _show_text, "github": _show_annotations}


def _finish(form: str, results: Sequence[Result], options: CheckOptions) -> None:
    """What is said once, about all files."""
    if form == "json":
        print_json([_plain(result) for result in results])
    elif form == "sarif":
        from edgeworthy.linter import Plan
        from edgeworthy.report.sarif import sarif_log

        print_json(sarif_log(results, Plan.of(**options).rules))
    elif form == "text" and len(results) > 1:
        _show_summary(results)


def _show_summary(results: Sequence[Result]) -> None:
    reports = [result for result in results if isinstance(result, LintReport)]
    conform = sum(report.conforms for report in reports)
    parts = [f"{conform} conform", f"{len(reports) - conform} do not"]
    if len(reports) < len(results):
        parts.append(f"{len(results) - len(reports)} could not be read")
    show([(f"{len(results)} files: {', '.join(parts)}", "bold")])


def _plain(result: Result) -> Any:
    return {"path": result.path, "error": result.message} if isinstance(result, Unchecked) else result


def _exit_code(results: list[Result], *, strict: bool) -> int:
    reports = [result for result in results if isinstance(result, LintReport)]
    if len(reports) < len(results):
        return 2
    conform = all(report.conforms and not (strict and report.of("warning")) for report in reports)
    return 0 if conform else 1


def _with_reasons(entries: tuple[str, ...]) -> dict[str, str]:
    """`EW308=we use no MemryX` and `EW1,EW2` as a mapping from codes to reasons."""
    reasons: dict[str, str] = {}
    for entry in entries:
        codes, _, reason = entry.partition("=")
        reasons |= dict.fromkeys(_split((codes,)), reason.strip())
    return reasons


def _split(codes: tuple[str, ...]) -> list[str]:
    return [code.strip() for entry in codes for code in entry.split(",")]
