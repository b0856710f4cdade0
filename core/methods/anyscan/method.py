"""The network as a method.

crop of the scan --inputs--> channels on the slices' grid --network--> image --cubic across the slices--> target patch
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import ClassVar

import numpy as np
import torch

from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.resample import interpolate
from core.methods.anyscan.inputs import SUB, Units, network_inputs, slab_grid, slices_of
from core.methods.base import Piece
from core.methods.patch_network import NetworkMethod, padded


class AnyScan(NetworkMethod):
    """3D residual network that is told of the slices."""

    name: ClassVar[str] = "anyscan"
    bytes_per_voxel: ClassVar[float] = 24.0

    def _halo(self, source: Grid, target: Grid) -> Triple:
        """As far as the network sees; across the slices so many of them, and the one that a patch ends in."""
        halo, axis = list(super()._halo(source, target)), slices_of(source)
        halo[axis] = math.ceil((halo[axis] / SUB + 1) * source.spacing[axis] / target.spacing[axis] / SUB) * SUB
        return halo[0], halo[1], halo[2]

    def _alike(self, pieces: Sequence[Piece]) -> Iterator[Array]:
        """Patches of one shape; those that touch equally many slices go through the network together."""
        for _, alike in groupby(pieces, key=self._slabs):
            yield from self._restored_slabs(list(alike))

    def _slabs(self, piece: Piece) -> Triple:
        """The shape in which a patch is shown to the network."""
        source = piece.measured[0].grid
        shape, order = slab_grid(source, piece.target).shape, self._order(source)
        return shape[order[0]], shape[order[1]], shape[order[2]]

    def _order(self, source: Grid) -> Triple:
        """The axis of the slices last, whatever the scan."""
        return {0: (1, 2, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[slices_of(source)]

    def _restored_slabs(self, pieces: Sequence[Piece]) -> Iterator[Array]:
        shown, orders, units, grids = [], [], [], []
        for piece in pieces:
            scan = piece.measured[0]
            units.append(Units.of(scan.stats))
            orders.append(self._order(scan.grid))
            grids.append(slab_grid(scan.grid, piece.target))
            channels = network_inputs(scan.image, scan.grid, grids[-1], scan.forward, units[-1])
            shown.append(np.stack([padded(channel.transpose(orders[-1]), SUB) for channel in channels]))
        outputs = self._run(torch.from_numpy(np.stack(shown)), pieces).numpy()[:, 0]
        for piece, output, order, unit, grid in zip(pieces, outputs, orders, units, grids, strict=True):
            shape = [grid.shape[axis] for axis in order]
            image = output[Box.whole((shape[0], shape[1], shape[2])).slices].transpose(np.argsort(order))
            image = interpolate(np.ascontiguousarray(image), grid, piece.target, 3)
            yield image * np.float32(unit.scale) + np.float32(unit.background)
