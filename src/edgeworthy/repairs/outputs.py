"""Repairs of the output: one row of probabilities, with the class names in its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeworthy.contract import (
    ALARM_PREFIX,
    BOXES_PREFIX,
    OUTPUT_PREFIX,
    SUM_TOLERANCE,
    output_name,
    scores_output,
)
from edgeworthy.errors import IrreparableError, OptionError
from edgeworthy.graph import constant, producer, prune
from edgeworthy.model import dtype_name, tensor_shape
from edgeworthy.repairs.base import Changes, repair
from edgeworthy.repairs.border import before_softmax, sigmoid, softmax
from edgeworthy.repairs.names import class_names

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

    from edgeworthy.repairs.border import Array
    from edgeworthy.repairs.patient import Patient

_SLACK = 1e-5  # rounding of a float32 softmax
_FLOATS = ("float32", "float16", "float64")
_PASSING = {
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Transpose", "Clip",
    "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip


@repair("unread-outputs", "EW314")
def unread_outputs(patient: Patient) -> Changes:
    """Outputs beside the scores are dropped, with what only they need.

    The scores are the output that is asked for, the one that carries class names, or the only one that can
    be a row of scores.
    """
    outputs = list(patient.graph.output)
    kept = _chosen(patient, outputs)
    patient.kept = kept.name
    others = [
        value
        for value in outputs
        if value is not kept and not value.name.startswith((ALARM_PREFIX, BOXES_PREFIX))
    ]
    for value in others:
        patient.graph.output.remove(value)
    if others:
        prune(patient.graph)
        patient.changed()
        listed = ", ".join(repr(value.name[:40]) for value in others[:4])
        yield f"{len(others)} outputs beside the scores are dropped: {listed}."


def _chosen(patient: Patient, outputs: list[ValueInfoProto]) -> ValueInfoProto:
    names, wanted = [value.name for value in outputs], patient.wishes.output
    if wanted is not None:
        if wanted not in names:
            listed = ", ".join(repr(name[:40]) for name in names)
            raise OptionError(
                f"The file has no output {wanted!r}.",
                hint=f"It has {listed}; the file to write is named by -o.",
            )
        return outputs[names.index(wanted)]
    index = scores_output(names)
    if index is not None:
        return outputs[index]
    fitting = [value for value in outputs if _may_be_scores(value)]
    if len(fitting) != 1:
        listed = ", ".join(f"{value.name[:40]!r} {_described(value)}" for value in (fitting or outputs)[:6])
        raise IrreparableError(
            f"{len(fitting) or 'No'} outputs may be the scores of a classifier: {listed}.",
            hint="Say which one: --output NAME."
            if fitting
            else "Scores are one row of floats for a picture; an index (ArgMax) is none.",
        )
    return fitting[0]


def _may_be_scores(value: ValueInfoProto) -> bool:
    if dtype_name(value) not in (*_FLOATS, "uint8", "int8"):  # the last two may be quantised scores
        return False
    shape = tensor_shape(value)
    return shape is None or sum(dim != 1 for dim in shape[1:]) <= 1


def _described(value: ValueInfoProto) -> str:
    shape = tensor_shape(value)
    return f"{dtype_name(value)} {'of unknown shape' if shape is None else list(shape)}"


@repair("output-type", "EW311")
def output_type(patient: Patient) -> Changes:
    """The scores are float32.

    A Cast follows on other floating types, a DequantizeLinear on whole numbers that QuantizeLinear made.
    """
    from onnx import TensorProto, helper

    value = patient.scores
    name = dtype_name(value)
    if name == "float32":
        return
    if name not in _FLOATS:
        yield from _dequantized(patient, name)
        return
    wide, first = patient.name("wide_scores"), patient.name("narrow_scores")
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    patient.put_behind([helper.make_node("Cast", [first], [wide], to=TensorProto.FLOAT)], wide, first)
    patient.border.outward(lambda answers: answers.astype(np.float32))
    patient.border.exact = False
    yield f"The scores are float32, they were {name}."


def _dequantized(patient: Patient, name: str) -> Changes:
    from onnx import TensorProto, helper

    maker = producer(patient.graph, patient.scores.name)
    if maker is None or maker.op_type != "QuantizeLinear":
        raise IrreparableError(
            f"The scores' type is {name}: whole numbers are no probabilities.",
            hint="Export the scores from before they become an index or a whole number (ArgMax, Cast).",
        )
    scale, zero = (constant(patient.graph, one) for one in (*maker.input[1:3], "")[:2])
    if scale is None or scale.size != 1 or (len(maker.input) > 2 and zero is None):
        raise IrreparableError(f"The scores' type is {name}, and their scale is not one constant.")
    wide, first = patient.name("wide_scores"), patient.name("quantized_scores")
    patient.scores.type.tensor_type.elem_type = TensorProto.FLOAT
    inputs = [first, *maker.input[1:]]
    patient.put_behind([helper.make_node("DequantizeLinear", inputs, [wide])], wide, first)
    point = 0 if zero is None else int(zero.ravel()[0])
    step = np.float32(scale.ravel()[0])
    patient.border.outward(lambda answers: (answers.astype(np.int64) - point).astype(np.float32) * step)
    patient.border.exact = False
    yield f"The scores are float32, they were {name}; a DequantizeLinear follows."


@repair("output-shape", "EW312")
def output_shape(patient: Patient) -> Changes:
    """The scores have the shape [1, number of classes].

    What has only one axis longer than 1 is reshaped; symbolic dimensions become what they are on one picture.
    """
    found = patient.answers().shape[1:]
    if sum(size > 1 for size in found) > 1 or 0 in found:
        raise IrreparableError(
            f"This is no classifier: for one picture its output has the shape {list(found)}, "
            "scores are one row of numbers."
        )
    wanted, declared = (1, int(np.prod(found))), tensor_shape(patient.scores)
    if found != wanted:
        _reshape(patient, wanted)
    if declared != wanted:
        _declare(patient.scores, wanted)
        patient.changed()
        yield f"The scores' shape is {list(wanted)}, it was {list(declared) if declared else 'unknown'}."


def _reshape(patient: Patient, wanted: tuple[int, int]) -> None:
    from onnx import helper, numpy_helper

    shape, flat, first = patient.name("row"), patient.name("flat_scores"), patient.name("shaped_scores")
    patient.graph.initializer.append(numpy_helper.from_array(np.array(wanted, np.int64), shape))
    patient.put_behind([helper.make_node("Reshape", [first, shape], [flat])], flat, first)
    patient.border.outward(lambda answers: answers.reshape(len(answers), *wanted))


def _declare(value: ValueInfoProto, shape: tuple[int, ...]) -> None:
    value.type.tensor_type.shape.Clear()
    for size in shape:
        value.type.tensor_type.shape.dim.add().dim_value = size


@repair("softmax-twice", "EW504", safety="unsafe")
def softmax_twice(patient: Patient) -> Changes:
    """The second of two softmaxes is taken away.

    The best class stays, every probability changes: to what the model gave before somebody flattened it.
    """
    last = _maker(patient, patient.scores.name)
    if last is None or last.op_type != "Softmax":
        return
    before = _maker(patient, last.input[0])
    if before is None or before.op_type != "Softmax":
        return
    last.op_type = "Identity"
    del last.attribute[:]
    patient.changed()
    patient.border.outward(before_softmax)
    patient.border.exact = False
    yield "The second softmax is taken away."


def _maker(patient: Patient, name: str) -> NodeProto | None:
    """What computes a value, behind operators that only pass it on."""
    node = producer(patient.graph, name)
    while node is not None and node.op_type in _PASSING:
        node = producer(patient.graph, node.input[0])
    return node


@repair("not-probabilities", "EW501")
def not_probabilities(patient: Patient) -> Changes:
    """The scores are probabilities: a softmax or sigmoid follows where they are logits.

    Scores outside 0..1 are logits, and get a softmax; a single one gets a sigmoid. Scores that may be either
    are asked about.
    """
    from onnx import helper

    answers = patient.answers()
    activation = patient.wishes.activation or _needed(patient, answers)
    if activation == "none" or _is_applied(patient, activation, answers):
        return
    if activation == "softmax" and answers.shape[-1] == 1:
        raise IrreparableError(
            "The softmax of a single score is always 1.", hint="Say --activation sigmoid, or leave it out."
        )
    raw, done = patient.name("logits"), patient.name("probabilities")
    operator, step = _ACTIVATIONS[activation]
    axis = {"axis": 1} if activation == "softmax" else {}
    patient.put_behind([helper.make_node(operator, [raw], [done], **axis)], done, raw)
    patient.border.outward(step)
    patient.border.exact = False
    yield f"A {activation} makes probabilities of logits {answers.min():.4g} to {answers.max():.4g}."


_ACTIVATIONS = {"softmax": ("Softmax", softmax), "sigmoid": ("Sigmoid", sigmoid)}


def _is_applied(patient: Patient, activation: str, answers: Array) -> bool:
    """Whether the scores already went through it.

    Raises:
        IrreparableError: where they went through another one.
    """
    if not _in_range(answers):
        return False
    if _sums_to_one(answers):
        if activation == "sigmoid" and not _is_pair(patient):
            raise IrreparableError(
                "The scores are probabilities that sum to 1; a sigmoid on top would only flatten them.",
                hint="Leave --activation out.",
            )
        return True
    last = _maker(patient, patient.scores.name)
    recorded = patient.recorded.activation == activation
    return recorded or (last is not None and last.op_type == _ACTIVATIONS[activation][0])


def _is_pair(patient: Patient) -> bool:
    """Whether the scores are a probability and what is left of 1, as single-score makes them."""
    last = _maker(patient, patient.scores.name)
    return last is not None and last.op_type == "Concat" and len(last.input) == 2


def _sums_to_one(answers: Array) -> bool:
    sums = answers.astype(np.float64).sum(axis=-1)
    return answers.shape[-1] > 1 and bool(np.abs(sums - 1).max() <= SUM_TOLERANCE)


def _needed(patient: Patient, answers: Array) -> str:
    if not np.isfinite(answers).all():
        raise IrreparableError(
            "The scores of some probes are NaN or infinite; no repair makes sense of them."
        )
    single = answers.shape[-1] == 1
    sums = answers.astype(np.float64).sum(axis=-1)
    if not _in_range(answers):
        if answers.min() >= 0 and not single and np.ptp(sums) <= SUM_TOLERANCE * sums.max():
            raise IrreparableError(
                f"The scores of every picture sum to {sums.max():.4g}: they are shares of a whole.",
                hint="Export the model without that scale.",
            )
        return "sigmoid" if single else "softmax"
    last = _maker(patient, patient.scores.name)
    if (last is not None and last.op_type in {"Sigmoid", "Softmax"}) or _sums_to_one(answers):
        return "none"
    raise IrreparableError(
        f"The scores of one picture lie in 0..1 and sum to between {sums.min():.4g} and {sums.max():.4g}: "
        "they may be probabilities of a kind, or logits that happen to be small.",
        hint="Say what the graph has to apply: --activation softmax, sigmoid or none.",
    )


def _in_range(answers: Array) -> bool:
    return bool(answers.min() >= -_SLACK and answers.max() <= 1 + _SLACK)


@repair("single-score", "EW304")
def single_score(patient: Patient) -> Changes:
    """One sigmoid score becomes two probabilities, of the first class and of the second.

    The score is the probability of the second class; the first one's is what is left of 1.
    """
    from onnx import helper, numpy_helper

    if tensor_shape(patient.scores) != (1, 1):
        return
    one, left = patient.name("one"), patient.name("first_class")
    both, second = patient.name("both_classes"), patient.name("second_class")
    patient.graph.initializer.append(numpy_helper.from_array(np.array([[1]], np.float32), one))
    nodes = [
        helper.make_node("Sub", [one, second], [left]),
        helper.make_node("Concat", [left, second], [both], axis=1),
    ]
    patient.put_behind(nodes, both, second)
    _declare(patient.scores, (1, 2))
    patient.single = True
    patient.border.outward(lambda answers: np.concatenate([1 - answers, answers], axis=-1))
    patient.border.exact = False
    yield "The single score is the second class's probability; the first class gets what is left of 1."


@repair(
    "class-names", "EW301", "EW302", "EW303", "EW304", "EW305", "EW306", "EW307", "EW310", "EW315"
)  # fmt: skip
def class_names_in_the_output(patient: Patient) -> Changes:
    """The output's name carries the class names, as the platform reads them.

    They are those that are asked for, or the file's own: in the output's name, among the labels in its
    graph, in its metadata. Names that the platform cannot carry are mended by the rules of --fix-names.
    """
    shape = tensor_shape(patient.scores) or ()
    names, origin = class_names(patient, int(shape[1]))
    before, after = patient.scores.name, output_name(names)
    if before == after:
        return
    patient.rename(before, after)
    old = before if len(before) < 60 else f"{before[:56]}…"
    if before.startswith(OUTPUT_PREFIX):
        yield f"The class names in the output's name are written anew, {origin}."
    else:
        yield f"The output carries {len(names)} class names, {origin}; it was named {old!r}."
    if patient.single:
        yield f"The file's one score is the probability of {names[1]!r}."
