"""Single changes that make a file conformant, in the order in which they are made.

First what the others need: weights, a graph of standard operators, one output, a fixed size, the opset. Then
the input, the scores, and at last the names.
"""

from __future__ import annotations

from edgeworthy.repairs.base import Repair
from edgeworthy.repairs.classical import classical_operators, zip_map
from edgeworthy.repairs.container import (
    custom_operators,
    external_data,
    ir_version,
    opset,
    weights_as_inputs,
)
from edgeworthy.repairs.inputs import bgr, dynamic_size, input_name, input_type, layout, unread_inputs
from edgeworthy.repairs.metadata import normalization, unit_scale
from edgeworthy.repairs.outputs import (
    class_names_in_the_output,
    not_probabilities,
    output_shape,
    output_type,
    single_score,
    softmax_twice,
    unread_outputs,
)

REPAIRS: tuple[Repair, ...] = (
    external_data,
    custom_operators,
    weights_as_inputs,
    ir_version,
    zip_map,
    unread_outputs,
    unread_inputs,
    dynamic_size,
    opset,
    classical_operators,
    input_type,
    layout,
    bgr,
    output_type,
    output_shape,
    softmax_twice,
    not_probabilities,
    single_score,
    input_name,
    class_names_in_the_output,
    unit_scale,
    normalization,
)
