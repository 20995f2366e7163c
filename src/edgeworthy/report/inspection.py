"""What a file says of itself, as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeworthy.report.tables import facts_table, first_and_last
from edgeworthy.results import Inspection

if TYPE_CHECKING:
    from rich.console import RenderableType

_OPERATORS_SHOWN = 8


def render_inspection(inspection: Inspection) -> RenderableType:
    """A table of facts; what the file does not say is said as well."""
    return facts_table(_rows(inspection))


def _rows(file: Inspection) -> Iterator[tuple[str, str]]:
    yield "File", f"{file.path}  ({file.size_bytes / 1e6:.1f} MB, sha256 {file.sha256[:16]}…)"
    for name, dtype, shape in file.inputs:
        yield "Input", f"{name}  {dtype} {list(shape)}"
    for name, dtype, shape in file.outputs:
        yield "Output", f"{name[:60]}{'…' if len(name) > 60 else ''}  {dtype} {list(shape)}"
    yield "Classes", first_and_last(file.class_names) if file.class_names else "none in the output's name"
    yield "Upload form", _upload_form(file)
    yield "Frame", file.frame.describe() if file.frame else "not recorded; predict will letterbox"
    domains = "".join(f", {domain} {version}" for domain, version in file.domains.items())
    yield "Format", f"opset {file.opset or 'unknown'}{domains}, IR {file.ir_version}"
    yield "Producer", file.producer or "unknown"
    yield "Graph", f"{file.parameters:,} parameters, {file.nodes:,} nodes: {_operators(file)}"
    yield from _evidence(file)
    if file.metadata:
        yield "Metadata", ", ".join(f"{key}={value[:40]}" for key, value in list(file.metadata.items())[:6])


def _upload_form(file: Inspection) -> str:
    if file.normalization is None:
        return "the file carries no normalisation"
    note = "  (nothing to do: the graph normalises)" if file.normalization.is_identity else ""
    return file.normalization.upload_form() + note


def _operators(file: Inspection) -> str:
    ranked = sorted(file.operators.items(), key=lambda entry: (-entry[1], entry[0]))
    more = ", …" if len(ranked) > _OPERATORS_SHOWN else ""
    return ", ".join(f"{count} {name}" for name, count in ranked[:_OPERATORS_SHOWN]) + more


def _evidence(file: Inspection) -> Iterator[tuple[str, str]]:
    evidence = dict(file.evidence)
    if not evidence:
        yield "Evidence", "none: the file was not made by edgeworthy"
        return
    made = f"edgeworthy {evidence.get('version', '?')} from {evidence.get('source', '?')}"
    untrained = ", random weights" if evidence.get("untrained") == "true" else ""
    yield (
        "Made by",
        f"{made}{untrained} (torch {evidence.get('torch', '?')}, {evidence.get('exporter', '?')})",
    )
    yield "Weights", evidence.get("weights", "?")
    try:
        proof = json.loads(evidence["parity"])
        yield (
            "Proof",
            f"{proof['verdict']} on {proof['samples']} probes: probabilities differ by at most "
            f"{proof['max_abs_diff']:g} (allowed {proof['tolerance']:g})",
        )
    except (KeyError, ValueError, TypeError):
        yield "Proof", "cannot be read"
