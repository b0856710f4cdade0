"""Antialiased image resizing by the five usual kernels, as matrices.

The convention is that of the resizer of assafshocher (and of MATLAB's imresize): when an axis shrinks, the kernel is stretched
by the factor; beyond the border the image is mirrored, its outermost voxel repeated; weights are normalised to sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError
from core.operators.linear import NEGLIGIBLE, Matrix

Kernel = Literal["bicubic", "bilinear", "lanczos2", "lanczos3", "box"]


def _bicubic(x: Matrix) -> Matrix:
    """Keys' cubic convolution with a = -1/2 (1981, eq. 4)."""
    d = np.abs(x)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))


def _bilinear(x: Matrix) -> Matrix:
    return np.asarray(np.maximum(0.0, 1 - np.abs(x)), dtype=np.float64)


def _lanczos(x: Matrix, lobes: int) -> Matrix:
    return np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0)


def _box(x: Matrix) -> Matrix:
    return np.where((x >= -0.5) & (x < 0.5), 1.0, 0.0)


KERNELS: dict[Kernel, tuple[Callable[[Matrix], Matrix], float]] = {  # the function, and how far it reaches
    "bicubic": (_bicubic, 2.0),
    "bilinear": (_bilinear, 1.0),
    "lanczos2": (lambda x: _lanczos(x, 2), 2.0),
    "lanczos3": (lambda x: _lanczos(x, 3), 3.0),
    "box": (_box, 0.5),
}


def resize_matrix(n_in: int, factor: Fraction | float, kernel: Kernel) -> Matrix:
    """Resize an axis.

    The result has ceil(n_in * factor) voxels, centred on the old ones (``Grid.refine`` with "profile" is its geometry).

    Args:
        n_in: voxels of the axis.
        factor: new voxels for an old one, above 0; below 1 it shrinks the image, antialiased.
        kernel: one of the five.

    Returns:
        float64 (n_out, n_in), each row summing to 1; the identity for a factor of 1.

    Raises:
        GridError: for a factor that is not above 0.
    """
    if factor <= 0:
        raise GridError("factor-invalid", "a factor above 0", str(factor), "give how many new voxels one old voxel becomes")
    n_out, step = math.ceil(n_in * factor - 1e-9), float(1 / factor)
    centres = (np.arange(n_out) - (n_out - 1) / 2) * step + (n_in - 1) / 2
    return _rows(n_in, centres, step, kernel)


def kernel_matrix(n_target: int, n_source: int, scale: float, offset: float, kernel: Kernel) -> Matrix:
    """The measured axis as averages of a target axis that lies anywhere beneath it: ``resize_matrix`` between two grids.

    Args:
        n_target: voxels of the target axis.
        n_source: voxels of the measured axis.
        scale: measured voxel size in target voxels, above 0.
        offset: centre of the first measured voxel on the target axis, in voxels.
        kernel: one of the five; stretched by ``scale`` where that is above 1.

    Returns:
        float64 (n_source, n_target), each row summing to 1.

    Raises:
        GridError: for a scale that is not above 0.
    """
    if scale <= 0:
        raise GridError("factor-invalid", "a scale above 0", str(scale), "give the measured voxel size in target voxels")
    return _rows(n_target, np.arange(n_source) * scale + offset, scale, kernel)


def _rows(n_in: int, centres: NDArray[Any], step: float, kernel: Kernel) -> Matrix:
    """Weights of an axis's voxels for samples ``step`` apart at ``centres``."""
    function, reach = KERNELS[kernel]
    stretch = max(1.0, step)
    outside = max(-float(centres[0]), float(centres[-1]) - (n_in - 1), step)
    margin = math.ceil(reach * stretch + outside)
    columns = np.arange(-margin, n_in + margin)
    weights = function(np.round((centres[:, None] - columns) / stretch, 9))
    weights[np.abs(weights) < NEGLIGIBLE] = 0
    return _mirrored(weights / weights.sum(axis=1, keepdims=True), columns, n_in)


def _mirrored(weights: Matrix, columns: NDArray[np.int_], n_in: int) -> Matrix:
    """Give the weights of columns beyond the border to the voxels that are mirrored there."""
    place = columns % (2 * n_in)
    place = np.where(place < n_in, place, 2 * n_in - 1 - place)
    matrix = np.zeros((n_in, len(weights)))
    np.add.at(matrix, place, weights.T)
    return np.ascontiguousarray(matrix.T)
