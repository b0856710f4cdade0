"""The compiled sums behind SSIM. numba is imported here alone, and this module only where SSIM is computed."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

RADIUS = 5
SIGMA = 1.5
SIZE = 2 * RADIUS + 1
_GAUSSIAN = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
WINDOW = tuple(float(w) for w in _GAUSSIAN / _GAUSSIAN.sum())  # a constant of the compiled code, so that its loops unroll

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@_compiled  # type: ignore[untyped-decorator]
def _across_planes(a: Any, b: Any, x: int, y: int, moments: Any) -> None:
    """Row (x, y) of the four moments (a, b, aa + bb, ab), smoothed across the planes x to x + 10."""
    moments[:] = 0.0
    for m in range(SIZE):
        weight, left, right = WINDOW[m], a[x + m, y], b[x + m, y]
        for k in range(left.size):
            p, q = np.float64(left[k]), np.float64(right[k])
            moments[0, k] += weight * p
            moments[1, k] += weight * q
            moments[2, k] += weight * (p * p + q * q)
            moments[3, k] += weight * (p * q)


@_compiled  # type: ignore[untyped-decorator]
def _across_rows(ring: Any, first: int, moments: Any) -> None:
    """The moments smoothed across the rows first to first + 10 of the ring."""
    for n in range(4):
        for k in range(moments.shape[1]):
            total = 0.0
            for m in range(SIZE):
                total += WINDOW[m] * ring[first + m, n, k]
            moments[n, k] = total


@_compiled  # type: ignore[untyped-decorator]
def _along_row(moments: Any, smooth: Any) -> None:
    """The moments smoothed along the row."""
    for n in range(4):
        for k in range(smooth.shape[1]):
            total = 0.0
            for m in range(SIZE):
                total += WINDOW[m] * moments[n, k + m]
            smooth[n, k] = total


@_compiled  # type: ignore[untyped-decorator]
def _add_row(smooth: Any, counted: Any, c1: float, c2: float, sums: Any) -> None:
    """Add SSIM, its contrast-structure part and the count of a row to their sums, each column by itself."""
    for k in range(smooth.shape[1]):
        u, v = smooth[0, k], smooth[1, k]
        means = u * u + v * v
        structure = (2 * (smooth[3, k] - u * v) + c2) / (smooth[2, k] - means + c2)
        weight = np.float64(counted[k])
        sums[0, k] += weight * structure * (2 * u * v + c1) / (means + c1)
        sums[1, k] += weight * structure
        sums[2, k] += weight


@_compiled  # type: ignore[untyped-decorator]
def ssim_sums(a: Any, b: Any, mask: Any, c1: float, c2: float) -> Any:
    """Sums of SSIM, of its contrast-structure part, and of the voxels that count, whose window lies inside the volume.

    Every row is smoothed across planes straight from the images, then across the last 11 rows in a ring that stays in the
    processor's cache (each row stands in it twice, so that any 11 follow one another), then along itself.

    Args:
        a: float32 (x, y, z), contiguous.
        b: float32 (x, y, z), contiguous.
        mask: bool (x, y, z), or without voxels where all count.
        c1: SSIM's constant for the means.
        c2: SSIM's constant for the variances.

    Returns:
        float64 (3).
    """
    nx, ny, nz = a.shape
    ring = np.empty((2 * SIZE, 4, nz))
    moments = np.empty((4, nz))
    smooth = np.empty((4, nz - 2 * RADIUS))
    sums = np.zeros((3, nz - 2 * RADIUS))
    every = np.ones(nz - 2 * RADIUS, np.bool_)
    for x in range(nx - 2 * RADIUS):
        for y in range(ny):
            place = y % SIZE
            _across_planes(a, b, x, y, ring[place])
            ring[place + SIZE] = ring[place]
            if y < SIZE - 1:
                continue
            _across_rows(ring, place + 1, moments)
            _along_row(moments, smooth)
            counted = mask[x + RADIUS, y - RADIUS, RADIUS : nz - RADIUS] if mask.size else every
            _add_row(smooth, counted, c1, c2, sums)
    return sums.sum(axis=1)
