"""What the calls return: frozen values with their units, and no logic beyond looking at themselves."""

from __future__ import annotations

from edgeworthy.results.benchmarking import (
    Benchmark,
    ColdStart,
    Engine,
    FileCost,
    Latency,
    NodeTime,
    OperatorTime,
    Profile,
    Ratio,
    Throughput,
    Timing,
)
from edgeworthy.results.checking import (
    SEVERITIES,
    Finding,
    LintReport,
    Severity,
    Skipped,
    Unchecked,
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
    "Answer",
    "Artefact",
    "Benchmark",
    "Bin",
    "Change",
    "ClassFigures",
    "ColdStart",
    "Confusion",
    "Disagreement",
    "Engine",
    "Evaluation",
    "Figures",
    "FileCost",
    "Finding",
    "Flip",
    "FrameReport",
    "Inspection",
    "Interval",
    "Latency",
    "LintReport",
    "NodeTime",
    "OperatorTime",
    "Parity",
    "Prediction",
    "Profile",
    "Ratio",
    "Repaired",
    "Run",
    "Score",
    "Severity",
    "Skipped",
    "Stage",
    "Throughput",
    "Timing",
    "Unchecked",
    "Unreadable",
    "Verdict",
]
