"""Smaller files: what they keep, the gate that they have to hold, and each step on the way to it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

from edgeworthy import check, export, inspect, predict, quantize
from edgeworthy import model as files
from edgeworthy.cli.app import app
from edgeworthy.errors import AccuracyError, NotConformantError, OptionError
from edgeworthy.evidence import PREFIX
from edgeworthy.filemodel import FileModel
from edgeworthy.graph import producer, rename
from edgeworthy.images import frame_picture, open_picture
from edgeworthy.metrics import difference
from edgeworthy.model import metadata_of
from edgeworthy.quantizing.bench import Bench, divergence
from edgeworthy.quantizing.calibration import Observed, bounds, observe
from edgeworthy.quantizing.correction import correct_biases
from edgeworthy.quantizing.equalisation import equalised
from edgeworthy.quantizing.judging import decisions
from edgeworthy.quantizing.preparing import prepared
from edgeworthy.quantizing.qdq import Scheme, float_again, layers_of, quantized, replace_values, values_of
from edgeworthy.quantizing.rounding import Rounder, nearest_plane
from edgeworthy.runtime import Session
from tests.factory import classifier_file

SIDE = 32
CLASSES = ("columns", "rows", "checks", "plain")
NEEDLESS = 100.0  # how much larger half of the channels are than the others, for nothing


def read(path):
    return files.read(Path(path))


class Net(nn.Module):
    """Convolutions, a depthwise one, a residual, ReLU and ReLU6, and a head that is fitted later."""

    def __init__(self, needless=None):
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 12, 5, 2, 2)
        self.wide = nn.Conv2d(12, 24, 1)
        self.deep = nn.Conv2d(24, 24, 3, 1, 1, groups=24)
        self.thin = nn.Conv2d(24, 12, 1)
        self.last = nn.Conv2d(12, 32, 3, 2, 1, bias=False)
        self.head = nn.Linear(32, len(CLASSES))
        if needless == "between":  # two layers with a rectifier between them: equalising mends it
            with torch.no_grad():
                self.wide.weight[:12] *= NEEDLESS
                self.wide.bias[:12] *= NEEDLESS
                self.deep.weight[:12] /= NEEDLESS

    def features(self, x):
        x = torch.relu(self.stem(x))
        y = torch.nn.functional.relu6(self.deep(torch.relu(self.wide(x))))
        x = torch.relu(x + self.thin(y))
        return torch.relu(self.last(x)).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Fork(Net):
    """Two convolutions read what one rectifier gives, as in a residual block that changes its width."""

    def __init__(self):
        super().__init__()
        self.short = nn.Conv2d(12, 12, 1)

    def features(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.short(x) + self.thin(torch.relu(self.wide(x))))
        return torch.relu(self.last(x)).mean((2, 3))


def texture(label, random):
    """A picture of its class, uint8 [32, 32, 3]."""
    ys, xs = np.mgrid[0:SIDE, 0:SIDE]
    size = random.integers(2, 5)
    pattern = {
        "columns": xs // size % 2,
        "rows": ys // size % 2,
        "checks": (xs // size + ys // size) % 2,
        "plain": np.zeros((SIDE, SIDE)),
    }[label]
    contrast, base = random.uniform(40, 120), random.uniform(20, 120, 3)
    pixels = base + contrast * pattern[..., None] + random.normal(0, 12, (SIDE, SIDE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def pictures_in(place, count, seed):
    random = np.random.default_rng(seed)
    for label in CLASSES:
        (place / label).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(texture(label, random)).save(place / label / f"{number:03}.png")
    return place


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures_in(tmp_path_factory.mktemp("pictures") / "labelled", 60, 1)


def fitted(net):
    """The head that tells the classes apart best, by least squares on features of other pictures."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), 60)
    pixels = np.stack([texture(CLASSES[label], random) for label in labels])
    with torch.no_grad():
        inputs = torch.tensor((pixels / 127.5 - 1).transpose(0, 3, 1, 2), dtype=torch.float32)
        features = net.eval().features(inputs).double()
        columns = torch.cat([features, torch.ones(len(features), 1)], 1)
        ridge = 1e-6 * torch.eye(columns.shape[1])
        wanted = 8.0 * torch.nn.functional.one_hot(torch.tensor(labels), len(CLASSES)).double()
        found = torch.linalg.solve(columns.T @ columns + ridge, columns.T @ wanted)
        net.head.weight.copy_(found[:-1].T)
        net.head.bias.copy_(found[-1])
    return net


