"""What the network is shown of a scan: the same in training and when it restores.

channel   what
0         the scan interpolated onto the target's grid, background 0, 99.9th percentile 1
1         what the interpolation does not explain of the scan, as a smooth correction (``core.operators.repair``)
2         distance to the nearest slice's centre, in distances of slices
3         distance of slices, in 8 target voxels
4         width of a slice over that distance
5         standard deviation of the noise, in 1/20 of the 99.9th percentile

The network works on a grid of the slices (``slab_grid``): the target's voxels within the planes, and across them 8 to a slice,
wherever the slices lie. So each of its voxels has one place in its slice in all scans, and the work follows the voxels that were
measured. (On the target's own grid 6,000 steps of training gained next to nothing over the correction; so 800 did.)

scan --cubic along its slices' axis--> fine --A--> residual --W--> correction;  both --cubic within the planes--> channels 0, 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.models.scaling import background, floor
from core.operators.forward_model import ForwardModel
from core.operators.linear import Separable, apply_axis
from core.operators.repair import CORRECTION, LEAST, repair_matrix
from core.stats import ScanStats

CHANNELS = 6
SUB = 8  # of the network's voxels across a slice
SPACING, GRAIN = 8.0, 20.0  # units of channels 3 and 5
BRIGHTEST = 4.0  # in channel 0's unit: heads that it was trained on go to 3.95; what is brighter counts as that


@dataclass(frozen=True)
class Units:
    """How intensities come into the network's unit.

    Attributes:
        background: becomes 0.
        scale: becomes 1 above that; above 0.
        noise: standard deviation, in the scan's unit.
        floor: what is darker in the scan becomes that, see ``core.models.scaling.floor``.
    """

    background: float
    scale: float
    noise: float
    floor: float = -math.inf

    @classmethod
    def of(cls, stats: ScanStats) -> Units:
        """By the figures of a whole scan; of one that goes below 0, its air is the background."""
        lowest = background(stats)
        scale = stats.upper - lowest
        return cls(lowest, scale if scale > 0 else 1.0, stats.noise_sd, floor(stats))


def network_inputs(image: Array, source: Grid, target: Grid, forward: ForwardModel, units: Units) -> Array:
    """The channels, float32 (6, x, y, z) of ``target.shape``.

    Args:
        image: the scan, or a crop of it, float32 on ``source``.
        source: its grid.
        target: whose axes are parallel to those of ``source``.
        forward: how the scan came from the anatomy.
        units: of the whole scan.
    """
    axis = slices_of(source)
    scale, offset = source.index_map(target)[axis]
    before, fine = _fine(source, target, axis, scale, offset)
    raised = np.maximum(image, np.float32(units.floor)) - np.float32(units.background)
    scaled = np.minimum(raised / np.float32(units.scale), np.float32(BRIGHTEST))
    rough = interpolate(scaled, source, fine, 3)
    noise = float(np.hypot(LEAST, units.noise / units.scale / CORRECTION))
    missing = _missing(scaled, rough, source, fine, axis, forward, noise)
    start, stop = [0, 0, 0], list(fine.shape)
    start[axis], stop[axis] = before, before + target.shape[axis]
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    rough, missing, fine = rough[box.slices], missing[box.slices], fine.crop(box)
    profile, gap = forward.slices
    constants = (1 / scale / SPACING, 0.0 if profile == "point" else 1 - gap, GRAIN * units.noise / units.scale)
    places = scale * np.arange(target.shape[axis]) + offset
    distance = np.minimum(np.abs(places - np.clip(np.rint(places), 0, source.shape[axis] - 1)), 1.0)
    made = np.empty((CHANNELS, *target.shape), np.float32)
    made[0], made[1] = interpolate(rough, fine, target, 3), interpolate(missing, fine, target, 3)
    made[2] = distance.reshape([-1 if at == axis else 1 for at in range(3)])
    made[3:] = np.array(constants, np.float32)[:, None, None, None]
    return made


def slab_grid(source: Grid, target: Grid) -> Grid:
    """The grid on which the network works: all slices that a target touches in 8 parts each, and its voxels within them.

    Where the target goes beyond the scan there is a slice more, which nobody measured.

    Args:
        source: of the scan.
        target: whose axes are parallel to those of ``source``.
    """
    axis = slices_of(source)
    scale, offset = source.index_map(target)[axis]
    ends = sorted((offset, offset + scale * (target.shape[axis] - 1)))
    last = source.shape[axis] - 1
    before, after = [0, 0, 0], [0, 0, 0]
    before[axis] = -min(max(-1, math.floor(ends[0])), last)
    after[axis] = max(min(last + 1, math.ceil(ends[1])), -before[axis]) - last
    slices = source.pad((before[0], before[1], before[2]), (after[0], after[1], after[2])).refine(axis, SUB)
    return target.with_axis(slices, axis)


def slices_of(grid: Grid) -> int:
    """The axis of a scan's slices; of cubes the last."""
    return 2 if grid.slice_axis is None else grid.slice_axis


def _fine(source: Grid, target: Grid, axis: int, scale: float, offset: float) -> tuple[int, Grid]:
    """The scan's grid within its planes, the target's across them and on over all slices; and how far it begins earlier."""
    before = max(0, math.ceil((offset + 0.5) / scale))
    after = max(0, math.ceil((source.shape[axis] - 0.5 - offset) / scale) - target.shape[axis])
    moved, shape = np.eye(4), list(source.shape)
    moved[axis, axis], moved[axis, 3] = scale, offset - before * scale
    shape[axis] = before + target.shape[axis] + after
    return before, Grid((shape[0], shape[1], shape[2]), source.affine @ moved)


def _missing(image: Array, rough: Array, source: Grid, fine: Grid, axis: int, forward: ForwardModel, noise: float) -> Array:
    """The smooth correction for what the interpolation leaves of the scan."""
    seen = forward.operator(source, fine)
    if not isinstance(seen, Separable):
        return np.zeros_like(rough)
    left = image - np.asarray(seen.forward(rough), np.float32)
    return apply_axis(repair_matrix(seen.matrices[axis], noise), left, axis)
