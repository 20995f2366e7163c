"""Transformers' DiNAT, whose attention is in natten's compiled kernels, made, run and written without them.

The functions that it asks for exist up to natten 0.17.4, and no exporter writes them. Its own forward does
not run even with natten: Transformers 5.0 takes four dimensions for three, 5.10 and 5.23 give columns in
the place of heads. Hence it is replaced by what the paper and Transformers 4 define.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from edgeworthy.sources.neighbourhoods import attention_scores, weighted_values

if TYPE_CHECKING:
    from torch import Tensor, nn

KIND = "dinat"

_MODULE = "transformers.models.dinat.modeling_dinat"
_BY_NATTEN = (
    "Neighbourhood attention is natten's in the original, and edgeworthy's own definition in the file."
)
_BY_DEFINITION = (
    "Neighbourhood attention is edgeworthy's own definition, in the original, too: natten, which would "
    "compute it, is not installed, or lacks natten2dqkrpb and natten2dav."
)


def mend_dinat() -> str:
    """Let DiNAT be made, run and exported, for the rest of the process; says who computes its attention.

    In eager mode that is natten, where its functions are installed, so that a proof compares with them; else,
    and wherever the model is recorded or compiled, the definition in `neighbourhoods`.
    """
    natten = _natten()
    modeling = _imported(there=natten is not None)
    from transformers.utils import requires_backends

    def without_natten(asking: Any, backends: Any) -> None:
        listed = backends if isinstance(backends, list | tuple) else [backends]
        requires_backends(asking, [name for name in listed if name != "natten"])

    modeling.requires_backends = without_natten
    modeling.NeighborhoodAttention.forward = _forward(natten)
    return _BY_NATTEN if natten else _BY_DEFINITION


def mend_dinat_if_loaded() -> None:
    """The same where somebody's code has imported Transformers' module of DiNAT already."""
    if _MODULE in sys.modules:
        mend_dinat()


def mend_dinat_in(model: nn.Module) -> tuple[str, ...]:
    """The same where a model holds it that is not made here; says who computes its attention."""
    holds = any(type(part).__module__ == _MODULE for part in model.modules())
    return (mend_dinat(),) if holds else ()


def _natten() -> tuple[Any, Any] | None:
    """The two functions of natten, or None where they are not there or its kernels cannot be loaded."""
    try:
        from natten.functional import natten2dav, natten2dqkrpb
    except Exception:  # kernels that were built for another torch fail in their own ways
        return None
    return natten2dqkrpb, natten2dav


def _imported(*, there: bool) -> Any:
    """Transformers' module, which looks for natten's functions when it is imported."""
    from transformers import utils

    looks = utils.is_natten_available
    utils.is_natten_available = lambda: there
    try:
        return importlib.import_module(_MODULE)
    finally:
        utils.is_natten_available = looks


def _forward(natten: tuple[Any, Any] | None) -> Any:
    """What a module NeighborhoodAttention does, as `sources/neighbourhoods.py` or natten computes it."""

    def forward(self: Any, hidden_states: Tensor, output_attentions: bool = False) -> tuple[Tensor, ...]:
        """From features [pictures, height, width, channels] to as many, and the weights where asked for."""
        scores_of, sums_of = natten if natten and not _recorded() else (attention_scores, weighted_values)
        split = (*hidden_states.shape[:-1], self.num_attention_heads, self.attention_head_size)
        query, key, value = (
            layer(hidden_states).reshape(split).permute(0, 3, 1, 2, 4)
            for layer in (self.query, self.key, self.value)
        )
        query = query * self.attention_head_size**-0.5
        scores = scores_of(query, key, self.rpb, self.kernel_size, self.dilation)
        weights = self.dropout(scores.softmax(-1))
        context = sums_of(weights, value, self.kernel_size, self.dilation)
        joined = context.permute(0, 2, 3, 1, 4).flatten(3)
        return (joined, weights) if output_attentions else (joined,)

    return forward


def _recorded() -> bool:
    """Whether an exporter or a compiler looks on."""
    import torch

    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return bool(tracing or torch.compiler.is_compiling())
