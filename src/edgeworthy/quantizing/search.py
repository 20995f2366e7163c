"""Ways to an 8-bit file, from the plain recipe to leaving layers out; each keeps what the ones before won."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from edgeworthy.quantizing.bench import Array, Bench
from edgeworthy.quantizing.calibration import Observed, bounds, observe
from edgeworthy.quantizing.correction import correct_biases
from edgeworthy.quantizing.equalisation import equalised
from edgeworthy.quantizing.preparing import LAYERS, prepared
from edgeworthy.quantizing.qdq import Scheme, float_again, layers_of, quantized, values_of
from edgeworthy.quantizing.rounding import Rounder
from edgeworthy.results import Blame, RangeMethod

if TYPE_CHECKING:
    from onnx import ModelProto

_WORTH = 0.2  # of the divergence, that keeping the first or last layer in float has to win
_SCANNED = 32  # pictures for each layer of the scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An 8-bit graph on the bench.

    Attributes:
        whole: the graph with all its layers in 8 bits.
        left: layers to leave in float32.
        model: the graph with these left; `floats` are all that this takes.
        divergence: from the original: `Bench.divergence`.
        method: how the bounds of its values were chosen.
        detail: what was done, one line.
    """

    whole: ModelProto = field(repr=False)
    left: frozenset[str]
    model: ModelProto = field(repr=False)
    floats: frozenset[str]
    divergence: float
    method: RangeMethod
    detail: str


@dataclass(frozen=True, slots=True)
class _State:
    """What candidates are built from: a float graph, what its activations are, and how its weights round."""

    original: ModelProto
    observed: Mapping[str, Observed]
    rounder: Rounder
    corrected: bool


class Search:
    """Makes candidates from one classifier.

    Args:
        model: the classifier; it stays as it is.
        bench: with calibration pictures.
        scheme: how values become 8-bit.
        method: how the bounds of activations are chosen at first.
        keep: names of layers that stay in float32 in any case.

    Raises:
        NotAClassifierError: where no layer has weights.
    """

    def __init__(
        self, model: ModelProto, bench: Bench, scheme: Scheme, method: RangeMethod, keep: Collection[str] = ()
    ) -> None:
        self._bench, self._scheme, self._method = bench, scheme, method
        self._keep = frozenset(keep)
        self._state = self._before = self._started(prepared(model), corrected=False)

    @property
    def layers(self) -> list[str]:
        """Names of the layers with weights, in order."""
        fixed = {tensor.name for tensor in self._state.original.graph.initializer}
        return [
            node.name
            for node in self._state.original.graph.node
            if node.op_type in LAYERS and node.input[1] in fixed
        ]

    def plain(self) -> Candidate:
        """All layers in 8 bits, but the first and the last where leaving them in float32 wins much."""
        whole = self._rounded(self._method)
        best = self._tried(whole, frozenset(), self._method, "")
        kept = []
        for which, layer in (("first", self.layers[0]), ("last", self.layers[-1])):
            if layer in self._keep:
                continue
            other = self._tried(whole, best.left | {layer}, self._method, "")
            if other.divergence < (1 - _WORTH) * best.divergence:
                best = other
                kept.append(which)
        stays = f"; the {' and the '.join(kept)} layer in float32" if kept else ""
        detail = f"weights per channel, rounded together; ranges by {self._method}{stays}"
        return replace(best, detail=detail)

    def correct_biases(self, before: Candidate) -> Candidate:
        """Biases moved by what the means have moved."""
        self._before = self._state
        self._state = replace(self._state, corrected=True)
        whole = correct_biases(before.model, self._state.original, self._bench)
        return self._tried(
            whole, before.left, before.method, "biases moved by the shift of each channel's mean"
        )

    def equalise(self, before: Candidate) -> Candidate | None:
        """Channels brought to one range between layers; None where no two layers allow it."""
        original, pairs = equalised(self._state.original, self._bench)
        if not pairs:
            return None
        self._before = self._state
        self._state = self._started(original, corrected=self._state.corrected)
        detail = f"channels equalised in {pairs} pairs of layers"
        return self._tried(self._built(before.method, before.left), before.left, before.method, detail)

    def undo(self) -> None:
        """Go back to where the last step began, as it has won nothing."""
        self._state = self._before

    def other_ranges(self, before: Candidate) -> Candidate:
        """The best of the other ways to choose bounds; biases are corrected for that one only."""
        self._before = self._state
        methods: list[RangeMethod] = [one for one in get_args(RangeMethod) if one != before.method]
        found = [
            self._tried(self._rounded(method), before.left, method, f"ranges by {method}")
            for method in methods
        ]
        best = min(found, key=lambda one: one.divergence)
        if not self._state.corrected:
            return best
        whole = correct_biases(best.model, self._state.original, self._bench)
        return self._tried(whole, best.left, best.method, best.detail)

    def scan(self, before: Candidate) -> list[Blame]:
        """What leaving each layer in float32 would win, worst layer first."""
        bench = self._bench
        layers = [layer for layer in layers_of(before.whole) if layer.name not in before.floats]
        bench.on_start("scanning layers", len(layers))
        base = bench.divergence(before.model, _SCANNED)
        blames = []
        for layer in layers:
            without, _ = float_again(before.whole, self._state.original, set(before.left | {layer.name}))
            blames.append(
                Blame(
                    layer=layer.name,
                    operator=layer.operator,
                    parameters=int(values_of(before.whole, layer.weight).size),
                    gain=base - bench.divergence(without, _SCANNED),
                )
            )
            bench.on_picture()
        return sorted(blames, key=lambda blame: -blame.gain)

    def without(self, before: Candidate, blames: list[Blame]) -> Iterator[Candidate]:
        """More and more of the layers to blame in float32: 1, 2, 4 and so on, to half of them."""
        count = 1
        while count <= max(1, len(self.layers) // 2) and count <= len(blames):
            names = {blame.layer for blame in blames[:count]}
            detail = f"the {count} most to blame" if count > 1 else "the one most to blame"
            yield self._tried(before.whole, before.left | names, before.method, detail)
            count *= 2

    def _started(self, original: ModelProto, *, corrected: bool) -> _State:
        bench = self._bench
        bench.on_start("watching activations", len(bench.pictures))
        observed = observe(original, _told(bench), len(bench.pictures), bench.scratch)
        return _State(original, observed, Rounder(original, bench), corrected)

    def _built(self, method: RangeMethod, left: frozenset[str]) -> ModelProto:
        """All layers in 8 bits; where biases are to be corrected, with those left in float32 that are."""
        model = self._rounded(method)
        if not self._state.corrected:
            return model
        model, _ = float_again(model, self._state.original, set(left))
        return correct_biases(model, self._state.original, self._bench)

    def _rounded(self, method: RangeMethod) -> ModelProto:
        """All layers in 8 bits, with their weights rounded together."""
        signed = self._scheme.activations == "int8"
        found = bounds(self._state.observed, method, symmetric=signed)
        model = quantized(self._state.original, found, self._scheme)
        self._state.rounder.round(model)
        return model

    def _tried(self, whole: ModelProto, left: frozenset[str], method: RangeMethod, detail: str) -> Candidate:
        left = left | self._keep
        model, floats = float_again(whole, self._state.original, set(left)) if left else (whole, frozenset())
        return Candidate(
            whole=whole,
            left=left,
            model=model,
            floats=floats,
            divergence=self._bench.divergence(model),
            method=method,
            detail=detail,
        )


def _told(bench: Bench) -> Iterator[Array]:
    for feed in bench.feeds():
        yield feed
        bench.on_picture()
