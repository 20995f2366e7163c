"""Where the rows of docs/contract.md come from."""

from __future__ import annotations

from collections.abc import Iterable

SOURCES = {
    "GUIDE": "the how-to page Image classification, under From PyTorch, of the Nx AI Manager documentation",
    "REQ": "the page ONNX requirements of the Nx AI Manager documentation",
    "DOC": "other pages of the Nx AI Manager documentation",
    "M2O": "the vendor's tutorials scailable/nxai-model-to-onnx",
    "SO": "the vendor's package sclblonnx 0.3.0",
    "SDK": "scailable/nxai-integration-sdk",
    "OAAX": "the Open AI Accelerator eXchange standard behind the cloud's conversion",
    "SPEC": "the specification of OAAX",
    "REF": "the reference implementation of OAAX",
    "HAI": "the Hailo toolchain of OAAX",
    "QC": "the Qualcomm toolchain of OAAX",
    "MX": "the MemryX toolchain of OAAX",
    "onnxruntime": "an issue of microsoft/onnxruntime",
    "measured": "measured for edgeworthy",
}

ROWS = {
    1: ("REQ", "GUIDE", "SO"),
    2: ("SO", "OAAX", "onnxruntime #15874", "onnxruntime #20559"),
    3: ("REQ", "SO"),
    4: ("REF",),
    5: ("GUIDE", "REF"),
    6: ("GUIDE", "REQ"),
    7: ("REQ",),
    8: ("REQ", "QC"),
    9: ("HAI", "QC"),
    10: ("GUIDE",),
    11: ("REQ", "M2O"),
    12: ("REQ", "GUIDE"),
    13: ("REQ",),
    14: ("GUIDE",),
    15: ("REQ",),
    16: ("REQ", "MX"),
    17: ("SDK",),
    18: ("SPEC",),
    19: ("SPEC", "REF"),
    20: ("REQ",),
    21: ("DOC normalization",),
    22: ("GUIDE",),
    23: ("OAAX examples",),
    24: ("M2O",),
    25: ("measured",),
}


def sources_of(rows: Iterable[int]) -> tuple[str, ...]:
    """The tags of some rows, each once, in order."""
    return tuple(dict.fromkeys(tag for row in rows for tag in ROWS[row]))


def explained(tag: str) -> str:
    """A tag with what it stands for; an address or a repository explains itself."""
    meaning = SOURCES.get(tag.split(maxsplit=1)[0])
    return f"{tag} ({meaning})" if meaning else tag
