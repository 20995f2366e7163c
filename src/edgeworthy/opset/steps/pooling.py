"""Windows: dilations of AveragePool (19), windows that overhang the end (`ceil_mode`), Col2Im (18).

Until 21 the specification rounds the number of windows up and says no more; from 22 on, windows that
would start in the padding at the end do not count. Stating the padding at the end in full needs no
rounding, hence means the same at every opset. For an average it does so only where padding does not
count (`count_include_pad` is 0).
"""

from __future__ import annotations

import math

import numpy as np

from edgeworthy.opset.registry import lowers, raises
from edgeworthy.opset.site import Site


@lowers("MaxPool", "AveragePool", opset=22)
def state_overhang(site: Site) -> None:
    """Write the padding at the end out where `ceil_mode` rounds."""
    if not site.attribute("ceil_mode", 0) or site.attribute("auto_pad", "NOTSET") != "NOTSET":
        return
    spatial = site.rank() - 2
    pads = list(site.attribute("pads", [0] * 2 * spatial))
    begins, ends = pads[:spatial], pads[spatial:]
    full = [_reached(site, axis, begins[axis], ends[axis]) for axis in range(spatial)]
    overhangs = any(need > end for need, end in zip(full, ends, strict=True))
    if overhangs and site.node.op_type == "AveragePool" and site.attribute("count_include_pad", 0):
        raise site.refuse("its last windows overhang (ceil_mode) where padding counts (count_include_pad)")
    if any(need >= kernel for need, kernel in zip(full, site.attribute("kernel_shape"), strict=True)):
        raise site.refuse("its last windows overhang by more than a kernel (ceil_mode)")
    site.set(ceil_mode=0, pads=begins + full)


def _reached(site: Site, axis: int, begin: int, end: int) -> int:
    """The padding at the end of a spatial axis that its last window reaches."""
    kernel = site.attribute("kernel_shape")[axis]
    stride = site.attribute("strides", [1] * (axis + 1))[axis]
    reach = (kernel - 1) * site.attribute("dilations", [1] * (axis + 1))[axis] + 1
    size = site.size(axis + 2)
    windows = -(-(size + begin + end - reach) // stride) + 1
    if (windows - 1) * stride >= size + begin:  # it would start in the padding at the end
        windows -= 1
    reached: int = (windows - 1) * stride + reach - size - begin
    return max(reached, 0)


@lowers("AveragePool", opset=19)
def drop_dilations(site: Site) -> None:
    """Dilations of an average are new in 19."""
    if any(step != 1 for step in site.attribute("dilations", [])):
        raise site.refuse("averages with dilations came with opset 19")
    site.drop("dilations")
    state_overhang(site)


@lowers("Col2Im", opset=18)
def add_windows_up(site: Site) -> None:
    """Add overlapping windows up (new in 18) by a transposed convolution.

    Each channel of its input is one place of a window; its kernel has a 1 at that place alone.
    """
    image, block = site.integers(1, "sizes"), site.integers(2, "sizes")
    places, spatial = math.prod(block), len(block)
    channels = site.size(1) // places
    site.check_room(channels, places, places)
    strides, dilations = (site.attribute(name, [1] * spatial) for name in ("strides", "dilations"))
    pads = site.attribute("pads", [0] * 2 * spatial)
    reach = [(size - 1) * step + 1 for size, step in zip(block, dilations, strict=True)]
    room = [image[axis] + pads[axis] + pads[axis + spatial] - reach[axis] for axis in range(spatial)]
    counts = [size // stride + 1 for size, stride in zip(room, strides, strict=True)]
    rest = [size % stride for size, stride in zip(room, strides, strict=True)]
    kernels = np.tile(np.eye(places).reshape(places, 1, *block), (channels, *[1] * (spatial + 1)))
    weight = site.add_like(kernels)
    windows = site.add("Reshape", site.input(0), site.add_constant([0, channels * places, *counts]))
    site.become("ConvTranspose", windows, weight, group=channels, kernel_shape=block, pads=pads)
    site.set(strides=strides, dilations=dilations, output_padding=rest)


@raises("ConvTranspose", opset=11)
def keep_stated_padding(site: Site) -> None:
    """Until opset 10 the documentation puts an odd automatic padding at the other end than later."""
    if site.attribute("auto_pad", "NOTSET").startswith("SAME"):
        raise site.refuse("where its automatic padding goes changed (auto_pad)")
