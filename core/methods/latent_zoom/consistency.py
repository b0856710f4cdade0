"""What a restored slab lacks of the measured slices, added to it: one step of the closed form in ``core.operators.repair``.

Of all smooth corrections the most probable one that explains what A x leaves of the scan y is

    d = S A' q,    (A S A' + s^2 I) q = y - A x

A knows the profile of the slices and the coarser voxels within them together. The equation is solved by conjugate gradients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Box, Grid
from core.geometry.slices import brackets
from core.methods.base import Measured
from core.operators.linear import Separable
from core.operators.repair import smooth_covariance
from core.operators.solve import conjugate_gradients

ITERATIONS = 12
SETTLED = 1e-3  # of the first residual's norm
NOISE = 0.05  # s, in standard deviations of the correction
WIDTH = 0.375  # of the kernel of S, in voxels of the scan: one and a half of the target's at a factor of 4
FINER = 1.5  # ratio of voxel sizes from which an axis of the target counts as finer


def supported(source: Grid, whole: Grid, box: Box, axis: int) -> Box:
    """The planes of the target under all of each slice that a slab lies between.

    Args:
        source: grid of the scan, or of a part of it that holds these slices.
        whole: target grid.
        box: of the slab.
        axis: along which the slices follow each other.
    """
    between = brackets(source, whole.crop(box), axis)
    scale, offset = whole.index_map(source)[axis]
    ends = (int(between.below.min()) - 0.5) * scale + offset, (int(between.above.max()) + 0.5) * scale + offset
    first, last = np.floor(np.round(ends[0], 6)), np.ceil(np.round(ends[1], 6))
    start, stop = list(box.start), list(box.stop)
    start[axis] = max(0, min(start[axis], int(first)))
    stop[axis] = min(whole.shape[axis], max(stop[axis], int(last) + 1))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def used(measured: Measured, target: Grid, axis: int) -> Measured:
    """The measured slices between which a slab lies."""
    between = brackets(measured.grid, target, axis)
    start, stop = [0, 0, 0], list(measured.grid.shape)
    start[axis], stop[axis] = int(between.below.min()), int(between.above.max()) + 1
    return measured.crop(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))


def _smooth(source: Grid, target: Grid) -> Separable:
    """S: Gaussian along the axes that the target has finer, the identity along the others."""
    ratios = [coarse / fine for coarse, fine in zip(source.spacing, target.spacing, strict=True)]
    x, y, z = (
        smooth_covariance(n, WIDTH * ratio) if ratio > FINER else np.eye(n) for n, ratio in zip(target.shape, ratios, strict=True)
    )
    return Separable((x, y, z))


def consistent(image: Array, target: Grid, measured: Measured) -> Array:
    """A slab with what the measured slices say beyond it.

    Args:
        image: float32 (x, y, z) on ``target``, in the scan's units.
        target: grid of the slab; it holds all of what each of the measured slices sees.
        measured: the slices.

    Returns:
        float32, a new array.
    """
    seen, smooth = measured.operator(target), _smooth(measured.grid, target)

    def normal(q: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(seen.forward(smooth.forward(seen.adjoint(q))) + np.float32(NOISE**2) * q, np.float32)

    residual = np.asarray(measured.image - seen.forward(image), np.float32)
    q = conjugate_gradients(normal, residual, ITERATIONS, goal=SETTLED * float(np.linalg.norm(residual)))
    return np.asarray(image + smooth.forward(seen.adjoint(q)), np.float32)
