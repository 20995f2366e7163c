"""The steps: what is done to an operator's nodes where an opset changed the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Literal

from edgeworthy.opset import schemas
from edgeworthy.opset.site import Site

Direction = Literal["lower", "raise"]
Step = Callable[[Site], None]
Key = tuple[Direction, str, int]

REVIEWED = 28  # the newest opset whose changes somebody has read

_STEPS: dict[Key, Step] = {}
_ABSENT: dict[Key, str] = {}


class Status(Enum):
    """How the change of an operator at an opset is dealt with."""

    STEP = "a step rewrites or examines its nodes"
    TYPES = "only types were added"
    ABSENT = "there is no counterpart, and the list says so"
    UNDEFINED = "nobody has looked at it: refused"


# The same signature, another meaning: never to be taken for a change of types. Each one needs a step.
SILENT: frozenset[Key] = frozenset(
    {
        ("lower", "AveragePool", 22),  # windows that start in the padding at the end no longer count
        ("lower", "MaxPool", 22),  # the same
        ("lower", "Mod", 28),  # floats with fmod=0
        ("lower", "Pad", 19),  # mode `wrap`
        ("lower", "Resize", 19),  # mode `half_pixel_symmetric`
        ("lower", "ScatterElements", 18),  # reductions `max` and `min`
        ("lower", "ScatterND", 18),  # the same
        ("raise", "ConvTranspose", 11),  # where an odd padding goes
        ("raise", "Dropout", 10),  # the mask became boolean
        ("raise", "OneHot", 11),  # negative indices count from the back
    }
)


def lowers(*operators: str, opset: int) -> Callable[[Step], Step]:
    """Make a function the step that takes nodes from `opset` to the opset before."""
    return _registers("lower", operators, opset)


def raises(*operators: str, opset: int) -> Callable[[Step], Step]:
    """Make a function the step that takes nodes from the opset before to `opset`."""
    return _registers("raise", operators, opset)


def absent(direction: Direction, operators: Iterable[str], opset: int, why: str) -> None:
    """State that nothing can take these operators across an opset, and why."""
    for operator in operators:
        _ABSENT[_new((direction, operator, opset))] = why


def _registers(direction: Direction, operators: Iterable[str], opset: int) -> Callable[[Step], Step]:
    def register(step: Step) -> Step:
        for operator in operators:
            _STEPS[_new((direction, operator, opset))] = step
        return step

    return register


def _new(key: Key) -> Key:
    if key in _STEPS or key in _ABSENT:
        raise ValueError(f"{key} is registered twice.")
    return key


def step_for(direction: Direction, operator: str, opset: int) -> Step | None:
    """The step for an operator whose change at an opset is to be crossed."""
    return _STEPS.get((direction, operator, opset))


def why_absent(direction: Direction, operator: str, opset: int) -> str:
    """Why there is no step, "" where nothing is stated."""
    return _ABSENT.get((direction, operator, opset), "")


def registered() -> list[Key]:
    """Everything that is registered or stated, in the order of the modules."""
    return [*_STEPS, *_ABSENT]


def status(direction: Direction, operator: str, opset: int) -> Status:
    """How the change of an operator at an opset is dealt with."""
    key = (direction, operator, opset)
    if key in _STEPS:
        return Status.STEP
    if key in _ABSENT:
        return Status.ABSENT
    if key in SILENT or opset > REVIEWED or not schemas.same_form(operator, opset):
        return Status.UNDEFINED
    return Status.TYPES
