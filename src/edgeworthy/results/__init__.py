"""What the calls return: frozen values with their units, and no logic beyond looking at themselves."""

from __future__ import annotations

from edgeworthy.results.checking import (
    SEVERITIES,
    Finding,
    LintReport,
    Severity,
    Skipped,
    Unchecked,
)
from edgeworthy.results.comparing import (
    Agreement,
    Apart,
    Comparison,
    Difference,
    GraphNode,
    Parting,
)
from edgeworthy.results.evaluating import (
    Against,
    Answer,
    Bin,
    ClassFigures,
    Confusion,
    Disagreement,
    Evaluation,
    Figures,
    Flip,
    FrameReport,
    Interval,
    Run,
)
from edgeworthy.results.inspecting import (
    Inspection,
)
from edgeworthy.results.making import (
    Artefact,
    Change,
    Parity,
    Repaired,
    Stage,
    Verdict,
)
from edgeworthy.results.predicting import (
    Prediction,
    Score,
    Unreadable,
)

__all__ = [
    "SEVERITIES",
    "Against",
    "Agreement",
    "Answer",
    "Apart",
    "Artefact",
    "Bin",
    "Change",
    "ClassFigures",
    "Comparison",
    "Confusion",
    "Difference",
    "Disagreement",
    "Evaluation",
    "Figures",
    "Finding",
    "Flip",
    "FrameReport",
    "GraphNode",
    "Inspection",
    "Interval",
    "LintReport",
    "Parity",
    "Parting",
    "Prediction",
    "Repaired",
    "Run",
    "Score",
    "Severity",
    "Skipped",
    "Stage",
    "Unchecked",
    "Unreadable",
    "Verdict",
]
