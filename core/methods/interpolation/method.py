"""Nearest, linear and cubic interpolation as methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import KERNEL_REACH, SPLINE_REACH, Order, interpolate, reach_box
from core.geometry.tiles import Tile, Tiling, slabs
from core.methods.base import Measured, Method
from core.settings.scans import TilingSettings

SLAB = 64  # planes of a tile


class _Interpolation(Method):
    """Interpolation in slabs along z, each from the part of the scan that it feels."""

    order: ClassVar[Order]
    reach: ClassVar[int] = KERNEL_REACH

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:  # noqa: ARG002
        """Slabs of 64 planes."""
        return slabs(target.shape, 2, SLAB)

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:
        """The voxels under the slab, and as many around them as the kernel reaches."""
        return reach_box(source, target.crop(tile.read), self.reach)

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """One scan onto ``target``; see ``Method.restore``."""
        return [interpolate(scan.image, scan.grid, target, self.order) for scan in measured]


class Nearest(_Interpolation):
    """The nearest measured voxel: what the scan looks like as it is."""

    name: ClassVar[str] = "nearest"
    order: ClassVar[Order] = 0


class Linear(_Interpolation):
    """Linear interpolation."""

    name: ClassVar[str] = "linear"
    order: ClassVar[Order] = 1


class Cubic(_Interpolation):
    """Cubic B-spline interpolation, the baseline that every other method has to beat."""

    name: ClassVar[str] = "cubic"
    order: ClassVar[Order] = 3
    reach: ClassVar[int] = SPLINE_REACH
