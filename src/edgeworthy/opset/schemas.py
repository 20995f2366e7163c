"""What the onnx library knows of each operator at each opset: its formal schema, and what breaks it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import TensorProto, defs

from edgeworthy.opset.facts import UNKNOWN, ValueFacts

if TYPE_CHECKING:
    from onnx import NodeProto

DOMAINS = frozenset({"", "ai.onnx"})  # two spellings of the default domain


def newest() -> int:
    """The newest opset of the default domain that the installed onnx knows."""
    version: int = defs.onnx_opset_version()
    return version


@functools.cache
def schema(operator: str, opset: int) -> Any:
    """An operator's schema at an opset; None where it does not exist there, or no longer."""
    try:
        found = defs.get_schema(operator, opset, "")
    except defs.SchemaError:
        return None
    return found if not found.deprecated or _lives_on(operator) else None


def _lives_on(operator: str) -> bool:
    """Whether an operator is marked as deprecated at one opset and was mended at a later one."""
    return not defs.get_schema(operator, newest(), "").deprecated


def changes(operator: str, opset: int) -> bool:
    """Whether an operator is another one at an opset than at the opset before."""
    before, after = schema(operator, opset - 1), schema(operator, opset)
    if before is None or after is None:
        return before is not after
    return bool(before.since_version != after.since_version)


@functools.cache
def same_form(operator: str, opset: int) -> bool:
    """Whether a change of an operator at an opset is one of types and documentation alone."""
    before, after = schema(operator, opset - 1), schema(operator, opset)
    if before is None or after is None:
        return False
    return bool(_form(before) == _form(after))


def _form(of: Any) -> Any:
    """All of a schema that a node without a change of its own relies on."""
    parameters = [
        [(parameter.option, parameter.is_homogeneous, parameter.min_arity) for parameter in group]
        for group in (of.inputs, of.outputs)
    ]
    attributes = {
        name: (entry.type, entry.required, entry.default_value.SerializeToString(deterministic=True))
        for name, entry in of.attributes.items()
    }
    return parameters, attributes, of.deprecated


def violation(node: NodeProto, opset: int, facts: Mapping[str, ValueFacts]) -> str:
    """What keeps a node from being one of an opset, so far as its values are known; "" for nothing."""
    found = schema(node.op_type, opset)
    if found is None:
        return "there is no such operator"
    return next(itertools.chain(_wrong_form(node, found), _wrong_types(node, found, facts)), "")


def _wrong_form(node: NodeProto, of: Any) -> Iterator[str]:
    for entry in node.attribute:
        declared = of.attributes.get(entry.name)
        if declared is None:
            yield f"there is no attribute {entry.name!r}"
        elif entry.type != int(declared.type.value):
            yield f"the attribute {entry.name!r} has another type"
    present = {entry.name for entry in node.attribute}
    for name, declared in of.attributes.items():
        if declared.required and name not in present:
            yield f"the attribute {name!r} is missing"
    if not of.min_input <= len(node.input) <= of.max_input:
        yield f"{len(node.input)} inputs are not allowed"
    if not of.min_output <= len(node.output) <= of.max_output:
        yield f"{len(node.output)} outputs are not allowed"
    for name, formal in (*_pairs(node.input, of.inputs), *_pairs(node.output, of.outputs)):
        if not name and formal.option.name == "Single":
            yield f"{formal.name!r} is required"


def _wrong_types(node: NodeProto, of: Any, facts: Mapping[str, ValueFacts]) -> Iterator[str]:
    bound: dict[str, set[str]] = {}
    for name, formal in (*_pairs(node.input, of.inputs), *_pairs(node.output, of.outputs)):
        kind = type_name(facts.get(name, UNKNOWN).dtype)
        if not kind:
            continue
        if kind not in formal.types:
            yield f"{formal.name!r} cannot be {kind}"
        if formal.is_homogeneous:
            bound.setdefault(formal.type_str, set()).add(kind)
    for kinds in bound.values():
        if len(kinds) > 1:
            yield f"{' and '.join(sorted(kinds))} would have to be one type"


def _pairs(names: Sequence[str], formals: Sequence[Any]) -> list[tuple[str, Any]]:
    """Each name with the formal parameter it stands for; the last one may be repeated."""
    if not formals:
        return []
    return list(zip(names, itertools.chain(formals, itertools.repeat(formals[-1])), strict=False))


def type_name(dtype: int) -> str:
    """A type's name as schemas spell it, such as `tensor(float)`; "" for an unknown one."""
    if dtype not in TensorProto.DataType.values() or dtype == TensorProto.UNDEFINED:
        return ""
    return f"tensor({TensorProto.DataType.Name(dtype).lower()})"
