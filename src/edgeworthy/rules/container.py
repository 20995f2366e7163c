"""Rules 1xx: the file itself."""

from __future__ import annotations

import importlib.util

from edgeworthy.contract import (
    DEFAULT_IR_VERSION,
    DEFAULT_OPSET,
    MAX_FILE_BYTES,
    MAX_IR_VERSION,
    MAX_OPSET,
    MIN_IR_VERSION,
    MIN_OPSET,
)
from edgeworthy.examination import SIMPLIFY_BELOW_BYTES
from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject

# Operators that classifiers use and that the vendor's older list of 111 lacks (row 3).
_NOT_ON_THE_OLD_LIST = {"Erf", "LayerNormalization", "HardSigmoid", "HardSwish", "DequantizeLinear"}


def _opset(subject: Subject) -> int:
    if subject.opset is None:
        raise NotApplicableError("the file names no opset (EW114)")
    return subject.opset


@rule("EW101", "opset-too-new", "error", 1, mending="safe")
def opset_too_new(subject: Subject) -> Findings:
    """The opset is at most 17.

    The platform's requirements end at opset 17; its runtimes refuse a newer file when they load it.
    Export with a lower opset or have the graph converted; the number alone must not be changed.

    Example: A file with opset 18, as the dynamo exporter of torch writes it whatever it is asked for; 16 or
    17 instead.
    """
    if _opset(subject) > MAX_OPSET:
        yield f"The opset is {subject.opset}, the platform takes at most {MAX_OPSET}.", "opset_import"


@rule("EW102", "opset-not-portable", "warning", 2, mending="asks")
def opset_not_portable(subject: Subject) -> Findings:
    """The opset is at most 16.

    The oldest runtime that the platform ships (ONNX Runtime 1.11, on Hailo and CUDA 10) loads opset 16
    and below; opset 17 works on the others.

    Example: A file with opset 17; 16 loads on every runtime that the platform ships.
    """
    if DEFAULT_OPSET < _opset(subject) <= MAX_OPSET:
        yield f"Opset {subject.opset} does not load on the platform's oldest runtimes.", "opset_import"


@rule("EW103", "ir-too-new", "error", 2, mending="safe")
def ir_too_new(subject: Subject) -> Findings:
    """The IR version is at most 10.

    A runtime refuses a file whose IR version it does not know: the commonest failure after an upgrade
    of the onnx library, which writes its newest by default.

    Example: IR version 14, as onnx 1.23 writes it by default; 8 instead.
    """
    version = subject.model.ir_version
    if version > MAX_IR_VERSION:
        yield f"The IR version is {version}, the platform takes at most {MAX_IR_VERSION}.", "ir_version"


@rule("EW104", "ir-not-portable", "warning", 2, mending="safe")
def ir_not_portable(subject: Subject) -> Findings:
    """The IR version is at most 8.

    ONNX Runtime 1.14 stops at IR version 8, 1.17 at 9; the platform ships runtimes of that age.

    Example: IR version 10 with opset 16; 8 says the same, and loads everywhere.
    """
    version = subject.model.ir_version
    if DEFAULT_IR_VERSION < version <= MAX_IR_VERSION:
        yield f"IR version {version} does not load on the platform's older runtimes.", "ir_version"


@rule("EW105", "ir-too-old", "warning", 2, mending="safe")
def ir_too_old(subject: Subject) -> Findings:
    """The IR version is at least 7.

    The vendor's own checker takes IR versions 7 to 10.

    Example: IR version 3, of a file from 2018; 8 instead.
    """
    version = subject.model.ir_version
    if version < MIN_IR_VERSION:
        yield (
            f"The IR version is {version}, the vendor's checker wants at least {MIN_IR_VERSION}.",
            "ir_version",
        )


@rule("EW106", "custom-operators", "error", 3, mending="safe")
def custom_operators(subject: Subject) -> Findings:
    """Only operators of the ONNX standard are used.

    The platform's runtimes carry no further operators, not even ONNX Runtime's own. A repair removes those
    of ai.onnx.ml that stand behind a classifier's scores, and no others.

    Example: `com.microsoft.FusedConv`, left by saving a graph after ONNX Runtime has optimised it; the plain
    `Conv` and `Relu` instead.
    """
    foreign = {(node.domain, node.op_type) for node in subject.nodes() if node.domain not in {"", "ai.onnx"}}
    if foreign:
        listed = ", ".join(f"{domain}.{operator}" for domain, operator in sorted(foreign)[:5])
        yield f"{len(foreign)} operators are not of the ONNX standard's main domain: {listed}.", "graph"


@rule("EW107", "not-on-the-old-list", "info", 3, mending="no")
def not_on_the_old_list(subject: Subject) -> Findings:
    """The operators are on the vendor's older list.

    The list was made for a retired target, and the vendor's own tutorials go beyond it.

    Example: `HardSwish` of a MobileNetV3; it runs on every target that is shipped today.
    """
    used = sorted({node.op_type for node in subject.nodes()} & _NOT_ON_THE_OLD_LIST)
    if used:
        yield f"The vendor's older list of operators lacks {', '.join(used)}.", "graph"


