"""UniRes: the image of least joint total variation that explains the measured slices (Brudfors et al. 2018, 2019).

Needs no training: noise, contrast and so the weights come from the scan itself. Several scans of one person, in whatever
orientations, sharpen one another where their edges agree.

The rounds are few on purpose. Within a slice nothing but the total variation decides, and its optimum is a staircase. Slices of
4 mm cut from four scans of 1 mm with 1 and 3 % of noise gain, over cubic interpolation, 0.57 and 0.7 dB in 10 rounds at a reg_scl
of 2, 0.50 and 0.1 in 20 rounds at the paper's 4, and the optimum itself (200 rounds and more) at most 0.3 dB.

Along axes on which the scan's voxels are samples, not averages, nothing is sharpened: one scan is solved for on its own voxels
there, or the target's where these are larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from core.errors import RestorationError
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import COARSER, OUTSIDE, interpolate
from core.methods.base import Measured, MethodSettings
from core.methods.iterative import IterativeMethod, State
from core.operators.forward import parallel

if TYPE_CHECKING:
    from core.methods.unires.joint_tv import Problem

MARGIN = 8.0  # mm of zeros around the anatomy that are still explained


class UniResSettings(MethodSettings):
    """Settings of UniRes."""

    reg_scl: float = Field(2.0, gt=0, title="Regularisation", description="scale of the total variation; more is smoother")
    iterations: int = Field(
        10, ge=1, le=512, title="Iterations", description="rounds of ADMM at most; few are best: the optimum is a staircase"
    )
    tolerance: float = Field(1e-4, ge=0, title="Tolerance", description="relative change of the image that ends the rounds")
    scaling: bool = Field(
        default=True,
        title="Slice scaling",
        description="where every second slice is found to be brighter, divide that gain out first",
    )


def _occupied(image: Array, grid: Grid) -> Box | None:
    """The box of voxels that are not zero and a margin, cut to the scan; None where all are zero."""
    filled = image != 0
    lines = [np.flatnonzero(filled.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not all(line.size for line in lines):
        return None
    margins = [math.ceil(MARGIN / size) for size in grid.spacing]
    start = [max(0, int(line[0]) - margin) for line, margin in zip(lines, margins, strict=True)]
    stop = [min(n, int(line[-1]) + 1 + margin) for n, line, margin in zip(image.shape, lines, margins, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _under(grid: Grid, target: Grid) -> Box | None:
    """The target voxels that a scan tells something of: less than a voxel outside its outermost centres, in any orientation."""
    ends = np.array([[-OUTSIDE] * 3, [n - 1 + OUTSIDE for n in grid.shape]])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(8, 3)
    places = np.round(target.voxel(grid.world(corners)), 4)
    low, high = np.floor(places.min(axis=0)).astype(int) + 1, np.ceil(places.max(axis=0)).astype(int)
    start = [max(0, int(a)) for a in low]
    stop = [min(n, int(b)) for n, b in zip(target.shape, high, strict=True)]
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        return None
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all."""
    starts, stops = zip(*((box.start, box.stop) for box in boxes), strict=True)
    (a, b, c), (d, e, f) = np.min(starts, axis=0).tolist(), np.max(stops, axis=0).tolist()
    return Box((a, b, c), (d, e, f))


@dataclass(frozen=True, eq=False)
class Fit:
    """Scans to be explained together.

    Attributes:
        target: grid of the results.
        scans: how many were given, those without anatomy, too.
        parts: the anatomy of those that have any.
        places: their numbers, and the target voxels that each tells of.
        grid: of the images that are solved for, over the voxels that any scan tells of.
        problem: of these images; None where no scan tells of any voxel.
    """

    target: Grid
    scans: int
    parts: list[Measured]
    places: list[tuple[int, Box]]
    grid: Grid
    problem: Problem | None