def exported(path, needless=None, net=None, **details):
    export(
        fitted(net or Net(needless)),
        path,
        classes=list(CLASSES),
        mean=[0.5] * 3,
        std=[0.5] * 3,
        input_size=(3, SIDE, SIDE),
        **details,
    )
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("model") / "textures.onnx")


@pytest.fixture(scope="module")
def bench(file, data, tmp_path_factory):
    return a_bench(file, data, tmp_path_factory.mktemp("bench"))


def a_bench(file, data, scratch):
    model = FileModel(file)
    frame, _ = model.frame()
    pixels = [frame_picture(open_picture(path), frame) for path in sorted(data.glob("*/*.png"))[::4]]
    return Bench(model, pixels, scratch)


def in_8_bits(model, bench, method="minmax", **scheme):
    found = observe(model, bench.feeds(), len(bench.pictures), bench.scratch)
    return quantized(model, bounds(found, method), Scheme(**scheme))


# The whole road.


@pytest.fixture(scope="module")
def smaller(file, data, tmp_path_factory):
    target = tmp_path_factory.mktemp("smaller") / "textures-int8.onnx"
    return quantize(file, target, calibration=data)


def test_a_smaller_file_is_judged_by_labels_and_keeps_the_contract(file, smaller):
    assert smaller.path is not None
    assert smaller.gate.held
    assert smaller.gate.max_drop == 0.5
    assert smaller.gate.labelled == smaller.gate.pictures == 120
    assert smaller.gate.top1_before.value > 0.9, "a classifier that guesses proves nothing"
    assert smaller.gate.drop.low <= smaller.gate.drop.value <= smaller.gate.drop.high
    assert smaller.gate.drop.value <= 0.5
    assert smaller.calibration_pictures == 120
    assert check(smaller.path).conforms


def test_names_documentation_evidence_and_float_borders_are_kept(file, smaller):
    before, after = read(file), read(smaller.path)
    assert [port.name for port in (*before.graph.input, *before.graph.output)] == [
        port.name for port in (*after.graph.input, *after.graph.output)
    ]
    for port in (*after.graph.input, *after.graph.output):
        assert port.type.tensor_type.elem_type == TensorProto.FLOAT
    assert after.graph.doc_string == before.graph.doc_string
    assert metadata_of(before).items() <= metadata_of(after).items()
    assert (after.opset_import[0].version, after.ir_version) == (
        before.opset_import[0].version,
        before.ir_version,
    )


def test_the_gate_is_recorded_without_time_or_path(smaller, data):
    text = metadata_of(read(smaller.path))[PREFIX + "quantization"]
    record = json.loads(text)
    assert record["gate"]["held"] is True
    assert record["calibration"]["pictures"] == 120
    assert record["judged"]["sha256"] != record["calibration"]["sha256"]
    assert str(data) not in text
    assert "seconds" not in text


def test_weights_are_8_bit_integers(smaller):
    layers = list(layers_of(read(smaller.path)))
    assert len(layers) == smaller.layers - len(smaller.float_layers)
    assert len(layers) >= 4
    assert {values_of(read(smaller.path), layer.weight).dtype for layer in layers} == {np.dtype(np.int8)}


def test_the_same_call_gives_the_same_bytes(file, data, smaller, tmp_path):
    again = quantize(file, tmp_path / "again.onnx", calibration=data)
    assert again.sha256 == smaller.sha256


def test_the_file_predicts_as_any_other(smaller, data):
    picture = next((data / "rows").iterdir())
    (found,) = predict(smaller.path, [picture])
    assert found.scores[0].name == "rows"


