"""Which slices of two scans show the same: three measures vote (SRMRI, sections 4.1 and A.2).

    pca     distance of the principal components of both scans' slices, fitted to all of them together
    gmsd    deviation of the gradients' similarity (Xue et al. 2014), in the place of LPIPS, whose weights are not free to ship
    ssim    1 - structural similarity (Wang et al. 2004), Gaussian window of 11 x 11, sigma 1.5

The finer scan is reduced to the coarser one's pixels first. Two votes make a pair; where all differ, the rule of ties does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.errors import GridError
from core.evaluation.metrics.gradients import deviation, gradient_sizes
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.operators.forward import parallel
from core.operators.kernels import kernel_matrix
from core.operators.linear import apply_axis
from core.settings.pairs import Voting

MEASURES = ("pca", "gmsd", "ssim")
SIGMA, RADIUS, K1, K2 = 1.5, 5, 0.01, 0.03  # of SSIM
BLANK = 0.02  # of the 99.9th percentile: slices whose values vary less show nothing
CORONAL = 1

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stacks:
    """Slices of both scans, over the 99.9th percentiles.

    Attributes:
        axis: along which they follow each other.
        coarse: (n, h, w).
        fine: (m, h, w) with the coarse scan's pixels.
        sharp: (m, H, W) with its own.
        sharp_grid: of ``sharp``, slices along ``axis``.
        places: where the headers put the coarse slices among the fine ones, (n,).
        step: from a fine slice to the next, mm.
    """

    axis: int
    coarse: Array
    fine: Array
    sharp: Array
    sharp_grid: Grid
    places: Matrix
    step: float


@dataclass(frozen=True)
class Pair:
    """A coarse slice and what was found for it.

    Attributes:
        coarse: its number.
        fine: that of the fine slice; None where ties are dropped.
        votes: the fine slice that each measure names.
        values: each measure's distance of what it names.
        count: votes for ``fine``.
    """

    coarse: int
    fine: int | None
    votes: dict[str, int]
    values: dict[str, float]
    count: int

    @property
    def tied(self) -> bool:
        """Whether no two measures agree."""
        return len(set(self.votes.values())) == len(MEASURES)


def stacks_of(fine: Array, fine_grid: Grid, coarse: Array, coarse_grid: Grid, axis: int | None = None) -> Stacks:
    """Slices of two scans along an axis of the coarse one.

    Args:
        fine: float32 (x, y, z) on ``fine_grid``, canonical.
        fine_grid: of any direction.
        coarse: likewise.
        coarse_grid: likewise.
        axis: of the coarse scan; None for its own slices, of cubes coronal ones.
    """
    if axis is None:
        axis = CORONAL if coarse_grid.slice_axis is None else coarse_grid.slice_axis
    grid = _laid_along(fine_grid, coarse_grid)
    sharp = fine if grid is fine_grid else interpolate(fine, fine_grid, grid, 1)
    reduced, maps = sharp, grid.index_map(coarse_grid)
    for at in range(3):
        if at != axis:
            scale, offset = maps[at]
            reduced = apply_axis(kernel_matrix(sharp.shape[at], coarse.shape[at], scale, offset, "bicubic"), reduced, at)
    scale, offset = maps[axis]
    planes = [np.ascontiguousarray(np.moveaxis(image, axis, 0), np.float32) for image in (coarse, reduced, sharp)]
    uppers = [max(float(np.percentile(planes[n], 99.9)), 1e-12) for n in (0, 2, 2)]
    seen, shrunk, whole = (image / np.float32(upper) for image, upper in zip(planes, uppers, strict=True))
    places = np.asarray(scale * np.arange(coarse.shape[axis]) + offset, np.float64)
    return Stacks(axis, seen, shrunk, whole, grid, places, grid.spacing[axis])


def _laid_along(fine: Grid, coarse: Grid) -> Grid:
    """The fine scan's voxels, with their axes along the coarse scan's."""
    if parallel(fine, coarse):
        return fine
    corners = np.array(list(product(*((0, n - 1) for n in fine.shape)))) @ fine.affine[:3, :3].T + fine.affine[:3, 3]
    axes = coarse.affine[:3, :3] / np.array(coarse.spacing)
    sizes, along = np.array(fine.spacing), corners @ axes
    low, shape = along.min(0), np.floor((along.max(0) - along.min(0)) / sizes + 1e-6).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * sizes, axes @ low
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def vote(stacks: Stacks, rules: Voting) -> list[Pair]:
    """A pair for each coarse slice that shows something and lies within the margins.

    Raises:
        GridError: pairs-apart: no coarse slice has a fine one within the window.
    """
    margin = round(rules.margin * len(stacks.coarse))
    near = np.abs(np.arange(len(stacks.fine)) - stacks.places[:, None]) * stacks.step <= rules.window
    shows = [each.std((1, 2)) > BLANK for each in (stacks.coarse, stacks.fine)]
    near &= shows[0][:, None] & shows[1]
    near[:margin], near[len(near) - margin :] = False, False
    if not near.any():
        wanted = f"scans that show the same within {rules.window:g} mm of each other"
        raise GridError("pairs-apart", wanted, "none", "check the headers, or widen the window")
    distances = {name: np.where(near, measure(stacks, near, rules), np.inf) for name, measure in DISTANCES.items()}
    return [_elected(int(n), {name: each[n] for name, each in distances.items()}, rules) for n in np.flatnonzero(near.any(1))]


def _elected(number: int, rows: dict[str, Matrix], rules: Voting) -> Pair:
    """The pair of a coarse slice, whose distances these are."""
    votes = {name: int(np.argmin(row)) for name, row in rows.items()}
    values = {name: float(rows[name][place]) for name, place in votes.items()}
    named = list(votes.values())
    best = max(named, key=named.count)
    if named.count(best) == 1:
        ranks = np.sum([np.searchsorted(np.sort(row), row[named]) for row in rows.values()], 0)
        best = named[int(np.argmin(ranks))]
    return Pair(
        number, None if len(set(named)) == len(named) and rules.ties == "drop" else best, votes, values, named.count(best)
    )


def principal_distances(stacks: Stacks, near: NDArray[np.bool_], rules: Voting) -> Matrix:
    """Euclidean distances of the principal components, (n, m)."""
    both = np.concatenate([stacks.coarse, stacks.fine]).reshape(len(near) + near.shape[1], -1).astype(np.float64)
    both -= both.mean(0)
    values, vectors = np.linalg.eigh(both @ both.T)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    share = np.cumsum(values) / max(float(values.sum()), 1e-300)
    kept = int(np.searchsorted(share, rules.dimension)) + 1 if rules.dimension < 1 else int(rules.dimension)
    scores = vectors[:, :kept] * np.sqrt(values[:kept])
    coarse, fine = scores[: len(near)], scores[len(near) :]
    return np.asarray(np.linalg.norm(coarse[:, None] - fine, axis=2))


def gradient_distances(stacks: Stacks, near: NDArray[np.bool_], rules: Voting) -> Matrix:  # noqa: ARG001
    """GMSD of the pairs that are near, (n, m)."""
    coarse, fine = (gradient_sizes(each) for each in (stacks.coarse, stacks.fine))
    return _of_pairs(near, lambda n, m: deviation(coarse[n], fine[m]))


def structural_distances(stacks: Stacks, near: NDArray[np.bool_], rules: Voting) -> Matrix:  # noqa: ARG001
    """1 - SSIM of the pairs that are near, (n, m), for values from 0 to 1."""

    def smooth(image: Array | Matrix) -> Matrix:
        whole = np.asarray(image, np.float64)
        line = (0.0,) * (whole.ndim - 2)
        return np.asarray(ndimage.gaussian_filter(whole, (*line, SIGMA, SIGMA), radius=(*[0] * len(line), RADIUS, RADIUS)))

    coarse, fine = stacks.coarse.astype(np.float64), stacks.fine.astype(np.float64)
    means = [smooth(each) for each in (coarse, fine)]
    spreads = [smooth(each**2) - mean**2 for each, mean in zip((coarse, fine), means, strict=True)]

    def apart(n: int, m: int) -> float:
        product_of_means = means[0][n] * means[1][m]
        shared = smooth(coarse[n] * fine[m]) - product_of_means
        above = (2 * product_of_means + K1**2) * (2 * shared + K2**2)
        below = (means[0][n] ** 2 + means[1][m] ** 2 + K1**2) * (spreads[0][n] + spreads[1][m] + K2**2)
        inner = (above / below)[RADIUS:-RADIUS, RADIUS:-RADIUS]
        return 1 - float((inner if inner.size else above / below).mean())

    return _of_pairs(near, apart)


def _of_pairs(near: NDArray[np.bool_], apart: Callable[[int, int], float]) -> Matrix:
    made = np.full(near.shape, np.inf)
    for n, m in zip(*np.nonzero(near), strict=True):
        made[n, m] = apart(int(n), int(m))
    return made


DISTANCES = {"pca": principal_distances, "gmsd": gradient_distances, "ssim": structural_distances}


def stack_grid(grid: Grid, axis: int, first: float, step: float, count: int) -> Grid:
    """The grid of ``count`` slices, the first at place ``first`` along an axis of a grid, ``step`` of its slices apart."""
    moved, shape = np.eye(4), list(grid.shape)
    moved[axis, axis], moved[axis, 3], shape[axis] = step, first, count
    return Grid((shape[0], shape[1], shape[2]), grid.affine @ moved)
