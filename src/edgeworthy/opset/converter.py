"""The way from one opset to another, one opset at a time, each operator by its own step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeworthy.contract import MAX_OPSET, MIN_OPSET
from edgeworthy.errors import UnconvertibleError
from edgeworthy.graph import Names
from edgeworthy.model import opset_of, subgraphs_of
from edgeworthy.opset import schemas
from edgeworthy.opset.facts import ValueFacts, combine
from edgeworthy.opset.scope import Scope
from edgeworthy.opset.site import Site
from edgeworthy.opset.steps import Direction, Status, status, step_for, why_absent

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

OLDEST = 7  # broadcasting as numpy does it; older graphs mean other things by the same nodes


def convert(model: ModelProto, target: int, facts: Mapping[str, ValueFacts] | None = None) -> ModelProto:
    """The same model at another opset of the default domain, computing the same.

    No native code looks at the model. Names of inputs, outputs and initialisers stay, as do metadata,
    documentation, IR version and the opsets of other domains. The same model always gives the same bytes.

    Args:
        model: at an opset from 7 to the newest that the installed onnx knows; it stays as it is.
        target: 12 to 17.
        facts: types and shapes of values by name, in addition to those that the model states. Operators
            that have to be taken apart need them.

    Raises:
        UnconvertibleError: where a node has no counterpart, or where its counterpart needs a type, a
            shape or a constant that is not known.
    """
    result = type(model)()
    result.CopyFrom(model)
    convert_in_place(result, target, facts)
    return result


def convert_in_place(model: ModelProto, target: int, facts: Mapping[str, ValueFacts] | None = None) -> None:
    """`convert` without a copy, which holds the weights once more; a model that it refuses is spoiled."""
    source = opset_of(model)
    if source == target:
        return
    start = _checked_source(model, source, target)
    journey = _Journey(names=Names(model), facts=combine(model, facts or {}), ir_version=model.ir_version)
    step = 1 if target > start else -1
    for opset in range(start, target, step):
        journey.cross(model.graph, opset, opset + step)
    for entry in model.opset_import:
        if entry.domain in schemas.DOMAINS:
            entry.version = target


def _checked_source(model: ModelProto, source: int | None, target: int) -> int:
    """The opset to start from, where the way from there to the target is one that can be gone."""
    if not MIN_OPSET <= target <= MAX_OPSET:
        raise UnconvertibleError(f"Opset {target} is no target.", hint=f"Ask for {MIN_OPSET} to {MAX_OPSET}.")
    versions = {entry.version for entry in model.opset_import if entry.domain in schemas.DOMAINS}
    if source is None or len(versions) != 1:
        raise UnconvertibleError("The file does not name one opset of the default domain.")
    if not OLDEST <= source <= schemas.newest():
        raise UnconvertibleError(
            f"Opset {source} is not one of {OLDEST} to {schemas.newest()}, which can be converted.",
            hint="Export the model anew, or update onnx.",
        )
    if model.functions or model.training_info:
        what = "local functions" if model.functions else "graphs for training"
        raise UnconvertibleError(
            f"The file has {what}, which are not converted from opset {source} to {target}.",
            hint="Inline the functions with onnx.inliner." if model.functions else "Export it for inference.",
        )
    return source


@dataclass(slots=True, kw_only=True)
class _Journey:
    """What stays the same along the way: names that are taken, what is known of values."""

    names: Names
    facts: dict[str, ValueFacts]
    ir_version: int

    def cross(self, graph: GraphProto, before: int, after: int, outer: Scope | None = None) -> None:
        """Take the nodes of a graph, and of the graphs inside it, from one opset to its neighbour."""
        scope = Scope(graph, self.ir_version, outer)
        nodes: list[NodeProto] = []
        for node in graph.node:
            for inner in subgraphs_of(node):
                self.cross(inner, before, after, scope)
            if node.domain in schemas.DOMAINS:
                site = Site(node, before, after, scope, self.names, self.facts)
                _change(site)
                nodes += site.added
            nodes.append(node)
        if len(nodes) != len(graph.node):
            fresh = type(graph)(node=nodes)
            del graph.node[:]
            graph.node.extend(fresh.node)


def _change(site: Site) -> None:
    """Do to a node what the opset between its two sides asks for.

    Raises:
        UnconvertibleError: where nothing can be done.
    """
    operator, changed = site.node.op_type, max(site.before, site.after)
    direction: Direction = "raise" if site.after > site.before else "lower"
    if schemas.schema(operator, site.before) is None:
        raise site.refuse(f"opset {site.before} has no such operator")
    if not schemas.changes(operator, changed):
        return
    wrong = schemas.violation(site.node, site.before, site.facts)
    if wrong:
        raise site.refuse(f"it is not valid as it is: {wrong}", "Mend the file first.")
    _take(site, direction, changed)
    for node in (*site.added, site.node):
        wrong = schemas.violation(node, site.after, site.facts)
        if wrong:
            raise site.refuse(f"in {node.op_type} there, {wrong}")


def _take(site: Site, direction: Direction, changed: int) -> None:
    step = step_for(direction, site.node.op_type, changed)
    if step is None:
        _accept_types(site, direction, changed)
        return
    try:
        step(site)
    except (ArithmeticError, IndexError, ValueError) as error:  # lists of different lengths, sizes of 0
        raise site.refuse("its attributes, inputs and shapes do not fit each other") from error


def _accept_types(site: Site, direction: Direction, changed: int) -> None:
    """Let a node be where its operator was only widened."""
    found = status(direction, site.node.op_type, changed)
    if found is Status.ABSENT:
        raise site.refuse(why_absent(direction, site.node.op_type, changed))
    if found is Status.UNDEFINED:
        raise site.refuse(f"the change of the operator at opset {changed} is not known to this version")
