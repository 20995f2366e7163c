"""Rules 6xx: advice for one target, given only where the target is asked for.

Each says what one of the platform's accelerators dislikes in a file that the others take.
"""

from __future__ import annotations

import json

from edgeworthy.evidence import own_entries
from edgeworthy.model import metadata_of
from edgeworthy.rules.base import Findings, NotApplicableError, rule
from edgeworthy.rules.subject import Subject

# The oldest ONNX Runtime that the platform ships for a target, with the opset and IR version it ends at.
_OLDEST_RUNTIMES = {
    "hailo": ("1.11", 16, 8),
    "nvidia": ("1.11, for CUDA 10", 16, 8),
    "qualcomm": ("1.16", 19, 9),
    "cpu": ("1.16, on arm", 19, 9),
}
_SHAPED_BY_VALUES = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}
_BFLOAT16_DIFFERENCE = 1.3e-4  # in probability, against float32: measured


@rule(
    "EW601",
    "runtime-too-old",
    "info",
    2,
    mending="asks",
    targets=tuple(_OLDEST_RUNTIMES),
    sources=("https://onnxruntime.ai/docs/reference/compatibility.html",),
)
def runtime_too_old(subject: Subject) -> Findings:
    """The oldest runtime of the target loads the file.

    The platform ships another ONNX Runtime for each target, and a device keeps the one it was set up
    with. A runtime refuses an opset or an IR version that is newer than itself.

    Example: IR version 9 for Hailo, whose ONNX Runtime 1.11 ends at 8; IR version 8 instead.
    """
    opset, ir_version = subject.opset or 0, subject.model.ir_version
    for target, (runtime, last_opset, last_ir) in _OLDEST_RUNTIMES.items():
        if target in subject.targets and (opset > last_opset or ir_version > last_ir):
            yield (
                f"The oldest runtime for {target} (ONNX Runtime {runtime}) ends at opset {last_opset} and IR "
                f"version {last_ir}; the file has opset {opset} and IR version {ir_version}.",
                "ir_version" if ir_version > last_ir else "opset_import",
            )


@rule(
    "EW602",
    "second-graph-input",
    "info",
    6,
    11,
    mending="no",
    targets=("qualcomm",),
    sources=("OAAX-standard/qualcomm-acceleration: get_input_metadata in conversion_toolchain/utils.py",),
)
def second_graph_input(subject: Subject) -> Findings:
    """The graph has one input, optional ones and weights included.

    The Qualcomm toolchain counts all inputs of the graph, and gives up on more than one.

    Example: `image-` and `nms_sensitivity-`, which other targets take; `image-` alone instead.
    """
    names = [value.name for value in subject.model.graph.input]
    if len(names) > 1:
        yield f"The graph has {len(names)} inputs; the Qualcomm toolchain converts one.", "input"


@rule(
    "EW603",
    "quotation-mark-in-name",
    "info",
    16,
    mending="no",
    targets=("memryx",),
    sources=("OAAX-standard/memryx-acceleration: read_dfp_io_from_logs in conversion_block/utils.py",),
)
def quotation_mark_in_name(subject: Subject) -> Findings:
    """No class name contains a quotation mark.

    The MemryX toolchain reads the output's name back from a log as JSON in which nothing is escaped: a
    quotation mark ends the text there, as an apostrophe does (EW308).

    Example: `24" screen`; `24 inch screen` instead.
    """
    bad = [name for _, name in subject.entries if '"' in name]
    if bad:
        yield f"{len(bad)} class names contain a quotation mark, first {bad[0][:60]!r}.", "output"


@rule(
    "EW604",
    "shape-from-values",
    "info",
    8,
    mending="no",
    targets=("qualcomm",),
    sources=("https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html",),
)
def shape_from_values(subject: Subject) -> Findings:
    """No shape inside the graph depends on values.

    ONNX Runtime's provider for Qualcomm takes no dynamic shapes; a graph with one is not accelerated whole,
    or is refused.

    Example: `NonZero`, which returns as many places as there are; a `Where` over a fixed shape instead.
    """
    found = sorted({node.op_type for node in subject.nodes()} & _SHAPED_BY_VALUES)
    if found:
        yield f"What {', '.join(found)} returns has a shape that depends on values.", "graph"


@rule(
    "EW605",
    "erf",
    "info",
    3,
    mending="no",
    targets=("hailo",),
    sources=("ankandrew/fast-plate-ocr #44: the parser's own message",),
)
def erf(subject: Subject) -> Findings:
    """The graph has no Erf.

    Below opset 20 exporters spell GELU with Erf. Hailo's parser takes it only inside a GELU that it
    recognises, and otherwise ends with UnsupportedActivationLayerError: convert before you rely on it.

    Example: A ConvNeXt or ViT with GELU; a model of the same size with ReLU or SiLU instead.
    """
    count = sum(node.op_type == "Erf" for node in subject.nodes())
    if count:
        yield f"The graph has {count} Erf; Hailo's parser has to recognise each as part of a GELU.", "graph"


@rule(
    "EW606",
    "proof-is-float32",
    "info",
    14,
    mending="no",
    targets=("intel",),
    sources=(
        "https://docs.openvino.ai/2024/openvino-workflow/running-inference/inference-devices-and-modes/"
        "cpu-device.html",
        "measured",
    ),
)
def proof_is_float32(subject: Subject) -> Findings:
    """The file's proof allows for bfloat16.

    OpenVINO computes in bfloat16 on processors that have it, unless INFERENCE_PRECISION_HINT is f32. That is
    twice as fast, and moves probabilities by more than a proof in float32 allows.

    Example: A proof with the tolerance 1e-05, where probabilities on the device were off by 1.3e-04.
    """
    tolerance = _proven_tolerance(subject)
    if tolerance < _BFLOAT16_DIFFERENCE:
        yield (
            f"The proof allows a difference of {tolerance:g}, bfloat16 made one of {_BFLOAT16_DIFFERENCE:g}.",
            "metadata_props",
        )


def _proven_tolerance(subject: Subject) -> float:
    evidence = own_entries(metadata_of(subject.model))
    try:
        proof = (
            json.loads(evidence["repair"])["parity"]
            if "repair" in evidence
            else json.loads(evidence["parity"])
        )
        return float(proof["tolerance"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotApplicableError("the file carries no proof") from error


RULES = (
    runtime_too_old,
    second_graph_input,
    quotation_mark_in_name,
    shape_from_values,
    erf,
    proof_is_float32,
)
