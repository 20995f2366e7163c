"""What the user tells a repair that the file does not say, or wants otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from edgeworthy.contract import CHANNELS, MAX_OPSET, MIN_OPSET, Layout
from edgeworthy.errors import OptionError
from edgeworthy.evidence import Activation
from edgeworthy.labelfiles import Classes

_CHOICES: dict[str, tuple[object, ...]] = {
    "activation": (None, *get_args(Activation)),
    "layout": (None, *get_args(Layout)),
    "scale": (None, 1, 255),
}


def _is_numbers(value: object) -> bool:
    values = value if isinstance(value, list | tuple) else [0.0 if value is None else value]
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) == len(values) > 0 and all(map(math.isfinite, numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user tells that the file does not, or wants otherwise; None leaves it to the file.

    Attributes:
        classes: names in the order of the scores, or a file, folder or built-in list of them.
        mean, std: one value a channel, in RGB order, for pixels 0..1 or 0..255.
        scale: which of the two, 1 or 255, where the values leave it open.
        activation: what the graph shall apply to the scores.
        input_size: (channels, height px, width px).
        layout: of the repaired file's input.
        opset: 12..17, of the repaired file.
        fix_names: whether names in `classes` that the platform cannot carry are repaired.
        output: name of the output that holds the scores.
        allow: names of the unsafe repairs that may be made.

    Raises:
        OptionError: on a value outside these.
    """

    classes: Classes | None = None
    mean: Sequence[float] | float | None = None
    std: Sequence[float] | float | None = None
    scale: int | None = None
    activation: Activation | None = None
    input_size: tuple[int, int, int] | None = None
    layout: Layout | None = None
    opset: int | None = None
    fix_names: bool = False
    output: str | None = None
    allow: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset not in range(MIN_OPSET, MAX_OPSET + 1):
            raise OptionError(f"Opset {self.opset!r} is none of {MIN_OPSET}..{MAX_OPSET}.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise OptionError(f"{name}={getattr(self, name)!r} is none of {choices}.")
        for name in ("mean", "std"):
            if not _is_numbers(getattr(self, name)):
                raise OptionError(f"{name}={getattr(self, name)!r} is not a number, or one a channel.")
        if self.scale is not None and self.mean is None:
            raise OptionError("--scale is given without --mean and --std.", hint="Give all three.")
        if (self.mean is None) is not (self.std is None):
            given, missing = ("--mean", "--std") if self.std is None else ("--std", "--mean")
            raise OptionError(f"{given} is given without {missing}.", hint="Give both, one value a channel.")
        if self.input_size is not None:
            size = self.input_size if isinstance(self.input_size, list | tuple) else ()
            whole = len(size) == 3 and all(isinstance(side, int) and side > 0 for side in size)
            if not whole or size[0] not in CHANNELS:
                raise OptionError(
                    f"An input of the size {self.input_size} is no picture.",
                    hint="Give --input-size C H W, such as --input-size 3 224 224.",
                )

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return self != Wishes()
