"""Findings as a SARIF log, which code scanning services and editors read.

SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeworthy._version import __version__
from edgeworthy.linter import IGNORED
from edgeworthy.results import Finding, LintReport, Severity, Skipped, Unchecked
from edgeworthy.rules.base import MENDINGS, Rule
from edgeworthy.rules.rows import explained

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}

Json = dict[str, Any]


def sarif_log(results: Sequence[LintReport | Unchecked], rules: Sequence[Rule]) -> Json:
    """One run over all files, with the rules that were selected.

    A skipped rule becomes a notification, one that was left out on purpose is also overridden, and a file
    that could not be read makes the run unsuccessful.
    """
    places = {rule.code: index for index, rule in enumerate(rules)}
    reports = [result for result in results if isinstance(result, LintReport)]
    run = {
        "tool": {
            "driver": {"name": "edgeworthy", "version": __version__, "rules": list(map(_descriptor, rules))}
        },
        "invocations": [_invocation(results, places)],
        "artifacts": [{"location": {"uri": uri}} for uri in dict.fromkeys(_uri(one.path) for one in results)],
        "results": [
            _result(report.path, finding, places) for report in reports for finding in report.findings
        ],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _descriptor(rule: Rule) -> Json:
    mending = MENDINGS[rule.mending].replace("`", "")
    sources = [explained(source) for source in rule.sources]
    text = f"{rule.title} {rule.why}\n\nExample: {rule.example}\n\n{mending}\n\nSource: {'; '.join(sources)}."
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": text},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "tags": [rule.family, *(f"target {target}" for target in rule.targets)],
            "example": rule.example,
            "rows": list(rule.rows),
            "sources": sources,
            "mending": rule.mending,
        },
    }


def _result(path: str, finding: Finding, places: Mapping[str, int]) -> Json:
    location = _location(path)
    if finding.where:
        location["logicalLocations"] = [{"name": finding.where, "fullyQualifiedName": finding.where}]
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [location],
        "partialFingerprints": {"finding/v1": _fingerprint(path, finding)},
    }


def _invocation(results: Sequence[LintReport | Unchecked], places: Mapping[str, int]) -> Json:
    unread = [_unread(result) for result in results if isinstance(result, Unchecked)]
    skipped = [
        (result.path, one) for result in results if isinstance(result, LintReport) for one in result.skipped
    ]
    left_out = dict.fromkeys(one.code for _, one in skipped if one.reason.startswith(IGNORED))
    return {
        "executionSuccessful": not unread,
        "toolExecutionNotifications": [*unread, *(_skip(path, one, places) for path, one in skipped)],
        "ruleConfigurationOverrides": [
            {"descriptor": _reference(code, places), "configuration": {"enabled": False}} for code in left_out
        ],
    }


def _unread(result: Unchecked) -> Json:
    return {"level": "error", "message": {"text": result.message}, "locations": [_location(result.path)]}


def _skip(path: str, skipped: Skipped, places: Mapping[str, int]) -> Json:
    return {
        "level": "note",
        "message": {"text": f"{skipped.code} {skipped.name} was skipped: {skipped.reason}"},
        "locations": [_location(path)],
        "associatedRule": _reference(skipped.code, places),
    }


def _reference(code: str, places: Mapping[str, int]) -> Json:
    return {"id": code, "index": places[code]}


def _location(path: str) -> Json:
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(path)}}}


def _uri(path: str) -> str:
    """Relative to the working directory where the file lies below it, and absolute elsewhere."""
    place = Path(path).absolute()
    here = Path.cwd()
    if not place.is_relative_to(here):
        return place.as_uri()
    return quote("/".join(_plain_parts(place.relative_to(here))), errors="surrogateescape")


def _plain_parts(path: Path) -> Iterator[str]:
    """A colon in the first part would read as a scheme, so it gets a dot in front."""
    first, *rest = path.parts or (".",)
    if ":" in first:
        yield "."
    yield first
    yield from rest


def _fingerprint(path: str, finding: Finding) -> str:
    """The same for the same rule at the same place of the same file, whatever the figures say."""
    parts = "\n".join((finding.code, _uri(path), finding.where))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
