"""Conjugate gradients, for what operators ask of an image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.geometry.grid import Array

SMALL = 1e-12  # of the first residual: nothing is left to do


def conjugate_gradients(system: Callable[[Array], Array], right: Array, steps: int) -> Array:
    """The solution of a symmetric positive definite system after so many steps from 0 (Hestenes & Stiefel 1952).

    Args:
        system: the matrix as a function.
        right: side, float32 or float64; sums are float64.
        steps: at most; fewer where nothing is left to do.
    """
    solution, rest = np.zeros_like(right), right.copy()
    direction, size = rest.copy(), _dot(rest, rest)
    enough = SMALL**2 * size
    for _ in range(steps):
        if size <= enough:
            break
        image = system(direction)
        length = right.dtype.type(size / _dot(direction, image))
        solution += length * direction
        rest -= length * image
        before, size = size, _dot(rest, rest)
        direction = rest + right.dtype.type(size / before) * direction
    return solution


def _dot(first: Array, second: Array) -> float:
    return float(np.vdot(first.astype(np.float64), second.astype(np.float64)))