def test_without_labels_the_best_classes_have_to_stay(file, data, tmp_path):
    places = [data / label for label in CLASSES]
    found = quantize(file, tmp_path / "small.onnx", calibration=places)
    assert found.gate.min_agreement == 0.97
    assert found.gate.drop is None
    assert found.gate.labelled == 0
    assert found.gate.agreement.value >= 0.97


def test_what_was_calibrated_with_does_not_judge(file, data, tmp_path):
    with pytest.raises(OptionError, match=r"No picture to judge by is left\. .*calibrated with"):
        quantize(file, tmp_path / "small.onnx", calibration=data, judge=data)
    mixed = pictures_in(tmp_path / "mixed", 3, 7)
    for path in sorted((data / "rows").iterdir())[:5]:
        (mixed / "rows" / f"copy-{path.name}").write_bytes(path.read_bytes())
    found = quantize(file, tmp_path / "small.onnx", calibration=data, judge=mixed, max_drop=100)
    assert found.gate.pictures == 12
    assert any("5 pictures to judge by were calibrated with" in note for note in found.notes)


def test_few_pictures_are_warned_of(file, tmp_path):
    few = pictures_in(tmp_path / "few", 4, 5)
    found = quantize(file, tmp_path / "small.onnx", calibration=few, max_drop=100)
    assert "Only 8 pictures to calibrate with" in found.notes[0]
    assert "Only 8 pictures to judge by" in found.notes[1]


def test_half_precision_with_float_borders(file, data, tmp_path):
    found = quantize(file, tmp_path / "half.onnx", calibration=data, precision="float16")
    model = read(found.path)
    assert found.ranges is None
    assert found.gate.agreement.value > 0.98
    assert {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4} == {
        TensorProto.FLOAT16
    }
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert check(found.path).conforms


def test_an_older_opset_becomes_one_with_a_scale_for_each_channel(data, tmp_path):
    file = exported(tmp_path / "old.onnx", opset=12)
    found = quantize(file, tmp_path / "small.onnx", calibration=data, max_drop=100)
    assert inspect(found.path).opset == 13


# The gate, when it is missed.


def test_equalising_mends_channels_that_are_large_for_nothing(data, tmp_path):
    file = exported(tmp_path / "needless.onnx", needless="between")
    found = quantize(file, tmp_path / "small.onnx", calibration=data, min_agreement=0.995)
    steps = {attempt.name: attempt for attempt in found.attempts}
    assert not steps["plain"].gate.held
    assert steps["equalisation"].gate is not None
    assert steps["equalisation"].divergence < steps["plain"].divergence


