"""Banding: every second slice brighter than its neighbours, as interleaved acquisition leaves it by cross-talk or drift.

A slice is held against the mean of the two beside it, voxel by voxel, as a share of both; the median over the head is
the slice's step. Anatomy makes steps of either sign at random, banding such whose sign alternates from slice to slice:

    step_i = median over the head of (y_i - m_i) / ((y_i + m_i) / 2),  m_i = (y_{i-1} + y_{i+1}) / 2
    s      = median over the slices of (-1)^i step_i

Where even slices, counted from 0, are brighter than odd ones by the factor 1 + b and nothing else changes, each signed step is
2 b / (2 + b), so b = 2 s / (2 - s). The limit is ``CERTAIN`` standard errors of that median, from how the signed steps scatter
about it, and at least ``LEAST``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.models.scaling import background
from core.stats import NORMAL_MAD, ScanStats, head_threshold

CERTAIN = 5.0  # standard errors of the gain
LEAST = 0.01  # below this share nobody sees a band
LEAST_SLICES = 10  # whose steps are looked at
LEAST_VOXELS = 500  # of the head in a slice and both beside it
MEDIAN_ERROR = math.sqrt(math.pi / 2)  # of a median of normal values, in standard errors of their mean


@dataclass(frozen=True)
class Banding:
    """How much brighter the even slices are than the odd ones, counted from 0.

    Attributes:
        gain: as a share, -1 to 1; below 0 where they are darker.
        limit: from which on, in magnitude, it is no chance.
    """

    gain: float
    limit: float

    @property
    def found(self) -> bool:
        """Whether there is banding."""
        return abs(self.gain) > self.limit

    def gains(self, slices: int) -> NDArray[np.float32]:
        """What each of some slices is multiplied by, float32; their product over two neighbours is 1."""
        root = math.sqrt(1 + self.gain)
        return np.where(np.arange(slices) % 2 == 0, root, 1 / root).astype(np.float32)

    def taken_out(self, image: Array, axis: int, first: int = 0) -> Array:
        """Slices without it.

        Args:
            image: float32 (x, y, z), some slices of the scan or all.
            axis: across them.
            first: number of the first in the whole scan.
        """
        gains = self.gains(first + image.shape[axis])[first:]
        return image / gains.reshape([-1 if at == axis else 1 for at in range(3)])


def banding(image: Array, grid: Grid, stats: ScanStats) -> Banding | None:
    """The banding of a scan.

    Args:
        image: float32 (x, y, z), the whole scan; magnitudes, of which single voxels may lie below 0.
        grid: canonical, of the scan.
        stats: of the scan.

    Returns:
        the gain and its limit; None where nothing can be told: no slice axis, fewer than 10 slices with a head in them, or
        air below 0.
    """
    axis = grid.slice_axis
    if axis is None or background(stats) < 0:
        return None
    steps = _steps(np.moveaxis(image, axis, 0), head_threshold(image, stats))
    if np.count_nonzero(np.isfinite(steps)) < LEAST_SLICES:
        return None
    signed = np.where(np.arange(len(steps)) % 2 == 0, -steps, steps)  # the first step is that of slice 1
    signed = signed[np.isfinite(signed)]
    middle = float(np.median(signed))
    scatter = float(np.median(np.abs(signed - middle))) / NORMAL_MAD
    return Banding(2 * middle / (2 - middle), max(LEAST, CERTAIN * MEDIAN_ERROR * scatter / math.sqrt(len(signed))))


def _steps(planes: Array, threshold: float) -> NDArray[np.float64]:
    """The step of each slice but the outermost; NaN where too little of the head is in it and in both beside it."""
    steps = np.full(max(len(planes) - 2, 0), np.nan)
    for number in range(len(steps)):
        below, here, above = planes[number : number + 3]
        inside = (below > threshold) & (here > threshold) & (above > threshold)
        if np.count_nonzero(inside) >= LEAST_VOXELS:
            mean = (below[inside] + above[inside]) / 2
            steps[number] = float(np.median(2 * (here[inside] - mean) / (here[inside] + mean)))
    return steps


def evened(image: Array, grid: Grid, stats: ScanStats) -> tuple[Array, Banding | None]:
    """A scan whose banding is taken out, and what it was; the very image, and None, where none is found.

    Args:
        image: float32 (x, y, z), the whole scan.
        grid: canonical, of the scan.
        stats: of the scan.
    """
    seen = banding(image, grid, stats)
    axis = grid.slice_axis
    if seen is None or not seen.found or axis is None:
        return image, None
    return seen.taken_out(image, axis), seen
