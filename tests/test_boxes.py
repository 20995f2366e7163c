"""What is written into a box of a tensor: the same bits without an index for every value."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import edgeworthy
from edgeworthy.exporting.boxes import write_boxes
from tests.models import Tiny

SHAPE = (2, 5, 6, 7)


def indices_of(*box):
    """[from..to, axes]: the places of a box in order."""
    sides = [np.arange(start, end) for start, end in box]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).astype(np.int64)


def model_of(writes, shape=SHAPE):
    """One write after the other into x, each as indices and values."""
    nodes, constants, name = [], [], "x"
    for position, (indices, values) in enumerate(writes):
        constants.append(numpy_helper.from_array(indices, f"indices{position}"))
        constants.append(numpy_helper.from_array(values, f"values{position}"))
        nodes.append(helper.make_node("Neg", [f"values{position}"], [f"negative{position}"]))
        inputs = [name, f"indices{position}", f"negative{position}"]
        name = f"written{position}"
        nodes.append(helper.make_node("ScatterND", inputs, [name], name=f"write{position}"))
    nodes.append(helper.make_node("Abs", [name], ["y"]))
    graph = helper.make_graph(
        nodes,
        "boxes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)  # as the simplifier leaves it


def run(model):
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(3).random(SHAPE, np.float32)})[0]


def write(*box):
    indices = indices_of(*box)
    rest = SHAPE[len(box) :]
    return indices, np.random.default_rng(len(box)).random((*indices.shape[:-1], *rest), np.float32)


def kinds(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("box", "concats"),
    [
        ([(0, 2), (0, 5), (0, 6), (0, 7)], 0),
        ([(0, 2)], 0),
        ([(1, 2)], 1),
        ([(0, 2), (1, 4)], 1),
        ([(0, 2), (0, 5), (1, 6), (1, 7)], 2),
        ([(1, 2), (2, 3), (0, 5), (3, 7)], 4),
    ],
)
def test_a_box_is_written_by_slices(box, concats):
    model = model_of([write(*box)])
    before = run(model)
    assert write_boxes(model) == 1
    assert (run(model) == before).all()
    assert "ScatterND" not in kinds(model)
    assert kinds(model).count("Concat") == concats
    assert not any(tensor.name.startswith("indices") for tensor in model.graph.initializer)


def test_several_boxes_follow_each_other():
    whole, part, other = write((0, 2)), write((0, 2), (0, 2)), write((0, 2), (2, 5), (1, 3))
    model = model_of([part, whole, other, part])
    before = run(model)
    assert write_boxes(model) == 4
    assert (run(model) == before).all()


@pytest.mark.parametrize("kind", ["reversed", "strided", "from the end", "twice the same", "not in rows"])
def test_what_is_no_box_in_order_is_left_alone(kind):
    indices, values = write((0, 2), (0, 4))
    if kind == "reversed":
        indices = indices[:, ::-1].copy()
    elif kind == "strided":
        indices = indices * (1, 1) + (indices[..., 1:] // 2) * (0, 1)
    elif kind == "from the end":
        indices = indices - SHAPE[:2]
    elif kind == "twice the same":
        indices[:, 1] = indices[:, 0]
    else:
        indices, values = indices.reshape(8, 2), values.reshape(8, *SHAPE[2:])
    model = model_of([(indices.astype(np.int64), values)])
    before = run(model)
    assert write_boxes(model) == 0
    assert (run(model) == before).all()
    assert "ScatterND" in kinds(model)


def test_sums_that_are_scattered_are_left_alone():
    model = model_of([write((0, 2), (0, 4))])
    model.graph.node[1].attribute.append(helper.make_attribute("reduction", "add"))
    assert write_boxes(model) == 0


class Painted(nn.Module):
    """Draws into its features in place, as timm's mvitv2 does with its attention."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.first, self.head = nn.Conv2d(3, 4, 3, 2, 1), Tiny()

    def forward(self, image):
        found = self.first(image)
        found[:, 1:3, 2:, 1:-1] = found[:, 1:3, 2:, 1:-1] * 2 + found[:, 0:2, :-2, 1:-1]
        found[:, :, :, :] = found + 1
        return self.head(image + nn.functional.interpolate(found, scale_factor=2)[:, 1:])


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_model_that_draws_into_its_features_is_exported_without_indices(tmp_path, exporter):
    target = tmp_path / "painted.onnx"
    edgeworthy.export(
        Painted(), target, exporter=exporter, classes=list("abcd"), input_size=(3, 20, 28), mean=0.5, std=0.25
    )
    graph = onnx.load(target).graph
    assert not [node for node in graph.node if node.op_type == "ScatterND"]
