"""How thick the slices of a scan are, from its voxels: the width at which its own planes vary as it does from slice to slice.

Anatomy has no preferred direction (the idea of ESPRESO, Han et al. 2023, there by a network for each scan). So average the scan
along an axis within its planes over a width w, and compare two mean squared differences over the slices' distance d:

    across the slices   Z(w) = mean (g(p + d e_slice) - g(p))^2
    within them         X(w) = mean (g(p + d e_axis) - g(p))^2        g = the scan averaged over w along e_axis

Where w is the width of the slices, the scan is averaged alike along both axes, so X = Z; both hold the same noise as well, for
averages of up to d that lie d apart share no voxel. Nothing is resampled across the slices, so aliasing does no harm. Large
shapes do have a direction (a head is longer than wide); differences along the third axis over ``FINE`` mm are taken first, which
leave what is small.

A head that moves between slices varies more across them, as if slices were thinner, and mostly along one axis of the planes. So
nothing is told where the axes disagree, or where X = Z at no width that is tried, and voxels alone never make a large gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core.geometry.grid import Array, Grid
from core.operators.linear import Matrix
from core.settings.base import Settings
from core.stats import looks_skull_stripped

FINE = 1.0  # mm: what varies less over this distance of the third axis does not count
WIDTHS = np.linspace(0.2, 1.5, 14)  # of the slices' distance, that are tried
LEAST_SLICES = 12  # across which a mean squared difference means something
LEAST_VOXELS = 32  # along each axis of the planes
COARSE = 2.0  # of the larger voxel size within the planes, from which on slices are thick enough to tell
INNER = 0.5  # of the head's length along each axis, its middle, that is looked at
FAINT = 0.1  # of the 99.9th percentile: what is darker is no head
BRIGHTEST = 4.0  # of the 99.9th percentile: heads go to 3.95; one voxel that is brighter would outweigh all detail
SAMPLED = 300_000  # voxels that are looked at, about
CALIBRATION = 0.979  # true width over the crossing: median of 48 brains and 4 heads, see tests.benchmarks.slice_width
RADIUS = 0.245  # of the distance: 90 % of their widths lay within; 92 % where heads also move by 0.3 or 0.6 mm between slices
LARGEST = 0.3  # of the distance: gap that voxels alone are believed
REVISION = 2  # of what is told; raised where it changes, so that an earlier run's is not taken


class SliceWidth(Settings):
    """The width of a scan's slices as its voxels tell it, in mm: the likeliest, and the ends of the 90 % interval."""

    mm: float
    low: float
    high: float
    revision: int = 1

    def describe(self) -> str:
        """In words."""
        return f"{self.mm:.1f} mm ({self.low:.1f} to {self.high:.1f})"

    def gap(self, distance: float) -> float:
        """The gap of slices of a distance in mm, as a fraction of it: 0 unless the interval excludes slices without one.

        It is at most 0.3: a larger one is rare, while motion between slices looks like one and a wrong one costs 1 to 2 dB.
        """
        return min(round(1 - self.mm / distance, 3), LARGEST) if self.high < distance else 0.0


def slice_width(image: Array, grid: Grid) -> SliceWidth | None:
    """The width of the slices of a scan, as a box, in mm.

    Args:
        image: float32 (x, y, z), the whole scan, in any unit.
        grid: canonical, of the scan.

    Returns:
        the width with its 90 % interval; None where the voxels cannot tell: no slice axis, slices less than twice as far apart
        as the voxels within them, fewer than 12 slices or 32 voxels, no detail, or axes within the planes that disagree.
    """
    axis = grid.slice_axis
    if axis is None or not can_tell(grid):
        return None
    within = [other for other in range(3) if other != axis]
    looked_at = np.minimum(image[inside(image, grid)], np.float32(BRIGHTEST * np.percentile(image, 99.9)))
    mean = agreed([crossing(looked_at, grid.spacing, along, axis) for along in within], grid.spacing[axis])
    if mean is None:
        return None
    mm, reach = CALIBRATION * mean, RADIUS * grid.spacing[axis]
    return SliceWidth(mm=round(mm, 3), low=round(max(mm - reach, 0.0), 3), high=round(mm + reach, 3), revision=REVISION)


