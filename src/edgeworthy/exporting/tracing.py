"""The seam to torch's exporters, and the only place that calls torch.onnx."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch

from edgeworthy.contract import MAX_OPSET, Contract
from edgeworthy.errors import (
    FallsShortError,
    MissingExtraError,
    TracedBranchError,
    UnexportableError,
    first_line,
)
from edgeworthy.exporting.branches import reads_pixels
from edgeworthy.exporting.capacity import SMALLER, excess
from edgeworthy.exporting.classifier import Classifier
from edgeworthy.model import no_room, to_bytes
from edgeworthy.opset import convert_in_place
from edgeworthy.silence import native_output_to_nowhere, quiet

_DYNAMO_OPSET = 18  # the oldest that its library of operators has
_OPERATOR = re.compile(
    r"(?P<full>(?:aten|prim|torchvision|quantized)::\w+)|op='(?P<overload>[\w.]+)'|operator (?P<name>\w+),"
)
_OVERFLOWS = "larger than the 2GiB limit"  # what torch says of protobuf
_PLEA = " Please feel free"  # to contribute: the end of what torch says
_NEEDS_OPSET = re.compile(r"added in version (\d+)")
_BECAME_PYTHON = re.compile(r"Converting a tensor to a (Python|NumPy)|Iterating over a tensor|as a constant")


class Exporter(Protocol):
    """One of torch's exporters."""

    name: str
    baked_branch: bool

    def trace(self, classifier: Classifier, picture: torch.Tensor, contract: Contract, target: Path) -> None:
        """Write the classifier's graph to `target`, with the contract's names and opset.

        Raises:
            UnexportableError: naming the operator that stands in the way.
            TracedBranchError: where control flow depends on the pixels.
        """
        ...


class TorchScriptExporter:
    """Runs the model on one picture and records it; writes opsets 12 to 17 natively.

    Args:
        allow_branch: whether a branch that depends on the pixels may be baked in.
    """

    name = "torchscript"

    def __init__(self, *, allow_branch: bool = False) -> None:
        self._allow_branch = allow_branch
        self.baked_branch = False

    def trace(self, classifier: Classifier, picture: torch.Tensor, contract: Contract, target: Path) -> None:
        """See `Exporter.trace`."""
        stream: Any
        try:
            with (
                target.open("wb") as stream,
                native_output_to_nowhere(),
                quiet(),
                warnings.catch_warnings(record=True) as caught,
            ):
                warnings.simplefilter("always")
                torch.onnx.export(
                    classifier,
                    (picture,),
                    stream,
                    dynamo=False,
                    opset_version=contract.opset,
                    input_names=[contract.input_name],
                    output_names=[contract.output_name],
                )
        except ImportError:
            raise
        except OSError as error:
            raise no_room(target.parent, error) from error
        except Exception as error:
            raise _unexportable(error, contract.opset) from error
        if any(_BECAME_PYTHON.search(str(entry.message)) for entry in caught):
            self._examine(classifier, picture)

    def _examine(self, classifier: Classifier, picture: torch.Tensor) -> None:
        with quiet():
            self.baked_branch = reads_pixels(classifier, picture)
        if self.baked_branch and not self._allow_branch:
            raise TracedBranchError(
                "The model turns values that it computes from the picture into Python numbers, and tracing "
                "keeps only what they were for one picture.",
                hint="Use torch.where in place of if, or keep that branch knowingly: --allow-traced-branch.",
            )


class DynamoExporter:
    """Records what torch.compile's frontend sees, and writes opset 18 whatever it is asked for.

    The graph is then brought to the opset that was asked for, operator by operator. Control flow that
    depends on the pixels is refused by the frontend itself.
    """

    name = "dynamo"
    baked_branch = False

    def trace(self, classifier: Classifier, picture: torch.Tensor, contract: Contract, target: Path) -> None:
        """See `Exporter.trace`."""
        if importlib.util.find_spec("onnxscript") is None:
            raise MissingExtraError("onnxscript", "export")
        with native_output_to_nowhere(), quiet():
            model = self._written(classifier, picture, contract)
            convert_in_place(model, contract.opset)
        if excess(model):
            raise _too_large()
        try:
            target.write_bytes(to_bytes(model))
        except OSError as error:
            raise no_room(target.parent, error) from error

    def _written(self, classifier: Classifier, picture: torch.Tensor, contract: Contract) -> Any:
        """The graph at opset 18; where an operator has no translation, from its smaller parts."""
        try:
            program = torch.export.export(classifier, (picture,))
            try:
                return self._translated(program, contract)
            except Exception:  # torch raises anything here
                return self._translated(program.run_decompositions(), contract)
        except Exception as error:
            raise _unseen(error) from error

    def _translated(self, program: Any, contract: Contract) -> Any:
        translated: Any = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=_DYNAMO_OPSET,
            input_names=[contract.input_name],
            output_names=[contract.output_name],
            verbose=False,
        )
        _register_lost_constants(translated.model.graph)
        return translated.model_proto


def _register_lost_constants(graph: Any) -> None:
    """Make initialisers of constants that nodes use and the graph does not list.

    onnxscript's rewriter fuses `min(max(x, a), b)` and names the bounds after `x`; where that happens twice
    for one `x`, the second pair takes the place of the first in the list of initialisers.
    """
    for node in graph.all_nodes():
        for value in node.inputs:
            lost = value is not None and value.producer() is None and value.const_value is not None
            if lost and not value.is_initializer() and not value.is_graph_input():
                while value.name in graph.initializers:
                    value.name += "_"
                graph.register_initializer(value)


def _unseen(error: Exception) -> FallsShortError:
    """What the frontend says, which wraps the reason in several layers."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause)
    if "data-dependent" in text or "Could not guard on" in text:
        return TracedBranchError(
            f"The model's control flow depends on the picture: {first_line(cause)}",
            hint="Use torch.where in place of if.",
        )
    operator = _operator(text)
    what = f"The operator {operator}" if operator else "Something in the model"
    return UnexportableError(
        f"{what} cannot be written by the dynamo exporter: {first_line(cause)}",
        hint="Replace it in the model, or try --exporter torchscript.",
    )


def _operator(text: str) -> str | None:
    """The first operator that a message of torch names."""
    found = _OPERATOR.search(text)
    return next(name for name in found.groups() if name) if found else None


def _too_large() -> UnexportableError:
    return UnexportableError(
        "The graph that this exporter writes takes 2 GiB or more; an ONNX file holds less.", hint=SMALLER
    )


def _unexportable(error: Exception, opset: int) -> UnexportableError:
    text = str(error)
    if _OVERFLOWS in text:
        return _too_large()
    operator = _operator(text)
    needed = _NEEDS_OPSET.search(text)
    if operator and needed and int(needed.group(1)) > MAX_OPSET:
        return UnexportableError(
            f"The operator {operator} needs opset {needed.group(1)}, the platform takes {MAX_OPSET}.",
            hint="Replace it in the model.",
        )
    if operator and needed:
        return UnexportableError(
            f"The operator {operator} stands in the way of opset {opset}.",
            hint=f"It can be written from opset {needed.group(1)} on: --opset {needed.group(1)}.",
        )
    name = f"The operator {operator}" if operator else "Something in the model"
    return UnexportableError(
        f"{name} cannot be written as opset {opset}: {first_line(error).partition(_PLEA)[0]}",
        hint="Replace it in the model, or try a higher --opset.",
    )
