"""GMSD (Xue et al. 2014): how unevenly the gradients of two pictures differ. A perceptual distance that needs no weights.

Pictures are averaged over 2 x 2 pixels and halved; gradients are Prewitt's; similarity (2 a b + c) / (a^2 + b^2 + c), c = 170 for
values up to 255; the distance is its standard deviation, 0 for equal pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.geometry.grid import Array

STEADY = 170 / 255**2  # c, for values from 0 to 1


def gradient_sizes(slices: Array) -> NDArray[np.float64]:
    """Of slices (n, h, w) with values from 0 to about 1: (n, ceil(h / 2), ceil(w / 2))."""
    means = ndimage.uniform_filter(slices.astype(np.float64), (1, 2, 2))[:, ::2, ::2]
    return np.asarray(np.hypot(*(ndimage.prewitt(means, axis) / 3 for axis in (1, 2))))


def deviation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """GMSD of two pictures, by their ``gradient_sizes``."""
    return float(np.std((2 * first * second + STEADY) / (first**2 + second**2 + STEADY)))
