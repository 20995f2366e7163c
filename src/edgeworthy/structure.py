"""What two files have different: format, graph, contract and evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgeworthy.results import Difference, Inspection

_LONGEST = 120
_DIGEST = re.compile(r"(sha256:[0-9a-f]{16})[0-9a-f]+")
_OWN_ROW = {"normalization", "frame", "parity", "repair"}  # of the evidence: compared elsewhere, or a proof


def differences(first: Inspection, second: Inspection) -> tuple[Difference, ...]:
    """What they say or hold differently, in the order in which a person asks."""
    rows = zip(_facts(first), _facts(second), strict=True)
    found = [
        Difference(what=what, first=one, second=other) for (what, one), (_, other) in rows if one != other
    ]
    for prefix, one, two in (
        ("operator ", first.operators, second.operators),
        ("domain ", first.domains, second.domains),
        ("evidence: ", _telling(first.evidence), _telling(second.evidence)),
    ):
        found += _entries(prefix, one, two)
    return tuple(found)


def _facts(file: Inspection) -> Iterator[tuple[str, str]]:
    yield "size", f"{file.size_bytes:,} bytes"
    yield "opset", str(file.opset or "")
    yield "IR version", str(file.ir_version)
    yield "producer", file.producer
    yield "parameters", f"{file.parameters:,}"
    yield "nodes", str(file.nodes)
    yield "input", _ports(file.inputs)
    yield "output", _ports(file.outputs)
    yield "layout", file.layout or ""
    yield "classes", _cut("; ".join(file.class_names))
    yield "normalisation", file.normalization.upload_form() if file.normalization else ""
    yield "frame", file.frame.describe() if file.frame else ""


def _ports(ports: tuple[tuple[str, str, tuple[int | str, ...]], ...]) -> str:
    return ", ".join(f"{_cut(name)} {dtype} {list(shape)}" for name, dtype, shape in ports)


def _telling(evidence: Mapping[str, str]) -> dict[str, str]:
    return {key: _DIGEST.sub(r"\1…", text) for key, text in evidence.items() if key not in _OWN_ROW}


def _entries(prefix: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    for key in sorted(one.keys() | other.keys()):
        mine, theirs = (_cut(str(entries.get(key, ""))) for entries in (one, other))
        if mine != theirs:
            yield Difference(what=prefix + key, first=mine, second=theirs)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}…{text[-16:]}"
