"""A trained image classifier as one ONNX file that an edge platform accepts, proven to predict the same.

>>> import edgeworthy
>>> edgeworthy.export(model, "cats.onnx", classes=["cat", "no cat"], mean=[0.5] * 3, std=[0.5] * 3,
...                   input_size=(3, 224, 224))  # doctest: +SKIP

Names are loaded when they are first used: predicting from a file imports neither torch nor onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeworthy._version import __version__

if TYPE_CHECKING:
    from edgeworthy.benchmarking import benchmark
    from edgeworthy.comparison import compare
    from edgeworthy.contract import Contract, Normalization
    from edgeworthy.errors import EdgeworthyError
    from edgeworthy.evaluation import evaluate
    from edgeworthy.exporter import export
    from edgeworthy.frames import Frame
    from edgeworthy.inspector import inspect
    from edgeworthy.labels import ClassNames
    from edgeworthy.linter import check
    from edgeworthy.pictures import Picture, list_pictures
    from edgeworthy.predictor import predict
    from edgeworthy.quantization import quantize
    from edgeworthy.repairer import repair

__all__ = [
    "ClassNames",
    "Contract",
    "EdgeworthyError",
    "Frame",
    "Normalization",
    "Picture",
    "__version__",
    "benchmark",
    "check",
    "compare",
    "evaluate",
    "export",
    "inspect",
    "list_pictures",
    "predict",
    "quantize",
    "repair",
]

_HOMES = {
    "ClassNames": "labels",
    "Contract": "contract",
    "EdgeworthyError": "errors",
    "Frame": "frames",
    "Normalization": "contract",
    "Picture": "pictures",
    "benchmark": "benchmarking",
    "check": "linter",
    "compare": "comparison",
    "evaluate": "evaluation",
    "export": "exporter",
    "inspect": "inspector",
    "list_pictures": "pictures",
    "predict": "predictor",
    "quantize": "quantization",
    "repair": "repairer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
