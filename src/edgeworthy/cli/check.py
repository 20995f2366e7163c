"""`edgeworthy check`: say what is wrong with a classifier's ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeworthy.cli.shared import examples, json_option, output_console, print_json, status_console
from edgeworthy.errors import ModelFileError
from edgeworthy.results import LintReport

EXAMPLES = examples(
    "edgeworthy check cats.onnx",
    "edgeworthy check models/*.onnx --strict",
    "edgeworthy check cats.onnx --select EW3 --json",
    "edgeworthy check cats.onnx --ignore 'EW308=we deploy to no MemryX'",
)


@click.command(epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--select", metavar="CODES", multiple=True, help="Apply these rules only: EW301, or EW3 for all 3xx."
)
@click.option(
    "--ignore",
    metavar="CODES[=REASON]",
    multiple=True,
    help="Leave these rules out: EW308, or EW308=reason, which the report repeats.",
)
@click.option("--strict", is_flag=True, help="Let warnings fail the check, too.")
@json_option
def command(
    files: tuple[Path, ...], select: tuple[str, ...], ignore: tuple[str, ...], strict: bool, as_json: bool
) -> int:
    """Say what is wrong with a classifier's ONNX file, whoever made it, and why it matters.

    Errors mean that the platform refuses the file, recognises nothing or shows wrong results. Rules that
    could not be applied are listed with the reason, and do not count as passed.
    """
    from edgeworthy.linter import check
    from edgeworthy.report.findings import render_report

    results: list[LintReport | dict[str, Any]] = []
    for file in files:
        try:
            report = check(file, select=_split(select), ignore=_with_reasons(ignore))
        except ModelFileError as error:
            results.append({"path": str(file), "error": str(error)})
            if not as_json:
                status_console().print(f"error: {error}", style="red", soft_wrap=True)
            continue
        results.append(report)
        if not as_json:
            output_console().print(render_report(report), soft_wrap=True)
    if as_json:
        print_json(results)
    return _exit_code(results, strict=strict)


def _exit_code(results: list[LintReport | dict[str, Any]], *, strict: bool) -> int:
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
