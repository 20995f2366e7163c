"""Pictures that ask a classifier many different questions: flat, noisy, smooth, striped, real.

Probes are made in code from a fixed seed, as uint8 [H, W, C] pixels before normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SEED, _ROUNDING_SEED = 2016, 23


@dataclass(frozen=True, slots=True)
class Probe:
    """A picture with a name for messages; pixels uint8 [H, W, C]."""

    name: str
    pixels: Pixels


def standard_probes(height: int, width: int, channels: int) -> list[Probe]:
    """Eighteen probes of one size; the first one is noise, which leaves nothing in a model at rest."""
    random = np.random.default_rng(_SEED)
    shape = (height, width, channels)
    probes = [
        Probe(f"noise in blocks of {block} px", _blocks(random, shape, block, 0, 256))
        for block in (1, 2, 8, 32, 96)
    ]
    probes += [Probe(name, np.full(shape, level, np.uint8)) for name, level in _LEVELS]
    probes.append(Probe("faint noise", _blocks(random, shape, 1, 118, 139)))
    probes.append(Probe("dark noise in blocks of 16 px", _blocks(random, shape, 16, 0, 64)))
    rows, columns = np.mgrid[0:height, 0:width]
    down, across = rows / max(height - 1, 1), columns / max(width - 1, 1)
    radius = np.hypot(down - 0.5, across - 0.5) / np.hypot(0.5, 0.5)
    flat = {
        "gradient downwards": down,
        "gradient to the left": 1 - across,
        "gradient from the centre": radius,
        "stripes": (columns // 7) % 2,
        "chessboard": ((rows // 16) + (columns // 16)) % 2,
        "waves": 0.5 + 0.5 * np.sin(9 * down + 23 * across**2),
    }
    tints = random.uniform(0.3, 1, (len(flat), channels))
    for (name, plane), tint in zip(flat.items(), tints, strict=True):
        probes.append(Probe(name, np.rint(255 * plane[..., None] * tint).astype(np.uint8)))
    coloured = np.stack([down, across, 1 - down], axis=-1)[..., :channels]
    probes.append(Probe("gradients of colour", np.rint(255 * coloured).astype(np.uint8)))
    half = np.zeros(shape, np.uint8)
    half[: height // 2] = 255
    probes.append(Probe("half black, half white", half))
    return probes


def moved(picture: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """A picture twice, with each value moved by one unit in the last place, up or down, as rounding can."""
    random = np.random.default_rng(_ROUNDING_SEED)
    for sign in (1, -1):
        signs = sign * random.choice((-1, 1), picture.shape)
        yield (picture * (1 + signs * float(np.finfo(np.float32).eps))).astype(np.float32)


_LEVELS = (("black", 0), ("white", 255), ("grey", 128))


def _blocks(
    random: np.random.Generator, shape: tuple[int, int, int], block: int, low: int, high: int
) -> Pixels:
    height, width, channels = shape
    coarse = random.integers(
        low, high, size=(-(-height // block), -(-width // block), channels), dtype=np.uint8
    )
    return coarse.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