def test_nothing_is_written_where_nothing_holds_the_gate(file, data, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeworthy.quantizing.judging.Jury._holds", lambda *_: False)
    target = tmp_path / "small.onnx"
    with pytest.raises(AccuracyError, match="No step holds the gate") as caught:
        quantize(file, target, calibration=data, max_drop=0, min_agreement=1)
    outcome = caught.value.outcome
    assert outcome.path is None
    assert not target.exists()
    assert not list(tmp_path.iterdir()), "a draft stays behind"
    assert [attempt.name for attempt in outcome.attempts][:4] == [
        "plain",
        "bias correction",
        "equalisation",
        "other ranges",
    ]
    assert len(outcome.blames) + len(outcome.float_layers) >= outcome.layers - 1
    assert [blame.gain for blame in outcome.blames] == sorted(
        (blame.gain for blame in outcome.blames), reverse=True
    )


def test_layers_are_left_in_float_until_the_gate_holds(file, data, tmp_path, monkeypatch):
    from edgeworthy.quantizing.judging import Jury

    verdicts = iter([False] * 20)
    whole = Jury.judge

    def strict(self, candidate):
        gate = whole(self, candidate)
        layers = len(list(layers_of(read(candidate.path))))
        object.__setattr__(gate, "held", layers <= 3 and next(verdicts) is False)
        return gate

    monkeypatch.setattr(Jury, "judge", strict)
    found = quantize(file, tmp_path / "small.onnx", calibration=data)
    assert found.attempts[-1].name == "layers in float32"
    assert len(found.float_layers) >= 3
    assert set(found.float_layers).isdisjoint(layer.name for layer in layers_of(read(found.path)))
    assert check(found.path).conforms


# The steps.


def test_observed_bounds_are_exact(file, bench):
    model = prepared(read(file))
    found = observe(model, bench.feeds(), len(bench.pictures), bench.scratch)
    tensor = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = Session(bench.save(watched, "watched.onnx"))
    values = np.stack([session.run(session.feeds(feed), [tensor])[0] for feed in bench.feeds()])
    assert (found[tensor].lowest, found[tensor].highest) == (values.min(), values.max())
    assert set(found[tensor].sample) <= set(values.ravel())
    assert abs(np.median(found[tensor].sample) - np.median(values)) < 0.05 * np.std(values)


def test_ways_to_choose_bounds():
    random = np.random.default_rng(0)
    sample = np.append(random.normal(0, 1, 100_000), [60.0, -50.0]).astype(np.float32)
    observed = {"x": Observed(-50.0, 60.0, sample)}

    def error(low, high):
        step = (high - low) / 255
        zero = np.round(-low / step)
        return np.mean((sample - (np.clip(np.round(sample / step) + zero, 0, 255) - zero) * step) ** 2)

    found = {method: bounds(observed, method)["x"] for method in ("minmax", "percentile", "mse", "entropy")}
    assert found["minmax"] == (-50.0, 60.0)
    assert -5 < found["percentile"][0] < found["percentile"][1] < 5
    assert error(*found["mse"]) < error(*found["minmax"])
    assert found["entropy"][1] < 60
    low, high = bounds(observed, "minmax", symmetric=True)["x"]
    assert (low, high) == (-60.0, 60.0)


def test_a_tensor_that_never_moves_has_bounds():
    observed = {"x": Observed(0.0, 0.0, np.zeros(10, np.float32))}
    for method in ("minmax", "percentile", "mse", "entropy"):
        assert bounds(observed, method)["x"] == (0.0, 0.0)


def test_rounding_together_moves_the_output_less_than_rounding_one_by_one():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(400, 6)) @ random.normal(size=(6, 30)) + 0.1 * random.normal(size=(400, 30))
    weights = random.normal(size=(1, 8, 30))
    scales = np.abs(weights).max(axis=2) / 7  # few levels, so that it shows
    moment = (inputs.T @ inputs)[None].astype(np.float32)
    together = nearest_plane(weights, scales, moment, 7)
    alone = np.clip(np.rint(weights / scales[..., None]), -7, 7)

    def error(integers):
        off = (integers * scales[..., None] - weights)[0]
        return np.einsum("oi,ij,oj->", off, moment[0], off)

    assert together.dtype == np.int8
    assert np.abs(together).max() <= 7
    assert error(together) < 0.5 * error(alone)


def test_rounding_together_is_rounding_where_inputs_have_nothing_in_common():
    weights = np.random.default_rng(1).normal(size=(2, 3, 5))
    scales = np.abs(weights).max(axis=2) / 127
    found = nearest_plane(weights, scales, np.stack([np.eye(5, dtype=np.float32)] * 2), 127)
    assert np.array_equal(found, np.rint(weights / scales[..., None]).astype(np.int8))


@pytest.mark.parametrize("moment", [np.full((1, 4, 4), np.inf), -np.eye(4)[None], np.full((1, 4, 4), np.nan)])
def test_weights_are_rounded_one_by_one_where_the_inputs_say_nothing(moment):
    weights = np.random.default_rng(2).normal(size=(1, 3, 4))
    scales = np.abs(weights).max(axis=2) / 127
    with np.errstate(invalid="ignore"):
        found = nearest_plane(weights, scales, moment.astype(np.float32), 127)
    assert np.array_equal(found, np.rint(weights / scales[..., None]).astype(np.int8))


