"""Scans as the prior is shown them, and as methods are whose results are refined; how much of the restored voxels they hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.geometry.grid import Grid
from core.methods.base import Measured
from core.methods.inverse_sr.frame import Frame
from core.methods.inverse_sr.search.data_term import Observation, slice_axis
from core.methods.shown import filled, shown
from core.models.scaling import floor
from core.operators.forward_model import Identity


def whole(scan: Measured, *, masked: bool) -> Measured:
    """A scan as a method is given it whose result is refined: what its mask covers is what is around it.

    Args:
        scan: as measured.
        masked: whether the method takes masks; to another all of the scan is measured.
    """
    known = shown(scan)
    known = replace(known, image=filled(known.image, known.mask))
    return known if masked else replace(known, mask=None, forward=Identity() if scan.forward.needs_mask else scan.forward)


def observation(scan: Measured, frame: Frame) -> Observation:
    """A scan in the frame and the units of the prior."""
    low = max(scan.stats.minimum, floor(scan.stats))
    span = max(scan.stats.upper - low, 1e-6)
    values = (scan.image - np.float32(low)) / np.float32(span)
    inside = frame.holds(scan.grid)
    if scan.mask is not None:
        inside, values = inside & ~scan.mask, np.where(scan.mask, np.float32(0), values)
    return Observation(scan.operator(frame.window), values, inside, slice_axis(scan.grid), low, span)


def observed(measured: Sequence[Measured], target: Grid) -> float:
    """How much of the restored voxels was measured: 1 in 4 of slices 4 voxels apart, whatever their profile; 1 at most."""
    voxel = math.prod(target.spacing)
    return min(1.0, sum(_share(scan, voxel) for scan in measured))


def _share(scan: Measured, voxel: float) -> float:
    missing = 0.0 if scan.mask is None else float(scan.mask.mean())
    return min(1.0, voxel / math.prod(scan.grid.spacing)) * (1 - missing) * scan.forward.sampled
