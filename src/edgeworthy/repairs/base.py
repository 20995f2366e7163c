"""What a repair is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgeworthy.repairs.patient import Patient

Changes = Iterator[str]  # one sentence for each thing that was changed
Safety = Literal["safe", "unsafe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One change to a model that mends one kind of defect.

    Attributes:
        name: short, stable, lower case with dashes; it names the defect.
        mends: codes of the rules whose findings it removes; empty where it only does what was asked for.
        safety: whether predictions stay; what is unsafe happens only when it is asked for by name.
        title, details: from the docstring of its function.
        apply: changes the patient in place, and yields a sentence for each change; none, and nothing is
            changed, where the defect is absent.
    """

    name: str
    mends: tuple[str, ...]
    safety: Safety
    title: str
    details: str
    apply: Callable[[Patient], Changes]


def repair(
    name: str, *mends: str, safety: Safety = "safe"
) -> Callable[[Callable[[Patient], Changes]], Repair]:
    """Make a repair of a generator function with a docstring."""

    def make(apply: Callable[[Patient], Changes]) -> Repair:
        title, _, details = inspect.cleandoc(apply.__doc__ or "").partition("\n")
        return Repair(
            name=name,
            mends=mends,
            safety=safety,
            title=title,
            details=" ".join(details.split()),
            apply=apply,
        )

    return make
