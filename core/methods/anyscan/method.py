"""The network as a method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch

from core.geometry.grid import Array, Box
from core.methods.anyscan.inputs import Units, network_inputs
from core.methods.base import Piece
from core.methods.patch_network import NetworkMethod, padded


class AnyScan(NetworkMethod):
    """3D residual network that is told of the slices."""

    name: ClassVar[str] = "anyscan"
    bytes_per_voxel: ClassVar[float] = 24.0

    def _alike(self, pieces: Sequence[Piece]) -> Iterator[Array]:
        """Patches of one shape."""
        shown, orders, units = [], [], []
        for piece in pieces:
            scan = piece.measured[0]
            units.append(Units.of(scan.stats))
            orders.append(self._order(scan.grid))
            channels = network_inputs(scan.image, scan.grid, piece.target, scan.forward, units[-1])
            shown.append(np.stack([padded(channel.transpose(orders[-1]), self.spec.multiple) for channel in channels]))
        outputs = self._run(torch.from_numpy(np.stack(shown)), pieces).numpy()[:, 0]
        for piece, output, order, unit in zip(pieces, outputs, orders, units, strict=True):
            shape = [piece.target.shape[axis] for axis in order]
            image = output[Box.whole((shape[0], shape[1], shape[2])).slices].transpose(np.argsort(order))
            yield np.ascontiguousarray(image * np.float32(unit.scale) + np.float32(unit.background))
