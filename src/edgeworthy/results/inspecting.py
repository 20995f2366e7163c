"""What `inspect` returns: what a file says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeworthy.contract import Layout, Normalization
from edgeworthy.frames import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an ONNX file says of itself; None and empty where it is silent.

    Attributes:
        path, sha256, size_bytes: of the file.
        ir_version, opset: of the model and its default operator domain.
        domains: further operator domains with their versions.
        producer: name and version of the tool that wrote it.
        inputs, outputs: (name, dtype, shape); a dynamic dimension is its name, or "?".
        class_names: read from the output's name.
        layout, channels, height_px, width_px: of the first input, where it is a picture.
        normalization: read from the graph's doc_string.
        parameters: number of values in the initialisers.
        nodes: number of nodes; `operators` counts them by type.
        frame: from the evidence.
        evidence: edgeworthy's own metadata, key by key.
        metadata: everybody else's.
    """

    path: str
    sha256: str
    size_bytes: int
    ir_version: int
    opset: int | None
    domains: Mapping[str, int] = field(default_factory=dict)
    producer: str
    inputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    class_names: tuple[str, ...]
    layout: Layout | None
    channels: int | None
    height_px: int | None
    width_px: int | None
    normalization: Normalization | None
    parameters: int
    nodes: int
    operators: Mapping[str, int]
    frame: Frame | None
    evidence: Mapping[str, str]
    metadata: Mapping[str, str]
