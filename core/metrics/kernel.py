"""The compiled sums behind SSIM. numba is imported here alone, and this module only where SSIM is computed."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _smooth_rows(a: Any, b: Any, weights: Any, rows: Any) -> None:
    """The five moments (a, b, aa, bb, ab) of a plane, smoothed along its last axis."""
    ny, nx = a.shape
    for j in range(ny):
        rows[:, j, : nx - weights.size + 1] = 0.0
        for k in range(weights.size):
            w = weights[k]
            for i in range(nx - weights.size + 1):
                p, q = np.float64(a[j, i + k]), np.float64(b[j, i + k])
                rows[0, j, i] += w * p
                rows[1, j, i] += w * q
                rows[2, j, i] += w * p * p
                rows[3, j, i] += w * q * q
                rows[4, j, i] += w * p * q


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _smooth_plane(a: Any, b: Any, weights: Any, rows: Any, out: Any) -> None:
    """The five moments of a plane, smoothed along both of its axes."""
    _smooth_rows(a, b, weights, rows)
    _, ny, nx = out.shape
    out[:] = 0.0
    for m in range(5):
        for j in range(ny):
            for k in range(weights.size):
                w = weights[k]
                for i in range(nx):
                    out[m, j, i] += w * rows[m, j + k, i]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _smooth_ring(ring: Any, newest: int, j: int, weights: Any, moments: Any) -> None:
    """Row ``j`` of the five moments, smoothed across the ring's planes, of which ``newest`` came last."""
    moments[:] = 0.0
    size = weights.size
    for k in range(size):
        w = weights[k]
        plane = ring[(newest + 1 + k) % size]
        for m in range(5):
            for i in range(moments.shape[1]):
                moments[m, i] += w * plane[m, j, i]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _add_row(moments: Any, counted: Any, c1: float, c2: float) -> Any:
    """Sums over a row of SSIM and of its contrast-structure part, and how many voxels counted."""
    total, structure, number = 0.0, 0.0, 0
    for i in range(moments.shape[1]):
        if counted.size and not counted[i]:
            continue
        u, v = moments[0, i], moments[1, i]
        cs = (2 * (moments[4, i] - u * v) + c2) / (moments[2, i] - u * u + moments[3, i] - v * v + c2)
        structure += cs
        total += cs * (2 * u * v + c1) / (u * u + v * v + c1)
        number += 1
    return total, structure, number


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def ssim_sums(a: Any, b: Any, counted: Any, weights: Any, c1: float, c2: float) -> Any:
    """Sums of SSIM and of its contrast-structure part over the counted voxels, and their number.

    A ring of as many planes as the window is wide holds the five moments, each smoothed within its plane; so memory does not
    grow with the number of planes.

    Args:
        a: float32 (z, y, x).
        b: float32 (z, y, x).
        counted: bool (z, y, x), or without voxels where all count.
        weights: of the window, float64.
        c1: SSIM's constant for the means.
        c2: SSIM's constant for the variances.
    """
    nz, ny, nx = a.shape
    size = weights.size
    half = size // 2
    rows = np.empty((5, ny, nx))
    ring = np.empty((size, 5, ny - size + 1, nx - size + 1))
    moments = np.empty((5, nx - size + 1))
    every = np.empty(0, np.bool_)
    total, structure, number = 0.0, 0.0, 0
    for z in range(nz):
        _smooth_plane(a[z], b[z], weights, rows, ring[z % size])
        if z < size - 1:
            continue
        for j in range(ny - size + 1):
            _smooth_ring(ring, z % size, j, weights, moments)
            mask = counted[z - half, j + half, half : nx - half] if counted.size else every
            t, s, n = _add_row(moments, mask, c1, c2)
            total, structure, number = total + t, structure + s, number + n
    return total, structure, number