@rule("EW108", "external-data", "error", 4, mending="safe")
def external_data(subject: Subject) -> Findings:
    """All weights are inside the file.

    The platform is handed a single file; weights in a second one are lost on upload.

    Example: `model.onnx` beside a `model.onnx.data`; one file that holds its weights instead.
    """
    external = [tensor.name for tensor in subject.tensors() if tensor.data_location == 1]
    if external:
        yield f"{len(external)} tensors lie in another file, first {external[0][:60]!r}.", "initializer"


@rule("EW109", "too-large", "error", 4, mending="no")
def too_large(subject: Subject) -> Findings:
    """The file is smaller than 2 GiB.

    Protobuf, the container of ONNX, ends there.

    Example: A ViT-g with float32 weights, 4 GB; a smaller model instead.
    """
    if subject.size_bytes > MAX_FILE_BYTES:
        yield f"The file has {subject.size_bytes} bytes, at most {MAX_FILE_BYTES} are possible.", "file"


@rule("EW110", "invalid-graph", "error", 5, mending="no", needs="checked")
def invalid_graph(subject: Subject) -> Findings:
    """The graph passes onnx.checker with full shape inference.

    The cloud runs the same check before it converts an upload.

    Example: A `Conv` with an attribute that no opset knows, or a file whose opset was changed from 18 to 17
    by hand.
    """
    outcome = subject.examination.checked
    if not outcome.done:
        yield f"onnx.checker did not survive the file: {outcome.message}.", "graph"
    elif outcome.value:
        yield f"onnx.checker: {outcome.value}", "graph"


@rule("EW111", "cannot-be-simplified", "error", 5, mending="no", needs="simplified")
def cannot_be_simplified(subject: Subject) -> Findings:
    """The graph survives simplification with the same results.

    The cloud simplifies every upload with onnxsim and three comparisons; what fails here fails there.

    Example: A graph from which onnxsim drops an output's name; one whose results and names stay as they are
    instead.
    """
    if importlib.util.find_spec("onnxsim") is None:
        raise NotApplicableError('onnxsim is not installed: pip install "edgeworthy[export]"')
    if subject.size_bytes > SIMPLIFY_BELOW_BYTES:
        raise NotApplicableError(f"the file is larger than {SIMPLIFY_BELOW_BYTES >> 20} MiB")
    outcome = subject.examination.simplified
    if not outcome.done:
        yield f"onnxsim: {outcome.message}", "graph"
    elif outcome.value["change"]:
        yield f"When onnxsim simplifies the graph, {outcome.value['change']}.", "graph"
    elif outcome.value["uncompared"]:
        raise NotApplicableError(
            f"the graph can be simplified, but not compared: {outcome.value['uncompared']}"
        )


@rule("EW112", "does-not-run", "error", 5, mending="no", needs="ran")
def does_not_run(subject: Subject) -> Findings:
    """ONNX Runtime loads and runs the file.

    The platform's CPU and NVIDIA targets are ONNX Runtime.

    Example: A `Reshape` to a size that does not fit its input; ONNX Runtime ends with an error when it gets
    there.
    """
    outcome = subject.examination.ran
    if not outcome.done:
        yield f"ONNX Runtime did not survive the file: {outcome.message}.", "graph"
    elif "refused" in outcome.value:
        yield outcome.value["refused"], "graph"
    elif not outcome.value["ran"]:
        raise NotApplicableError(
            f"ONNX Runtime loads the file, but it was not run: {outcome.value['reason']}"
        )


@rule("EW113", "opset-too-old", "warning", 1, mending="safe")
def opset_too_old(subject: Subject) -> Findings:
    """The opset is at least 12.

    The vendor's checker accepts opsets 12 to 18.

    Example: Opset 9, of an export from 2019; 12 or more instead.
    """
    if _opset(subject) < MIN_OPSET:
        yield (
            f"The opset is {subject.opset}, the vendor's checker wants at least {MIN_OPSET}.",
            "opset_import",
        )


@rule("EW114", "no-opset", "error", 1, mending="no")
def no_opset(subject: Subject) -> Findings:
    """The file names an opset of the main domain.

    Without one its operators have no meaning.

    Example: A model made by hand without opset_import; `opset_import: [{version: 16}]` instead.
    """
    if subject.opset is None:
        yield "The file imports no opset of the ONNX standard.", "opset_import"


RULES = (
    opset_too_new,
    opset_not_portable,
    ir_too_new,
    ir_not_portable,
    ir_too_old,
    custom_operators,
    not_on_the_old_list,
    external_data,
    too_large,
    invalid_graph,
    cannot_be_simplified,
    does_not_run,
    opset_too_old,
    no_opset,
)