def test_rounding_of_inputs_that_are_all_the_same_is_finite():
    weights = np.random.default_rng(3).normal(size=(1, 3, 4))
    scales = np.abs(weights).max(axis=2) / 127
    found = nearest_plane(weights, scales, np.ones((1, 4, 4), np.float32), 127)
    off = (found * scales[..., None] - weights).sum(axis=2)
    assert np.abs(off).max() <= scales.max()


def test_rounding_together_brings_the_whole_file_closer(file, bench):
    model = prepared(read(file))
    found = in_8_bits(model, bench)
    before = {layer.weight: values_of(found, layer.weight) for layer in layers_of(found)}
    off = bench.divergence(found)
    Rounder(model, bench).round(found)
    assert all(
        not np.array_equal(before[layer.weight], values_of(found, layer.weight)) for layer in layers_of(found)
    ), "each layer has weights that are rounded otherwise"
    assert bench.divergence(found) < 1.2 * off


def test_biases_make_up_for_what_was_shifted(file, bench):
    model = prepared(read(file))
    found = in_8_bits(model, bench)
    first = next(layers_of(found))
    integers = values_of(found, first.bias)
    shifted = integers + np.rint(0.3 / first.bias_scales).astype(np.int32)
    replace_values(found, first.bias, shifted)
    off = bench.divergence(found)
    corrected = correct_biases(found, model, bench)
    assert bench.divergence(corrected) < 0.2 * off
    moved = (values_of(corrected, first.bias) - integers) * first.bias_scales
    assert np.abs(moved).max() < 0.05


def test_equalising_changes_no_answer(data, tmp_path):
    file = exported(tmp_path / "needless.onnx", needless="between")
    bench = a_bench(file, data, tmp_path)
    model = prepared(read(file))
    even, pairs = equalised(model, bench)
    assert pairs >= 1
    feed = next(bench.feeds())
    before, after = (Session(bench.save(one, "one.onnx")).scores(feed) for one in (model, even))
    assert np.allclose(before, after, atol=1e-5)
    assert bench.divergence(in_8_bits(even, bench)) < 0.75 * bench.divergence(in_8_bits(model, bench))


def test_a_file_of_float_layers_alone_is_the_original(file, bench):
    model = prepared(read(file))
    found = in_8_bits(model, bench)
    names = {layer.name for layer in layers_of(found)}
    back, floats = float_again(found, model, names)
    assert floats == names
    onnx.checker.check_model(back)
    assert bench.divergence(back) < 0.2 * bench.divergence(found)
    relus = sum(node.op_type == "Relu" for node in model.graph.node)
    assert sum(node.op_type == "Relu" for node in back.graph.node) >= relus - 1


def test_leaving_one_layer_brings_its_rectifier_back(file, bench):
    model = prepared(read(file))
    found = in_8_bits(model, bench)
    second = list(layers_of(found))[1]
    back, floats = float_again(found, model, {second.name})
    node = next(node for node in back.graph.node if node.name == second.name)
    assert producer(back.graph, node.input[0]).op_type == "Relu"
    assert len(floats) == 2, "the layer before has a reader in float32, and is one, too"


def test_layers_that_read_the_same_are_left_together(data, tmp_path):
    file = exported(tmp_path / "fork.onnx", net=Fork())
    bench = a_bench(file, data, tmp_path)
    model = prepared(read(file))
    found = in_8_bits(model, bench)
    layers = {layer.name: layer.node for layer in layers_of(found)}
    readers = [
        name
        for name, node in layers.items()
        if sum(one.input[0] == node.input[0] for one in layers.values()) > 1
    ]
    assert len(readers) == 2, "the fork"
    back, floats = float_again(found, model, set(readers))
    onnx.checker.check_model(back)
    tensors = {node.input[0] for node in back.graph.node if node.name in readers}
    assert [producer(back.graph, tensor).op_type for tensor in tensors] == ["Relu"]
    assert set(readers) < floats
    whole, _ = float_again(found, model, set(layers))
    assert bench.divergence(whole) < 0.2 * bench.divergence(found)


