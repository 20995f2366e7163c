"""What a file says of itself, as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

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
        yield "Evidence", "none: edgeworthy has neither made nor mended the file"
        return
    if "source" in evidence or "repair" not in evidence:
        yield from _making(evidence)
    if "repair" in evidence:
        yield from _mending(evidence["repair"])
    if "quantization" in evidence:
        yield "Quantized", _read(lambda: _quantized(json.loads(evidence["quantization"])))


def _making(evidence: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    made = f"edgeworthy {evidence.get('version', '?')} from {evidence.get('source', '?')}"
    untrained = ", random weights" if evidence.get("untrained") == "true" else ""
    yield (
        "Made by",
        f"{made}{untrained} (torch {evidence.get('torch', '?')}, {evidence.get('exporter', '?')})",
    )
    yield "Weights", evidence.get("weights", "?")
    yield "Proof", _read(lambda: _proof(json.loads(evidence["parity"])))


def _mending(text: str) -> Iterator[tuple[str, str]]:
    yield "Mended by", _read(lambda: _repairs(json.loads(text)))
    yield "Original", _read(lambda: str(json.loads(text)["original"]))
    yield "Proof", _read(lambda: _proof(json.loads(text)["parity"]))


def _repairs(record: Mapping[str, Any]) -> str:
    return f"edgeworthy {record['version']}: {', '.join(dict.fromkeys(record['repairs']))}"


def _quantized(record: Mapping[str, Any]) -> str:
    """What the proof above says is of the file before this."""
    gate = record["gate"]
    told = f"{gate['agreement']['value']:.4f} of the best classes kept on {gate['pictures']} pictures"
    if gate["drop"]:
        told += f", {gate['drop']['value']:.2f} points of top-1 lost"
    verdict = "held" if gate["held"] else "missed"
    return (
        f"{record['precision']} after that proof, by edgeworthy {record['version']}; gate {verdict}: {told}"
    )


def _proof(proof: Mapping[str, Any]) -> str:
    return (
        f"{proof['verdict']} on {proof['samples']} probes: probabilities differ by at most "
        f"{proof['max_abs_diff']:g} (allowed {proof['tolerance']:g})"
    )


def _read(text: Callable[[], str]) -> str:
    """What evidence says; the file may be anybody's."""
    try:
        return text()
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return "cannot be read"
