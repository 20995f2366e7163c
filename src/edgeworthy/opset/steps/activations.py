"""Activations that opsets brought in, taken apart as their definitions say, and Clip's bounds."""

from __future__ import annotations

import math

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site


@lowers("SwiGLU", opset=28)
def take_swiglu_apart(site: Site) -> None:
    """SwiGLU (new in 28) is Swish of the gate, times the value."""
    gate = site.add("Swish", site.input(0), alpha=site.attribute("alpha", 1.0))
    site.become("Mul", gate, site.input(1))


@lowers("Swish", opset=24)
def take_swish_apart(site: Site) -> None:
    """Swish (new in 24) is x * Sigmoid(alpha * x)."""
    x, alpha = site.input(0), site.attribute("alpha", 1.0)
    scaled = x if alpha == 1 else site.add("Mul", x, site.add_like(alpha))
    site.become("Mul", x, site.add("Sigmoid", scaled))


@lowers("Gelu", opset=20)
def take_gelu_apart(site: Site) -> None:
    """Gelu (new in 20) is x / 2 * (1 + Erf(x / sqrt(2))), or an approximation of it by Tanh."""
    x = site.input(0)
    if site.attribute("approximate", "none") == "tanh":
        bent = site.add("Tanh", _cubic(site))
    else:
        bent = site.add("Erf", site.add("Div", x, site.add_like(math.sqrt(2))))
    share = site.add("Add", bent, site.add_like(1))
    half = site.add("Mul", x, site.add_like(0.5))
    site.become("Mul", half, share)


def _cubic(site: Site) -> str:
    """sqrt(2 / pi) * (x + 0.044715 * x^3)."""
    x = site.input(0)
    cube = site.add("Mul", site.add("Mul", x, x), x)
    bow = site.add("Mul", cube, site.add_like(0.044715))
    return site.add("Mul", site.add("Add", x, bow), site.add_like(math.sqrt(2 / math.pi)))


@lowers("Mish", opset=18)
def take_mish_apart(site: Site) -> None:
    """Mish (new in 18) is x * Tanh(Softplus(x))."""
    x = site.input(0)
    site.become("Mul", x, site.add("Tanh", site.add("Softplus", x)))


@lowers("HardSwish", opset=14)
def take_hard_swish_apart(site: Site) -> None:
    """HardSwish (new in 14) is x * HardSigmoid(x), with a slope of 1/6."""
    x = site.input(0)
    site.become("Mul", x, site.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


@raises("Clip", opset=11)
def bounds_to_inputs(site: Site) -> None:
    """Make Clip's bounds inputs; one that is left out is left out again."""
    low, high = site.attribute("min"), site.attribute("max")
    site.drop("min", "max")
    bounds = ["" if bound is None else site.add_like(bound) for bound in (low, high)]
    site.set_inputs(site.input(0), *bounds)
