"""Nearest, linear and cubic interpolation by banded matrices along the axes.

Axes of parallel grids part, so interpolation is a product with a matrix or two along each axis that changes:

    row of the target voxel at place p:   w[j] = kernel(p - j),  folded back at the ends:  c b | a b c ... | b a
    cubic spline: such rows times the coefficients, which the prefilter makes of the samples
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError
from core.geometry.grid import Array, Box, Grid
from core.operators.kernels import KERNELS, Kernel
from core.operators.linear import Matrix, apply_axis

Order = Literal[0, 1, 3]

SPLINE_REACH = 16  # source voxels; beyond, the prefilter of a cubic B-spline has fallen below 1e-9
KERNEL_REACH = 2  # source voxels of the other kernels, at most
NEGLIGIBLE = 1e-8  # weights below this are far below float32 rounding, and would widen the band
OUTSIDE = 1.0  # source voxels beyond the outermost centres from which the scan tells nothing
COARSER = 1 + 1e-6  # ratio of voxel sizes from which the target counts as coarser
SAME_PLACE = 1e-4  # of a voxel: centres closer than this coincide
KEPT = 64  # matrices


def _positions(n_out: int, scale: float, offset: float) -> Matrix:
    """Places of the target voxels, rounded so that a cropped target has the same; whole where all are nearly so."""
    places = np.round(scale * np.arange(n_out, dtype=np.float64) + offset, 7)
    whole = np.asarray(np.rint(places), dtype=np.float64)
    return whole if abs(scale - 1) < SAME_PLACE and np.abs(places - whole).max() < SAME_PLACE else places


def _fold(columns: NDArray[np.int_], n: int) -> NDArray[np.int_]:
    """Mirror columns beyond the ends at the centre of the outermost voxel."""
    if n == 1:
        return np.zeros_like(columns)
    place = columns % (2 * n - 2)
    return np.asarray(np.where(place < n, place, 2 * n - 2 - place))


def _spread(weights: Matrix, columns: NDArray[np.int_], n_in: int) -> Matrix:
    """The matrix of rows that have ``weights`` in ``columns``, both (rows, taps)."""
    matrix = np.zeros((len(weights), n_in))
    np.add.at(matrix, (np.arange(len(weights))[:, None], _fold(columns, n_in)), weights)
    return matrix


def _sampled(places: Matrix, n_in: int, kernel: Kernel, stretch: float) -> Matrix:
    """Rows of a kernel that is stretched over ``stretch`` voxels for each of its own, each summing to 1."""
    function, reach = KERNELS[kernel]
    first = np.ceil(places - reach * stretch).astype(int)
    columns = first[:, None] + np.arange(math.ceil(2 * reach * stretch) + 1)
    weights = function((places[:, None] - columns) / stretch)
    return _spread(weights / weights.sum(axis=1, keepdims=True), columns, n_in)


def _spline(places: Matrix, n_in: int) -> Matrix:
    """Rows of a cubic B-spline's values, to be multiplied by its coefficients."""
    whole = np.floor(places)
    t = places - whole
    values = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3], axis=1) / 6
    return _spread(values, whole.astype(int)[:, None] + np.arange(-1, 3), n_in)


@lru_cache(maxsize=KEPT)
def _prefilter(n: int) -> Matrix:
    """From samples to the coefficients of the cubic B-spline through them: the inverse of its values at the samples."""
    matrix = np.asarray(np.linalg.inv(_spline(np.arange(n, dtype=np.float64), n)), dtype=np.float64)
    matrix[np.abs(matrix) < NEGLIGIBLE] = 0
    matrix.flags.writeable = False
    return matrix


def axis_matrices(n_in: int, n_out: int, scale: float, offset: float, order: Order) -> tuple[Matrix, ...]:
    """Interpolation along an axis, equal to ``scipy.ndimage`` with mode "mirror" where the target is not coarser.

    Args:
        n_in: voxels of the source axis.
        n_out: voxels of the target axis.
        scale: target voxel size in source voxels, above 0.
        offset: centre of the first target voxel on the source axis, in voxels.
        order: 0 nearest, 1 linear, 3 cubic B-spline. Where the target is coarser, linear and cubic are stretched over a target
            voxel against aliasing (a triangle; Keys' bicubic).

    Returns:
        float64, read-only, to be applied in this order: one matrix (n_out, n_in); for a spline its prefilter (n_in, n_in) and
        then its values, which takes less time than their product. Rows of the product sum to 1, but for voxels a whole source
        voxel or more beyond the outermost centres, whose rows are 0. The identity, exactly, where the centres coincide.
    """
    places = _positions(n_out, scale, offset)
    last = _rows(n_in, n_out, round(scale, 10), round(offset, 10), order)
    return (_prefilter(n_in), last) if order == 3 and _is_spline(places, scale) else (last,)