class UniRes(IterativeMethod[Fit]):
    """Restores whole scans, alone or together; see the module.

    Scans are weighed by their own noise and contrast. The result is 0 outside the box around a scan's own anatomy. Each round
    of ADMM is a step; between two of them lie the images and the dual, and a step tells by how much it changed the images.
    """

    name: ClassVar[str] = "unires"
    revision: ClassVar[int] = 4
    Settings: ClassVar[type[MethodSettings]] = UniResSettings
    fuses: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 48.0  # a scan; 40 measured
    voxels_per_second: ClassVar[float] = 6e5
    settings: UniResSettings

    def __init__(self, settings: MethodSettings | None = None) -> None:
        super().__init__(settings)
        self.evens = self.settings.scaling

    def total(self) -> int:
        """Rounds at most."""
        return self.settings.iterations

    def prepare(self, measured: Sequence[Measured], target: Grid) -> Fit:
        """The anatomy of the scans, and the equations that explain them on the target grid."""
        trimmed = [_trim(scan) for scan in measured]
        under = [_under(part.grid, target) if part else None for part in trimmed]
        usable = [(n, part, place) for n, (part, place) in enumerate(zip(trimmed, under, strict=True)) if part and place]
        parts, places = [part for _, part, _ in usable], [(n, place) for n, _, place in usable]
        grid = target.crop(_around([place for _, place in places])) if places else target
        if len(measured) == len(parts) == 1:
            parts, grid = _sampled_alike(parts[0], grid)
        return Fit(target, len(measured), parts, places, grid, self._problem(parts, grid) if parts else None)

    def _problem(self, measured: Sequence[Measured], target: Grid) -> Problem:
        from core.methods.unires.joint_tv import Channel, Observation, Problem

        taus = [1 / part.stats.noise_sd**2 for part in measured]
        lams = [self.settings.reg_scl / (math.sqrt(len(measured)) * part.stats.contrast) for part in measured]
        channels = [
            Channel((Observation(part.operator(target), part.image, tau),), lam)
            for part, tau, lam in zip(measured, taus, lams, strict=True)
        ]
        # The least of the scans' own sqrt(tau) / lam: sqrt(mean tau) / mean lam, as the authors have it, hangs on the units of
        # each scan. In five crops of a patient's T1w, T2w and FLAIR, 64 voxels wide, in slices 4 mm apart, 10 rounds came
        # 0.03 to 0.6 dB nearer to the truth with the least.
        return Problem.of(channels, target.spacing, min(math.sqrt(tau) / lam for tau, lam in zip(taus, lams, strict=True)))

    def start(self, problem: Fit) -> State:
        """The scans interpolated, and a dual of zeros."""
        from core.methods.unires.joint_tv import no_dual

        if problem.problem is None:
            return State({}, finished=True)
        images = np.stack([_first_guess(part, problem.grid) for part in problem.parts])
        return State({"images": images, "dual": no_dual(images)})

    def step(self, problem: Fit, state: State) -> dict[str, float]:
        """A round of ADMM; the last is that which changes the images by no more than the tolerance."""
        assert problem.problem is not None  # noqa: S101 - the state would be finished
        moved, size = problem.problem.advance(state.arrays["images"], state.arrays["dual"])
        state.finished = moved <= self.settings.tolerance**2 * size
        return {"relative_change": math.sqrt(moved / size) if size > 0 else 0.0}

    def result(self, problem: Fit, state: State) -> list[Array]:
        """Each image in the box that its scan tells of, and zeros around it; not below 0 where the scan is a magnitude."""
        results = [np.zeros(problem.target.shape, np.float32) for _ in range(problem.scans)]
        if problem.problem is None:
            return results
        images = state.arrays["images"]
        if not np.isfinite(images).all():
            raise RestorationError("not-finite", "a finite image", "NaN or infinity", "look at the scan's intensities")
        for (number, place), part, image in zip(problem.places, problem.parts, images, strict=True):
            restored = interpolate(image, problem.grid, problem.target.crop(place), 3)
            results[number][place.slices] = np.maximum(restored, 0) if part.stats.minimum >= 0 else restored
        return results


def _trim(measured: Measured) -> Measured | None:
    """The part of a scan with the anatomy (all of it, where a part did not come from a part); None where there is none."""
    box = _occupied(measured.image, measured.grid)
    if box is None:
        return None
    return measured.crop(box) if measured.forward.local else measured


def _sampled_alike(scan: Measured, target: Grid) -> tuple[list[Measured], Grid]:
    """A scan and the grid to solve on that agree along the axes on which the scan's voxels are samples, at the coarser of both.

    Nothing is to be sharpened along these: an inverse between two grids would only amplify what neither of them holds. A scan
    that is finer there than the target is interpolated first, an image that is coarser afterwards.
    """
    if not (scan.forward.local and parallel(scan.grid, target)):
        return [scan], target
    averaged, grid = scan.forward.averaged(scan.grid), scan.grid
    for axis, (scale, _) in enumerate(grid.index_map(target)):
        if scale >= 1 / COARSER and axis not in averaged:
            grid = grid.with_axis(target, axis)
    alike = target
    for axis in {0, 1, 2} - set(averaged):
        alike = alike.with_axis(grid, axis)
    if grid != scan.grid:
        scan = replace(scan, image=interpolate(scan.image, scan.grid, grid, 3), grid=grid)
    return [scan], alike


def _first_guess(measured: Measured, target: Grid) -> Array:
    """The scan interpolated: by cubic splines, or linearly where it is turned."""
    from core.operators.trilinear import resample

    if parallel(measured.grid, target):
        return interpolate(measured.image, measured.grid, target, 3)
    return resample(measured.grid, target).forward(np.ascontiguousarray(measured.image))