@pytest.mark.parametrize(("scheme", "most"), [({}, 127), ({"reduced": True}, 64)])
def test_weights_use_the_bits_that_the_processor_has(file, bench, scheme, most):
    found = in_8_bits(prepared(read(file)), bench, **scheme)
    assert {layer.most for layer in layers_of(found)} == {most}
    assert {int(np.abs(values_of(found, layer.weight).astype(int)).max()) for layer in layers_of(found)} == {
        most
    }


def test_symmetric_activations_have_no_zero_point(file, data, tmp_path):
    found = quantize(file, tmp_path / "s8.onnx", calibration=data, activations="int8", max_drop=100)
    model = read(found.path)
    for node in (node for node in model.graph.node if node.op_type == "QuantizeLinear"):
        zero = values_of(model, node.input[2])
        assert zero.dtype == np.int8
        assert not zero.any()
    assert "GPUs" in found.processors


def test_logits_are_not_rounded(file, bench):
    found = in_8_bits(prepared(read(file)), bench)
    softmax = next(node for node in found.graph.node if node.op_type == "Softmax")
    assert producer(found.graph, softmax.input[0]).op_type == "Gemm"


def test_divergence_is_that_of_the_distributions():
    p, q = np.array([[0.75, 0.25]], np.float32), np.array([[0.5, 0.5]], np.float32)
    assert divergence(p, q) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6)
    assert divergence(p, p) == 0
    apart = divergence(np.array([[0.75]], np.float32), np.array([[0.5]], np.float32))
    assert apart == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6), "one class, yes or no"


def test_a_classifier_of_one_class_says_yes_or_no():
    assert decisions(np.array([[0.6], [0.4]], np.float32)).tolist() == [0, 1]
    assert decisions(np.array([[0.1, 0.9], [np.nan, 0.0]], np.float32)).tolist() == [1, 1]


def test_the_interval_of_a_loss():
    right, others = np.array([True] * 90 + [False] * 10), np.array([True] * 85 + [False] * 15)
    found = difference(right, others)
    assert found.value == pytest.approx(0.05)
    assert found.low < 0.05 < found.high
    assert difference(right, right).value == 0


# What cannot be done.


