"""inspect(): what an ONNX file says of itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeworthy.contract import (
    Normalization,
    layout_of,
    picture_input,
    picture_size,
    read_output_name,
    scores_output,
)
from edgeworthy.errors import ClassNamesError, OptionError
from edgeworthy.evidence import PREFIX, Recorded, own_entries
from edgeworthy.model import (
    digest,
    dtype_name,
    metadata_of,
    opset_of,
    parameters_of,
    parse,
    read_bytes,
    tensor_shape,
)
from edgeworthy.results import Inspection

if TYPE_CHECKING:
    from onnx import ModelProto


def inspect(path: str | Path) -> Inspection:
    """Read a file without running it.

    Raises:
        ModelFileError: where it is no ONNX model.
    """
    content = read_bytes(Path(path))
    model = parse(content, str(path))
    graph, metadata = model.graph, metadata_of(model)
    fixed = {tensor.name for tensor in graph.initializer}
    inputs = tuple(_port(value) for value in graph.input if value.name not in fixed)
    picture = picture_input([name for name, _, _ in inputs])
    sizes = tuple(dim if isinstance(dim, int) else None for dim in inputs[picture or 0][2]) if inputs else ()
    channels, height, width = picture_size(sizes) if len(sizes) == 4 else (None, None, None)
    return Inspection(
        path=str(path),
        sha256=digest(content),
        size_bytes=len(content),
        ir_version=model.ir_version,
        opset=opset_of(model),
        domains={e.domain: e.version for e in model.opset_import if e.domain not in {"", "ai.onnx"}},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=inputs,
        outputs=tuple(map(_port, graph.output)),
        class_names=_class_names(model),
        layout=layout_of(sizes),
        channels=channels,
        height_px=height,
        width_px=width,
        normalization=_normalization(graph.doc_string),
        parameters=parameters_of(model),
        nodes=len(graph.node),
        operators=dict(sorted(Counter(node.op_type for node in graph.node).items())),
        frame=Recorded.from_metadata(metadata).frame,
        evidence=own_entries(metadata),
        metadata={key: text for key, text in metadata.items() if not key.startswith(PREFIX)},
    )


def _port(value: Any) -> tuple[str, str, tuple[int | str, ...]]:
    return value.name, dtype_name(value), tensor_shape(value) or ()


def _class_names(model: ModelProto) -> tuple[str, ...]:
    names = [value.name for value in model.graph.output]
    index = scores_output(names)
    try:
        return () if index is None else tuple(name for _, name in read_output_name(names[index]))
    except ClassNamesError:
        return ()


def _normalization(text: str) -> Normalization | None:
    try:
        return Normalization.from_doc_string(text)
    except OptionError:
        return None
