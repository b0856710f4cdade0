"""Tiles of a volume: what each reads, what it writes, and the tilings that cover a grid exactly."""

from __future__ import annotations

from dataclasses import dataclass

from core.grid import Box


@dataclass(frozen=True, order=True)
class Tile:
    """One piece of work on a target grid.

    Attributes:
        index: place in the tiling's fixed order (axis 2 slowest, so that planes along z finish early).
        read: voxels that the method predicts (with overlap or halo).
        write: voxels in which this prediction counts; ``read`` itself where tiles are blended,
            a disjoint core where a halo is thrown away.
    """

    index: int
    read: Box
    write: Box
