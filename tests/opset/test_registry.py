"""No change of an operator slips through: each one is rewritten, a widening of types, or listed."""

import pytest
from onnx import defs

from edgeworthy.contract import MAX_OPSET, MIN_OPSET
from edgeworthy.opset import registry, schemas, steps
from edgeworthy.opset.converter import OLDEST
from edgeworthy.opset.registry import REVIEWED, SILENT, Status, lowers

OPERATORS = sorted({each.name for each in defs.get_all_schemas_with_history() if each.domain == ""})
CROSSED = [("raise", opset) for opset in range(OLDEST + 1, MAX_OPSET + 1)]
CROSSED += [("lower", opset) for opset in range(MIN_OPSET + 1, schemas.newest() + 1)]


def changes(direction, opset):
    """The operators that are other ones on the two sides of an opset, and exist where a node comes from."""
    before = opset - 1 if direction == "raise" else opset
    return [name for name in OPERATORS if schemas.schema(name, before) and schemas.changes(name, opset)]


@pytest.mark.parametrize(("direction", "opset"), CROSSED)
def test_every_change_of_an_operator_is_dealt_with(direction, opset):
    found = {name: steps.status(direction, name, opset) for name in changes(direction, opset)}
    assert [name for name, status in found.items() if status is Status.UNDEFINED] == []


def test_the_newest_opset_has_been_reviewed():
    assert schemas.newest() <= REVIEWED


def test_everything_that_is_registered_is_a_change_that_is_crossed():
    known = [(direction, name, opset) for direction, opset in CROSSED for name in changes(direction, opset)]
    beyond = [key for key in steps.registered() if key[2] > schemas.newest()]
    assert set(steps.registered()) - set(beyond) <= set(known)


def test_what_changed_its_meaning_and_not_its_form_has_a_step():
    assert {steps.status(*key) for key in SILENT} == {Status.STEP}


def test_what_changed_its_meaning_and_not_its_form_is_never_taken_for_types(monkeypatch):
    monkeypatch.setattr(registry, "_STEPS", {})
    same_form = [key for key in SILENT if schemas.same_form(*key[1:])]
    assert same_form
    assert {registry.status(*key) for key in same_form} == {Status.UNDEFINED}


def test_an_opset_that_nobody_reviewed_is_not_trusted(monkeypatch):
    assert steps.status("lower", "Flatten", 25) is Status.TYPES
    monkeypatch.setattr(registry, "REVIEWED", 24)
    assert registry.status("lower", "Flatten", 25) is Status.UNDEFINED


def test_a_step_is_registered_once():
    with pytest.raises(ValueError, match="registered twice"):
        lowers("Mish", opset=18)(lambda site: None)


def test_every_step_says_what_changed():
    for key in steps.registered():
        step = steps.step_for(*key)
        function = getattr(step, "func", step)
        assert function is None or function.__doc__, key


@pytest.mark.parametrize(
    ("direction", "operator", "opset", "status"),
    [
        ("lower", "ReduceMean", 18, Status.STEP),
        ("lower", "Conv", 22, Status.TYPES),
        ("lower", "DeformConv", 19, Status.ABSENT),
        ("raise", "Scan", 9, Status.ABSENT),
        ("raise", "Relu", 13, Status.TYPES),
        ("lower", "Softmax", 13, Status.STEP),
    ],
)
def test_the_status_of_a_change(direction, operator, opset, status):
    assert steps.status(direction, operator, opset) is status
