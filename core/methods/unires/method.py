"""UniRes: the image of least joint total variation that explains the measured slices (Brudfors et al. 2018, 2019).

Needs no training: noise, contrast and so the weights come from the scan itself. Several scans of one person, in whatever
orientations, sharpen one another where their edges agree.

The rounds are few on purpose. Within a slice nothing but the total variation decides, and its optimum is a staircase: for
slices of 4 mm cut from scans of 1 mm, 20 rounds from the cubic interpolation gain 0.6 to 0.8 dB over it, the optimum itself (200
rounds and more) at most 0.3 dB. At the weights of the paper reg_scl from 1 to 8 changes less than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from core.errors import RestorationError
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import OUTSIDE, interpolate
from core.geometry.tiles import Tile, Tiling, volume
from core.methods.base import Measured, Method, MethodSettings
from core.settings.scans import TilingSettings

MARGIN = 8.0  # mm of zeros around the anatomy that are still explained


class UniResSettings(MethodSettings):
    """Settings of UniRes."""

    reg_scl: float = Field(4.0, gt=0, title="Regularisation", description="scale of the total variation; more is smoother")
    iterations: int = Field(
        20, ge=1, le=512, title="Iterations", description="rounds of ADMM at most; few are best: the optimum is a staircase"
    )
    tolerance: float = Field(1e-4, ge=0, title="Tolerance", description="relative change of the image that ends the rounds")


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


class UniRes(Method):
    """Restores whole scans, alone or together; see the module.

    Scans are weighed by their own noise and contrast. The result is 0 outside the box around a scan's own anatomy.
    """

    name: ClassVar[str] = "unires"
    Settings: ClassVar[type[MethodSettings]] = UniResSettings
    fuses: ClassVar[bool] = True
    bytes_per_voxel: ClassVar[float] = 48.0  # a scan; 40 measured
    voxels_per_second: ClassVar[float] = 6e5
    settings: UniResSettings

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:  # noqa: ARG002
        """The whole volume: every voxel depends on all others."""
        return volume(target.shape)

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:  # noqa: ARG002
        """The whole scan."""
        return Box.whole(source.shape)

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """Scans of one person onto ``target``; see ``Method.restore``."""
        results = [np.zeros(target.shape, np.float32) for _ in measured]
        parts = [_trim(one) for one in measured]
        places = [_under(part.grid, target) if part else None for part in parts]
        found = [(part, place, out) for part, place, out in zip(parts, places, results, strict=True) if part and place]
        if not found:
            return results
        box = _around([place for _, place, _ in found])
        images = self._fit([part for part, _, _ in found], target.crop(box))
        for (_, place, out), image in zip(found, images, strict=True):
            out[place.slices] = image[place.relative_to(box.start).slices]
        return results

    def _fit(self, measured: Sequence[Measured], target: Grid) -> Array:
        """Restore scans onto the part of the target grid that they tell of: (scans, x, y, z)."""
        from core.methods.unires.joint_tv import Channel, Observation, minimise
        from core.operators.scan_model import observe

        taus = [1 / one.stats.noise_sd**2 for one in measured]
        lams = [self.settings.reg_scl / (math.sqrt(len(measured)) * one.stats.contrast) for one in measured]
        channels = [
            Channel((Observation(observe(one.grid, target, one.acquisition), one.image, tau),), lam)
            for one, tau, lam in zip(measured, taus, lams, strict=True)
        ]
        rho = math.sqrt(float(np.mean(taus))) / float(np.mean(lams))
        start = np.stack([_first_guess(one, target) for one in measured])
        images = minimise(channels, start, target.spacing, rho, self.settings.iterations, self.settings.tolerance)
        if not np.isfinite(images).all():
            raise RestorationError("not-finite", "a finite image", "NaN or infinity", "look at the scan's intensities")
        return images


def _trim(measured: Measured) -> Measured | None:
    """The part of a scan with the anatomy, None where there is none."""
    box = _occupied(measured.image, measured.grid)
    return None if box is None else measured.crop(box)


def _first_guess(measured: Measured, target: Grid) -> Array:
    """The scan interpolated: by cubic splines, or linearly where it is turned."""
    from core.operators.scan_model import parallel, resample

    if parallel(measured.grid, target):
        return interpolate(measured.image, measured.grid, target, 3)
    return resample(measured.grid, target).forward(np.ascontiguousarray(measured.image))