def agreed(crossings: Sequence[float | None], distance: float) -> float | None:
    """The mean of the widths along both axes of the planes; None where one is missing or they lie too far apart.

    Args:
        crossings: in mm, see ``crossing``.
        distance: of the slices, mm.
    """
    known = [width for width in crossings if width is not None]
    alike = len(known) == len(crossings) and max(known) - min(known) <= RADIUS * distance
    return float(np.mean(known)) if alike else None


def inside(image: Array, grid: Grid) -> tuple[slice, slice, slice]:
    """What is looked at: a brain whole, of a head its middle, for skull and skin run along the body's axes.

    Args:
        image: (x, y, z), the whole scan.
        grid: of the scan.
    """
    share = 1.0 if looks_skull_stripped(image, grid) else INNER
    bright = image > FAINT * np.percentile(image, 99.9)
    ends = []
    for axis in range(3):
        planes = np.flatnonzero(bright.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (planes[0], planes[-1] + 1) if planes.size else (0, image.shape[axis])
        margin = (1 - share) / 2 * (last - first)
        ends.append(slice(math.floor(first + margin), math.ceil(last - margin)))
    return ends[0], ends[1], ends[2]


def can_tell(grid: Grid) -> bool:
    """Whether there are slices, enough of them, and thick enough against the voxels within them."""
    axis = grid.slice_axis
    if axis is None:
        return False
    within = [other for other in range(3) if other != axis]
    enough = grid.shape[axis] >= LEAST_SLICES and min(grid.shape[other] for other in within) >= LEAST_VOXELS
    return enough and grid.spacing[axis] >= COARSE * max(grid.spacing[other] for other in within)


def crossing(image: Array, spacing: tuple[float, float, float], along: int, axis: int) -> float | None:
    """The width in mm at which averages along an axis of the planes vary along it as they do across the slices.

    Args:
        image: (x, y, z).
        spacing: voxel sizes, mm.
        along: the axis within the planes.
        axis: across the slices.

    Returns:
        between 0.2 and 1.5 of the slices' distance; None where there is nothing to compare, or no such width.
    """
    lines = _detail(image, spacing, along, axis)
    distance, voxel = spacing[axis], spacing[along]
    ratios = [_ratio(lines, max(width * distance / voxel, 1.0), distance / voxel) for width in WIDTHS]
    rising = np.maximum.accumulate(ratios)
    if not np.isfinite(ratios).all() or not rising[0] < 0 < rising[-1]:
        return None
    return float(np.interp(0.0, rising, WIDTHS * distance))


def _detail(image: Array, spacing: tuple[float, float, float], along: int, axis: int) -> Matrix:
    """Sums from the first voxel on along an axis, of differences along the third: float64 (n + 1, slices, lines)."""
    third = ({0, 1, 2} - {along, axis}).pop()
    step = max(1, round(FINE / spacing[third]))
    planes = np.moveaxis(image, (along, axis, third), (0, 1, 2))
    slices, columns = planes.shape[1:]
    places = np.arange(0, columns - step, max(1, math.ceil(image.size / SAMPLED)))
    differences = planes[:, :, places + step].astype(np.float64) - planes[:, :, places]
    return np.concatenate([np.zeros((1, slices, len(places))), np.cumsum(differences, axis=0)])


def _ratio(sums: Matrix, width: float, distance: float) -> float:
    """Log of Z over X for averages over a width, both lengths in voxels; NaN where an average does not fit or nothing varies."""
    first = np.arange(math.floor(len(sums) - 1 - width - distance) + 1, dtype=np.float64)
    if not first.size:
        return math.nan
    here, there = (_averages(sums, start, width) for start in (first, first + distance))
    both = np.stack([here, there])
    across = float(np.mean((both[:, :, 1:] - both[:, :, :-1]) ** 2))
    inside = (there - here) ** 2
    within = float(np.mean(inside[:, 1:]) + np.mean(inside[:, :-1])) / 2
    return math.log(across / within) if across > 0 and within > 0 else math.nan


def _averages(sums: Matrix, start: Matrix, width: float) -> Matrix:
    """Averages from ``start`` over a width, in voxels, of an image that is constant within a voxel."""
    return (_at(sums, start + width) - _at(sums, start)) / width


def _at(sums: Matrix, place: Matrix) -> Matrix:
    """Sums up to a place between voxels' faces."""
    below = np.minimum(np.floor(place).astype(np.int_), len(sums) - 2)
    share = (place - below)[:, None, None]
    return np.asarray(sums[below] * (1 - share) + sums[below + 1] * share, np.float64)