def _is_spline(places: Matrix, scale: float) -> bool:
    """Whether order 3 means a spline: the target is not coarser, and not all its voxels are measured ones."""
    return scale <= COARSER and not (places == np.rint(places)).all()


@lru_cache(maxsize=KEPT)
def _rows(n_in: int, n_out: int, scale: float, offset: float, order: Order) -> Matrix:
    """The last matrix of ``axis_matrices``."""
    places = _positions(n_out, scale, offset)
    if order == 0 or (scale <= COARSER and (places == np.rint(places)).all()):
        matrix = _spread(np.ones((n_out, 1)), np.floor(places + 0.5).astype(int)[:, None], n_in)
    elif order == 3 and _is_spline(places, scale):
        matrix = _spline(places, n_in)
    else:
        matrix = _sampled(places, n_in, "bilinear" if order == 1 else "bicubic", max(1.0, scale))
    matrix[np.abs(matrix) < NEGLIGIBLE] = 0
    matrix[(places <= -OUTSIDE) | (places >= n_in - 1 + OUTSIDE)] = 0
    matrix.flags.writeable = False
    return matrix


def sampling_matrix(n_in: int, n_out: int, scale: float, offset: float) -> Matrix:
    """The cubic spline through the voxels of an axis, at the places of another's; it averages nothing, however coarse those are.

    Args:
        n_in: voxels of the axis that is sampled.
        n_out: places.
        scale: distance of the places, in its voxels, above 0.
        offset: the first place, in its voxels; places beyond the outermost centres are taken for these.

    Returns:
        float64 (n_out, n_in), each row summing to 1; the identity's rows, exactly, where all places are centres.
    """
    places = np.clip(np.round(scale * np.arange(n_out, dtype=np.float64) + offset, 7), 0, n_in - 1)
    whole = np.asarray(np.rint(places), dtype=np.float64)
    if np.abs(places - whole).max() < SAME_PLACE:
        return _spread(np.ones((n_out, 1)), whole.astype(int)[:, None], n_in)
    matrix: Matrix = _spline(places, n_in) @ _prefilter(n_in)
    matrix[np.abs(matrix) < NEGLIGIBLE] = 0
    return matrix


def interpolate(image: Array, source: Grid, target: Grid, order: Order) -> Array:
    """An image on another grid.

    Args:
        image: float32 (x, y, z) on ``source``.
        source: its grid.
        target: another; where it is turned against ``source``, scipy's affine_transform takes over.
        order: 0, 1 or 3, see ``axis_matrices``.

    Returns:
        float32 of ``target.shape``; 0 a voxel or more outside the field of view.
    """
    try:
        maps = source.index_map(target)
    except GridError:
        return _turned(image, source, target, order)
    for axis in sorted(range(3), key=lambda axis: -maps[axis][0]):  # the image grows late; a crop is treated in the same order
        for matrix in axis_matrices(image.shape[axis], target.shape[axis], *maps[axis], order):
            image = apply_axis(matrix, image, axis)
    return np.ascontiguousarray(image, dtype=np.float32)


def _turned(image: Array, source: Grid, target: Grid, order: Order) -> Array:
    """An image on a grid whose axes have other directions."""
    from scipy.ndimage import affine_transform

    places = np.linalg.solve(source.affine, target.affine)
    out = np.empty(target.shape, np.float32)
    affine_transform(image, places[:3, :3], places[:3, 3], target.shape, output=out, order=order, mode="grid-constant")
    return out


def reach_box(source: Grid, target: Grid, reach: float) -> Box:
    """The voxels of ``source`` under ``target`` and within ``reach`` voxels around them (of the coarser grid); never empty."""
    start, stop = [], []
    for (scale, offset), m, n in zip(source.index_map(target), target.shape, source.shape, strict=True):
        far = reach * max(1.0, scale)
        start.append(min(max(0, math.floor(offset - far)), n - 1))
        stop.append(max(min(n, math.ceil(offset + scale * (m - 1) + far) + 1), start[-1] + 1))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