def test_a_file_that_breaks_the_contract_is_sent_to_repair(tmp_path, data):
    file = classifier_file(
        tmp_path / "bad.onnx", edit=lambda model: rename(model, model.graph.output[0].name, "logits")
    )
    with pytest.raises(NotConformantError, match="EW") as caught:
        quantize(file, tmp_path / "small.onnx", calibration=data)
    assert "edgeworthy repair" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"ranges": "guess"}, "ranges is 'guess'"),
        ({"activations": "int16"}, "activations is 'int16'"),
        ({"max_drop": -1}, "no number of points"),
        ({"min_agreement": 97}, "no share in 0..1"),
        ({"keep": ["nowhere"]}, "No node is called 'nowhere'"),
    ],
)
def test_options_that_cannot_be(file, data, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        quantize(file, tmp_path / "small.onnx", calibration=data, **options)
    assert not list(tmp_path.iterdir())


def test_a_file_in_lower_precision_is_refused(file, data, smaller, tmp_path):
    with pytest.raises(OptionError, match="quantized already") as caught:
        quantize(smaller.path, tmp_path / "again.onnx", calibration=data)
    assert "float32 file" in caught.value.hint
    half = quantize(file, tmp_path / "half.onnx", calibration=data, precision="float16")
    with pytest.raises(OptionError, match="half precision"):
        quantize(half.path, tmp_path / "again.onnx", calibration=data)


def test_a_place_that_is_not_there_is_named(file, tmp_path):
    with pytest.raises(OptionError, match="nowhere is not there"):
        quantize(file, tmp_path / "small.onnx", calibration=tmp_path / "nowhere")


def test_a_file_does_not_take_its_own_place(file, data):
    before = file.read_bytes()
    with pytest.raises(OptionError, match="is the file itself"):
        quantize(file, file, calibration=data, force=True)
    assert file.read_bytes() == before


def test_labels_that_the_model_does_not_know_are_told(file, data, tmp_path):
    strange = tmp_path / "strange"
    for number, label in enumerate(CLASSES):
        (strange / f"thing {number}").mkdir(parents=True)
        for path in sorted((data / label).iterdir())[:4]:
            (strange / f"thing {number}" / path.name).write_bytes(path.read_bytes())
    found = quantize(file, tmp_path / "small.onnx", calibration=strange, min_agreement=0)
    assert found.gate.labelled == 0
    assert any(note.startswith("Labels are not used: ") and "thing 0" in note for note in found.notes)
    with pytest.raises(OptionError, match="knows none of the 4 labels"):
        quantize(file, tmp_path / "other.onnx", calibration=strange, max_drop=1)


def test_points_of_top1_need_labels(file, data, tmp_path):
    with pytest.raises(OptionError, match="has no folders of pictures"):
        quantize(file, tmp_path / "small.onnx", calibration=data / "rows", max_drop=1)


def test_points_of_top1_need_a_label_among_the_judged(file, data, tmp_path):
    first = {label: sorted((data / label).iterdir()) for label in CLASSES}
    rows = [(first["rows"][at], "rows" if at % 2 == 0 else "unheard of") for at in range(8)]
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    with pytest.raises(OptionError, match="None of the 4 pictures to judge by has a label"):
        quantize(file, tmp_path / "small.onnx", calibration=table, max_drop=1)


def test_pictures_that_cannot_be_read_are_told(file, data, tmp_path):
    place = pictures_in(tmp_path / "some", 4, 9)
    (place / "rows" / "broken.png").write_bytes(b"no picture")
    found = quantize(file, tmp_path / "small.onnx", calibration=place, max_drop=100)
    assert any("1 picture could not be read" in note and "broken.png" in note for note in found.notes)


# The command.


def test_the_command_shows_the_steps_and_the_gate(file, data, tmp_path):
    target = tmp_path / "small.onnx"
    result = CliRunner().invoke(app, ["quantize", str(file), "-o", str(target), "--calibration", str(data)])
    assert result.exit_code == 0, result.output
    for told in (
        "✓ textures.onnx as int8",
        "plain",
        "held: at most 0.5 points",
        "VNNI",
        "judged by 120 others",
    ):
        assert told in result.output
    assert target.exists()
    shown = CliRunner().invoke(app, ["inspect", str(target)])
    assert "Quantized" in shown.output
    assert "held" in shown.output


def test_the_command_takes_several_places_and_gives_json(file, data, tmp_path):
    places = [str(data / label) for label in CLASSES]
    words = ["quantize", str(file), "-o", str(tmp_path / "small.onnx"), "--json", "--calibration", *places]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["gate"]["held"] is True
    assert found["attempts"][0]["name"] == "plain"


def test_the_command_ends_with_1_and_the_layers_where_the_gate_is_missed(file, data, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeworthy.quantizing.judging.Jury._holds", lambda *_: False)
    words = ["quantize", str(file), "-o", str(tmp_path / "small.onnx"), "--calibration", str(data)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, AccuracyError)
    assert result.exception.exit_code == 1
    assert "Layers to blame" in result.stdout
    assert not (tmp_path / "small.onnx").exists()


def test_without_its_extra_the_command_says_what_to_install(file, data, tmp_path):
    code = (
        "import sys\nsys.modules['sklearn'] = None\n"
        f"sys.argv = ['edgeworthy', 'quantize', {str(file)!r}, '-o', {str(tmp_path / 'x.onnx')!r},\n"
        f"  '--calibration', {str(data)!r}]\n"
        "from edgeworthy.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install "edgeworthy[quantize]"' in done.stderr
    assert not list(tmp_path.iterdir())


def test_quantizing_needs_no_torch(file, data, tmp_path):
    code = (
        "import sys, edgeworthy\n"
        f"edgeworthy.quantize({str(file)!r}, {str(tmp_path / 'x.onnx')!r}, calibration={str(data)!r})\n"
        f"edgeworthy.quantize({str(file)!r}, {str(tmp_path / 'y.onnx')!r}, calibration={str(data)!r},\n"
        "  precision='float16')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
