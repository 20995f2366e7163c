"""Tiny ONNX classifiers, made in code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeworthy.contract import INPUT_NAME, Contract, Normalization, output_name
from edgeworthy.labels import ClassNames

IMAGENET = Normalization.from_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# The program, where whoever started the tests ignores this signal, as shells do for jobs in the background.
HEARS_SIGINT = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from edgeworthy.cli import main; main()"
)


def classifier(
    *,
    names: Sequence[str] = ("cat", "dog", "horse"),
    channels: int = 3,
    height: int = 12,
    width: int = 16,
    layout: str = "nchw",
    normalization: Normalization | None = IMAGENET,
    opset: int = 16,
    ir_version: int = 8,
    activation: str = "Softmax",
    seed: int = 0,
) -> onnx.ModelProto:
    """A conformant classifier: average pooling, one linear layer, an activation ("" for none)."""
    random = np.random.default_rng(seed)
    shape = (1, channels, height, width) if layout == "nchw" else (1, height, width, channels)
    output = output_name(ClassNames(tuple(names)))
    nodes, picture = [], INPUT_NAME
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [picture], ["planes"], perm=[0, 3, 1, 2]))
        picture = "planes"
    nodes += [
        helper.make_node("GlobalAveragePool", [picture], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits" if activation else output]),
    ]
    if activation:
        attributes: dict[str, Any] = {"axis": 1} if activation == "Softmax" else {}
        nodes.append(helper.make_node(activation, ["logits"], [output], **attributes))
    weight = random.normal(0, 2, (channels, len(names))).astype(np.float32)
    bias = random.normal(0, 0.5, len(names)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, len(names)))],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
        doc_string=normalization.to_doc_string() if normalization else "",
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def classifier_file(
    path: Path, *, edit: Callable[[onnx.ModelProto], None] | None = None, **details: Any
) -> Path:
    """Write `classifier(**details)`, after `edit` has planted its defect."""
    model = classifier(**details)
    if edit:
        edit(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def contract_of(names: Sequence[str] = ("cat", "dog", "horse")) -> Contract:
    """The contract that `classifier` with these names keeps."""
    return Contract(
        class_names=ClassNames(tuple(names)), channels=3, height_px=12, width_px=16, normalization=IMAGENET
    )
