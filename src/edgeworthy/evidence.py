"""What an exported file remembers of its making: text under `edgeworthy.*` in its metadata.

No time, no path and no machine is recorded, so that the same command gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeVar

from edgeworthy.contract import Normalization
from edgeworthy.errors import OptionError
from edgeworthy.frames import Frame
from edgeworthy.results import Parity

T = TypeVar("T")

PREFIX = "edgeworthy."

Activation = Literal["softmax", "sigmoid", "none"]
NormalizationPlace = Literal["file", "graph", "upload"]

_PLAIN = ("version", "source", "weights", "torch", "onnx", "exporter", "activation", "normalization_in")
_FLAGS = ("simplified", "untrained", "traced_branch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How a file was made.

    Attributes:
        version: of edgeworthy.
        source: the trained model as it was asked for, without private paths.
        weights: `sha256:` of the weights, names and shapes included.
        torch, onnx: versions of the libraries.
        exporter: which of torch's exporters traced the model.
        activation: what turns logits into probabilities; `none` if they already were.
        normalization: what the model was trained with, on the 0..255 scale.
        normalization_in: where it happens: read from the `file` by the platform, within the `graph`,
            or typed at `upload`.
        frame: the training pipeline's geometry, None where unknown.
        simplified: whether the graph went through the simplifier.
        untrained: whether the weights are random.
        traced_branch: whether a data-dependent branch was baked in, knowingly.
        parity: the proof.
    """

    version: str
    source: str
    weights: str
    torch: str
    onnx: str
    exporter: str
    activation: Activation
    normalization: Normalization
    normalization_in: NormalizationPlace
    frame: Frame | None
    simplified: bool
    untrained: bool = False
    traced_branch: bool = False
    parity: Parity

    def to_metadata(self) -> dict[str, str]:
        """Keys and values for the model's metadata_props, in a fixed order."""
        values = {key: str(getattr(self, key)) for key in _PLAIN}
        values |= {key: "true" if getattr(self, key) else "false" for key in _FLAGS}
        values["normalization"] = self.normalization.to_doc_string()
        values["parity"] = json.dumps(asdict(self.parity), sort_keys=True)
        if self.frame is not None:
            values["frame"] = self.frame.to_json()
        return {PREFIX + key: values[key] for key in sorted(values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The part of a file's evidence that later calls build on; None where the file is silent."""

    frame: Frame | None = None
    normalization: Normalization | None = None
    normalization_in: str | None = None
    activation: str | None = None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read it; an entry that cannot be read counts as absent, for the file may be anybody's."""
        frame = metadata.get(PREFIX + "frame")
        normalization = metadata.get(PREFIX + "normalization")
        return cls(
            frame=_or_none(Frame.from_json, frame),
            normalization=_or_none(Normalization.from_doc_string, normalization),
            normalization_in=metadata.get(PREFIX + "normalization_in"),
            activation=metadata.get(PREFIX + "activation"),
        )


def own_entries(metadata: Mapping[str, str]) -> dict[str, str]:
    """The evidence among a file's metadata, without the prefix."""
    return {key.removeprefix(PREFIX): text for key, text in metadata.items() if key.startswith(PREFIX)}


def repairs_of(metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """What each repair of a file recorded, the last one first; what cannot be read counts as absent."""
    try:
        record = json.loads(metadata.get(PREFIX + "repair", "null"))
        records = [record, *record["earlier"]]
        return [one for one in records if isinstance(one["repairs"], list)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _or_none(read: Callable[[str], T], text: str | None) -> T | None:
    try:
        return None if text is None else read(text)
    except OptionError:
        return None
