"""Images to train on, read box by box, and where the brain is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from core.geometry.grid import Array, Box, Grid

if TYPE_CHECKING:
    from core.tissues import Tissues

CELL = 8  # voxels of the map of where the brain is


@dataclass(frozen=True)
class Subject:
    """An image to train on, read box by box.

    Attributes:
        name: of the person, whose images are all on one side of a split.
        key: of the image.
        grid: canonical, of the whole image.
        upper: the 99.9th percentile of what ``read`` gives, above 0, by which patches are divided.
        occupied: share of voxels that are not 0 in cells of ``CELL`` voxels.
        tissues: by axis of the slices, as bright as they are on them (``Forward.on_slices``); for operators that need them.
        read: gives the voxels in a box as float32, the air 0, as networks are shown scans (``core.models.scaling.background``).
        covariates: of the person, by the columns of participants.tsv; those that are known.
        noise: standard deviation of the image's own noise, in its unit.
    """

    name: str
    key: str
    grid: Grid
    upper: float
    occupied: Array
    tissues: tuple[Tissues, Tissues, Tissues] | None
    read: Callable[[Box], Array]
    covariates: Mapping[str, float | str] = field(default_factory=dict)
    noise: float = 0.0

    def scaled(self, image: Array) -> Array:
        """The image, or a crop of it, whose 99.9th percentile is 1; float32."""
        return np.asarray(image * np.float32(1 / self.upper), np.float32)


def occupancy(read: Callable[[Box], Array], grid: Grid) -> Array:
    """Share of voxels above the air, which is 0, in cells of ``CELL`` voxels, slab by slab.

    Args:
        read: gives the voxels in a box.
        grid: of the image.
    """
    shares = []
    for z in range(0, grid.shape[2], CELL):
        slab = read(Box((0, 0, z), (grid.shape[0], grid.shape[1], min(z + CELL, grid.shape[2])))) > 0
        cells = np.add.reduceat(np.add.reduceat(slab.mean(2), range(0, grid.shape[0], CELL), 0), range(0, grid.shape[1], CELL), 1)
        shares.append(cells / CELL**2)
    return np.stack(shares, 2).astype(np.float32)
