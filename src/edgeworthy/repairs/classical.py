"""Repairs of classic machine learning's operators, which scikit-learn's converter puts behind a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeworthy.errors import IrreparableError
from edgeworthy.graph import attribute_value, producer
from edgeworthy.model import nodes_of, tensors_of
from edgeworthy.repairs.base import Changes, repair
from edgeworthy.repairs.container import MACHINE_LEARNING

STRING = 8  # TensorProto

if TYPE_CHECKING:
    from onnx import NodeProto

    from edgeworthy.repairs.patient import Patient


@repair("zip-map", "EW106")
def zip_map(patient: Patient) -> Changes:
    """A map from class to score becomes the scores; its labels become the class names.

    ZipMap is an operator of ai.onnx.ml, its output a sequence of maps, which no platform reads. Labels on
    other operators, and lists of texts, are remembered for the names, too.
    """
    patient.labels = _labels(patient)
    for output in patient.graph.output:
        node = producer(patient.graph, output.name)
        if node is None or (node.domain, node.op_type) != (MACHINE_LEARNING, "ZipMap"):
            continue
        keys = _texts(node, "classlabels_strings") or list(attribute_value(node, "classlabels_int64s", []))
        if len(set(keys)) < len(keys):
            raise IrreparableError("Two labels of the ZipMap are the same: one of their scores is lost.")
        patient.maps[output.name] = tuple(keys)
        if producer(patient.graph, node.input[0]) is None:
            raise IrreparableError("The scores behind ZipMap are not computed by the graph.")
        patient.graph.node.remove(node)
        _declare(patient, output, node.input[0], len(keys))
        patient.changed()
        yield f"ZipMap is gone, which gave a map from {len(keys)} labels to their scores."


def _declare(patient: Patient, output: Any, source: str, count: int) -> None:
    """Let the output be the value in front of the ZipMap."""
    from onnx import helper

    name = output.name
    patient.graph.node.append(helper.make_node("Identity", [source], [name]))
    output.CopyFrom(helper.make_tensor_value_info(name, helper.TensorProto.FLOAT, [None, count]))


def _labels(patient: Patient) -> list[list[str]]:
    """Labels on classifiers and encoders of ai.onnx.ml, or else constant lists of texts."""
    nodes = [node for node in patient.graph.node if node.domain == MACHINE_LEARNING]
    found = [_texts(node, "classlabels_strings") for node in nodes if node.op_type != "ZipMap"]
    found += [_encoded(node) for node in nodes if node.op_type == "LabelEncoder"]
    lists = [tensor for tensor in tensors_of(patient.model) if tensor.data_type == STRING]
    loose = [[text.decode(errors="replace") for text in tensor.string_data] for tensor in lists]
    return [labels for labels in found if labels] or [labels for labels in loose if labels]


def _encoded(node: NodeProto) -> list[str]:
    """The texts that a LabelEncoder makes of the numbers from 0 upwards, in that order."""
    keys, texts = attribute_value(node, "keys_int64s", []), _texts(node, "values_strings")
    by_key = dict(zip(keys, texts, strict=False))
    return [by_key[key] for key in sorted(by_key)] if sorted(by_key) == list(range(len(texts))) else []


def _texts(node: NodeProto, key: str) -> list[str]:
    return [text.decode(errors="replace") for text in attribute_value(node, key, [])]


@repair("classical-operators", "EW106")
def classical_operators(patient: Patient) -> Changes:
    """A linear classifier and a normaliser are written with the standard's operators.

    LinearClassifier becomes a Gemm and a softmax or sigmoid, Normalizer (L1) a division by the sum. What
    else ai.onnx.ml has is no part of an image classifier, and cannot be mended.
    """
    for node in [node for node in patient.graph.node if node.domain == MACHINE_LEARNING]:
        if node.op_type not in _WRITTEN:
            raise IrreparableError(
                f"The operator {node.domain}.{node.op_type} (node {node.name[:40]!r}) has no counterpart "
                "among the standard's operators."
            )
        place = list(patient.graph.node).index(node)
        for new in reversed(_WRITTEN[node.op_type](patient, node)):
            patient.graph.node.insert(place, new)
        patient.graph.node.remove(node)
        patient.border.exact = False
        patient.changed()
        yield f"{node.op_type} is written with the standard's operators."
    if any(node.domain == MACHINE_LEARNING for node in nodes_of(patient.model)):
        raise IrreparableError(f"Operators of {MACHINE_LEARNING} stand in a branch or loop.")
    imports = patient.model.opset_import
    for entry in [entry for entry in imports if entry.domain == MACHINE_LEARNING]:
        imports.remove(entry)
        yield f"The import of {MACHINE_LEARNING}, which nothing uses, is dropped."


def _linear_classifier(patient: Patient, node: NodeProto) -> list[NodeProto]:
    from onnx import helper, numpy_helper

    intercepts = np.array(attribute_value(node, "intercepts", []), np.float32)
    coefficients = np.array(attribute_value(node, "coefficients", []), np.float32)
    transform = attribute_value(node, "post_transform", b"NONE").decode()
    if node.output[0] and _is_read(patient, node.output[0]):
        raise IrreparableError("The label that LinearClassifier chooses is used further on.")
    if len(intercepts) < 2 or transform not in _ACTIVATIONS or len(coefficients) % len(intercepts):
        raise IrreparableError(
            f"A LinearClassifier with {len(intercepts)} rows and {transform} is not known."
        )
    weight, bias = patient.name("linear_weight"), patient.name("linear_bias")
    rows = coefficients.reshape(len(intercepts), -1)
    patient.graph.initializer.append(numpy_helper.from_array(rows, weight))
    patient.graph.initializer.append(numpy_helper.from_array(intercepts, bias))
    activation, output = _ACTIVATIONS[transform], node.output[1]
    raw = patient.name("linear") if activation else output
    nodes = [helper.make_node("Gemm", [node.input[0], weight, bias], [raw], transB=1)]
    if activation:
        nodes.append(helper.make_node(activation, [raw], [output]))
    return nodes


def _normalizer(patient: Patient, node: NodeProto) -> list[NodeProto]:
    from onnx import helper

    norm = attribute_value(node, "norm", b"MAX").decode()
    if norm != "L1":
        raise IrreparableError(f"A Normalizer with the norm {norm} is not known.")
    total = patient.name("total")
    return [
        helper.make_node("ReduceL1", [node.input[0]], [total], axes=[1], keepdims=1),
        helper.make_node("Div", [node.input[0], total], [node.output[0]]),
    ]


def _is_read(patient: Patient, name: str) -> bool:
    outputs = {value.name for value in patient.graph.output}
    return name in outputs or any(name in node.input for node in nodes_of(patient.model))


_ACTIVATIONS = {"NONE": "", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
_WRITTEN: dict[str, Callable[[Patient, NodeProto], list[NodeProto]]] = {
    "LinearClassifier": _linear_classifier,
    "Normalizer": _normalizer,
}
