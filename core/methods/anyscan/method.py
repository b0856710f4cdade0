r"""The network as a method.

crop of the scan --inputs--> channels on the slices' grid --network--> image --cubic across the slices--> target patch
                                                                   \---> log b --half width of 90 %, linear--> its uncertainty

A Laplace error of scale b is below -b log(1 - 0.9) with a probability of 0.9; what held-out persons say of that stretches it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch

from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.resample import interpolate
from core.methods.anyscan.inputs import SUB, Units, network_inputs, slab_grid, slices_of
from core.methods.anyscan.network import LARGEST, SMALLEST
from core.methods.base import MethodSettings, Piece
from core.methods.patch_network import Flips, NetworkMethod, NetworkSettings, flips_field, padded
from core.models.calibration import LEVEL, UNCERTAINTY, Calibration, read_calibration


class AnyScanSettings(NetworkSettings):
    """Settings of the any-scan network: two flips gain half of what all eight do, in a quarter of their time."""

    flips: Flips = flips_field(2)


class AnyScan(NetworkMethod):
    """3D residual network that is told of the slices."""

    Settings: ClassVar[type[MethodSettings]] = AnyScanSettings
    settings: AnyScanSettings
    name: ClassVar[str] = "anyscan"
    bytes_per_voxel: ClassVar[float] = 32.0
    revision: ClassVar[int] = 4  # no banding, bright voxels don't count; uncertainties as taught; over two flips
    bytes_per_shown_voxel: ClassVar[float] = 160.0  # of the network's grid, beside those of the tile, as measured
    maps = (UNCERTAINTY,)
    evens = True

    @cached_property
    def calibration(self) -> Calibration:
        """Of the model's uncertainty."""
        known = read_calibration(self.settings.model)
        return known if known.stretches else read_calibration(self.original(self.settings.model))

    @property
    def depends_on(self) -> dict[str, Any]:
        """The calibration, where there is one: a new one makes the maps anew."""
        numbers = self.calibration.model_dump(mode="json", exclude={"stretches": {"__all__": {"contrasts"}}})
        return numbers if self.calibration.stretches else {}

    def working(self, shape: Triple, source: Grid, target: Grid) -> float:
        """See ``Method.working``; the finer the slices, the more voxels of the network's grid lie in a tile."""
        axis = slices_of(source)
        shown = math.prod(shape) * SUB * target.spacing[axis] / source.spacing[axis]
        return super().working(shape, source, target) + self.bytes_per_shown_voxel * shown

    def about_maps_of(self, look: str | None) -> dict[str, dict[str, Any]]:
        """Whether the uncertainty is calibrated for a scan's contrast."""
        return {UNCERTAINTY: {"Description": self.calibration.told(look)}}

    def restore_many(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """See ``Method.restore_many``; each patch with its uncertainty."""
        return [list(arrays) for _, alike in groupby(pieces, key=self._slabs) for arrays in self._restored_slabs(list(alike))]

    def _halo(self, source: Grid, target: Grid) -> Triple:
        """As far as the network sees; across the slices so many of them, and the one that a patch ends in."""
        halo, axis = list(super()._halo(source, target)), slices_of(source)
        halo[axis] = math.ceil((halo[axis] / SUB + 1) * source.spacing[axis] / target.spacing[axis] / SUB) * SUB
        return halo[0], halo[1], halo[2]

    def _slabs(self, piece: Piece) -> Triple:
        """The shape in which a patch is shown to the network: those that touch equally many slices go through it together."""
        source = piece.measured[0].grid
        shape, order = slab_grid(source, piece.target).shape, self._order(source)
        return shape[order[0]], shape[order[1]], shape[order[2]]

    def _order(self, source: Grid) -> Triple:
        """The axis of the slices last, whatever the scan."""
        return {0: (1, 2, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[slices_of(source)]

    def _restored_slabs(self, pieces: Sequence[Piece]) -> Iterator[tuple[Array, Array]]:
        """Patches that are shown in one shape, and their uncertainties."""
        shown, orders, units, grids = [], [], [], []
        for piece in pieces:
            scan = piece.measured[0]
            units.append(Units.of(scan.stats))
            orders.append(self._order(scan.grid))
            grids.append(slab_grid(scan.grid, piece.target))
            channels = network_inputs(scan.image, scan.grid, grids[-1], scan.forward, units[-1])
            shown.append(np.stack([padded(channel.transpose(orders[-1]), SUB) for channel in channels]))
        outputs = self._run(torch.from_numpy(np.stack(shown)), pieces).numpy()
        for piece, output, order, unit, grid in zip(pieces, outputs, orders, units, grids, strict=True):
            shape = [grid.shape[axis] for axis in order]
            inside = Box.whole((shape[0], shape[1], shape[2])).slices
            image, logarithm = (np.ascontiguousarray(each[inside].transpose(np.argsort(order))) for each in output)
            image = interpolate(image, grid, piece.target, 3)
            error = interpolate(np.exp(np.clip(logarithm, SMALLEST, LARGEST)), grid, piece.target, 1)
            half_width = np.float32(unit.scale * self._stretch(piece))
            yield image * np.float32(unit.scale) + np.float32(unit.background), error * half_width

    def _stretch(self, piece: Piece) -> float:
        """The half width of the interval over the scale of the Laplace error."""
        source = piece.measured[0].grid
        return -math.log(1 - LEVEL) * self.calibration.at(source.spacing[slices_of(source)])
