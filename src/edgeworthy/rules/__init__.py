"""The platform's requirements as rules with stable codes; RULES is all of them, in order."""

from __future__ import annotations

from edgeworthy.rules import behaviour, container, inputs, metadata, outputs, targets
from edgeworthy.rules.base import Rule

RULES: tuple[Rule, ...] = (
    *container.RULES,
    *inputs.RULES,
    *outputs.RULES,
    *metadata.RULES,
    *behaviour.RULES,
    *targets.RULES,
)

TARGETS: tuple[str, ...] = tuple(sorted({target for rule in RULES for target in rule.targets}))
