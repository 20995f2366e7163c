"""Exact conversion of a model from one opset to another, in memory and without native code.

`convert` goes one opset at a time. Where an opset changed an operator, a step registered for the two of
them rewrites its nodes or refuses; a change without a step is accepted only where the two schemas differ
in nothing but types that were added, and the node's own types are among the older ones.
"""

from __future__ import annotations

from edgeworthy.opset.converter import convert, convert_in_place
from edgeworthy.opset.facts import ValueFacts, facts_of

__all__ = ["ValueFacts", "convert", "convert_in_place", "facts_of"]
