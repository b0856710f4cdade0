"""Voxels to channels and back (Shi et al. 2016), by a factor of its own along each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from core.errors import GridError


def unshuffle(image: Tensor, factors: Sequence[int]) -> Tensor:
    """Each cell of ``factors`` voxels becomes one voxel with as many channels.

    Args:
        image: (n, c, x, y, z).
        factors: voxels of a cell along x, y and z.

    Returns:
        (n, c * product of factors, x // fx, y // fy, z // fz); the voxels of a channel together, z counted fastest.

    Raises:
        GridError: an edge that is not a multiple of its factor.
    """
    count, channels, *shape = image.shape
    if any(size % factor for size, factor in zip(shape, factors, strict=True)):
        wanted = f"edges in multiples of {tuple(factors)}"
        raise GridError("factors-unfit", wanted, str(tuple(shape)), "pad the patch, or choose another --patch")
    (fx, fy, fz), (x, y, z) = factors, (size // factor for size, factor in zip(shape, factors, strict=True))
    cells = image.reshape(count, channels, x, fx, y, fy, z, fz).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return cells.reshape(count, channels * fx * fy * fz, x, y, z)


def shuffle(image: Tensor, factors: Sequence[int]) -> Tensor:
    """The inverse of ``unshuffle``.

    Args:
        image: (n, c * product of factors, x, y, z).
        factors: voxels that each becomes along x, y and z.

    Returns:
        (n, c, x * fx, y * fy, z * fz).

    Raises:
        GridError: channels that are not a multiple of the factors' product.
    """
    count, channels, x, y, z = image.shape
    if channels % math.prod(factors):
        wanted = f"channels in multiples of {math.prod(factors)}"
        raise GridError("factors-unfit", wanted, str(channels), "correct the factors in config.json")
    fx, fy, fz = factors
    cells = image.reshape(count, -1, fx, fy, fz, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(count, -1, x * fx, y * fy, z * fz)
