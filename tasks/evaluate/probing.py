"""Figures of an evaluation that need more than the restored image and its truth: what a protocol's probe is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.engine.restore import Restore, restore_scan
from core.engine.restore import Source as Scan
from core.evaluation.protocol import Probe, Protocol
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured, Method
from core.settings.scans import TilingSettings
from core.settings.simulate import SimulateSettings
from tasks.evaluate import simulate
from tasks.evaluate.cases import Case

THICKNESS = 32  # planes of a block


def restored_by(
    method: Method, measured: Measured, target: Grid, wanted: TilingSettings, restore: Restore | None = None
) -> list[Array]:
    """A scan in memory, restored; the maps that the method gives follow it.

    Args:
        method: by which.
        measured: the scan.
        target: grid of the result.
        wanted: how it is cut.
        restore: makes the tiles instead of the method; of methods with state that is kept.
    """
    images = [np.empty(target.shape, np.float32) for _ in range(1 + len(method.maps))]
    tiling = method.tiling(measured.grid, target, wanted)
    for box, arrays in restore_scan(method, [Scan.in_memory(measured)], target, tiling, THICKNESS, restore):
        for image, array in zip(images, arrays, strict=True):
            image[box.slices] = array
    return images


def other_truth(case: Case, others: Sequence[Case], target: Grid, settings: SimulateSettings) -> Array | None:
    """The truth of the next person, its centre laid on that of the target grid; None where the cohort has none.

    Args:
        case: of this person.
        others: all cases.
        target: grid of the result.
        settings: how images are read.
    """
    there = [each for each in others if not each.reason and each.person != case.person]
    after = [each for each in there if each.person > case.person] or there
    if not after:
        return None
    truth, grid, _ = simulate.load(after[0].truth, settings)
    return interpolate(truth, _centred(grid), _centred(target), 1)


def _centred(grid: Grid) -> Grid:
    """A grid of these voxels whose centre is the world's."""
    affine = np.diag([*grid.spacing, 1.0])
    affine[:3, 3] = [-step * (n - 1) / 2 for step, n in zip(grid.spacing, grid.shape, strict=True)]
    return Grid(grid.shape, affine)


def probed(
    protocol: Protocol,
    method: Method,
    images: tuple[Measured, Array, Array, Grid],
    wanted: TilingSettings,
    other: Array | None,
    *,
    repaired: bool,
) -> Mapping[str, float]:
    """The figures of a protocol's probe; none where it has none.

    Args:
        protocol: of the evaluation.
        method: by which the scan was restored.
        images: the scan, what was restored of it, its truth, and the grid of both.
        wanted: how scans are cut.
        other: another person's truth on that grid.
        repaired: whether the image was brought to agree with the scan.
    """
    if protocol.probe is None:
        return {}
    measured, image, truth, target = images

    def again(scan: Measured) -> Array:
        return restored_by(method, scan, target, wanted)[0]

    return protocol.probe(Probe(measured, image, truth, target, method, again, other, repaired))
