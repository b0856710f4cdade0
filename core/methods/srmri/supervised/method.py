"""Networks that were trained on pairs, as methods: each of the scan's own slices is made finer within its plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from core.geometry.grid import Array, Grid
from core.geometry.slices import Padding
from core.methods.base import MethodSettings, Piece
from core.methods.patch_network import bundle_for
from core.methods.shown import shown
from core.methods.slicewise import Slice, SliceMethod
from core.models.bundle import Bundle
from core.models.cache import load_network
from core.models.domain import Domain, both
from core.models.scaling import UPPER

SLACK = 0.125  # of the factor, on either side: the scan is interpolated onto the network's pixels


class FinerSettings(MethodSettings):
    """Settings that all share."""

    model: str = Field(title="Model", description="folder of a network that makes slices finer")


class FinerSlices(SliceMethod):
    """What they have in common; slices between the scan's own are interpolated."""

    Settings: ClassVar[type[MethodSettings]] = FinerSettings
    revision: ClassVar[int] = 3  # what lies below 0 is shifted
    needs_model: ClassVar[bool] = True
    between: ClassVar[bool] = True
    scans: ClassVar[Domain] = Domain(kinds=("in-plane",))
    bytes_per_tile_voxel: ClassVar[float] = 2000.0
    voxels_per_second: ClassVar[float] = 1e5
    settings: FinerSettings

    @cached_property
    def spec(self) -> Bundle:
        """What the model's config says.

        Raises:
            WeightsError: a network of another method.
        """
        return bundle_for(self.name, self.settings.model)

    @cached_property
    def domain(self) -> Domain:
        """As of all methods, and the factor within the slices that the network undoes."""
        return both(super().domain, Domain(plane_factor=((1 - SLACK) * self.scale, (1 + SLACK) * self.scale)))

    @property
    def scale(self) -> int:
        """Restored pixels for one of the network's input."""
        return int(self.spec.config.get("scale", 2))

    def plane_grid(self, source: Grid, target: Grid, axis: int) -> Grid:
        """Rows and columns ``scale`` times as coarse as the target's, over all of it."""
        grid = target.with_axis(source, axis)
        moved, shape = np.eye(4), list(grid.shape)
        for at in range(3):
            if at != axis:
                moved[at, at], moved[at, 3] = self.scale, (self.scale - 1) / 2
                shape[at] = -(-shape[at] // self.scale)
        return Grid((shape[0], shape[1], shape[2]), grid.affine @ moved)

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """The network's slices, up to a pixel larger than the target's."""
        offset, scale = (float(each) for each in UPPER.figures(slices[0].measured.stats))
        network = load_network(self.settings.model, self.spec, self.device)
        rows, columns = planes.shape[-2:]
        padded: Tensor = Padding((rows, columns), self.spec.multiple).apply((planes - offset) / scale)
        finer: Tensor = network(padded)
        return finer[..., : rows * self.scale, : columns * self.scale].float() * scale + offset

    def _slab(self, piece: Piece) -> Array:
        return super()._slab(replace(piece, measured=[shown(scan) for scan in piece.measured]))

    def decode(self, codes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Cut to the target's rows and columns."""
        rows, columns = (n for at, n in enumerate(slices[0].grid.shape) if at != slices[0].axis)
        return torch.clone(codes[..., :rows, :columns])


class Srcnn(FinerSlices):
    """SRCNN (Dong et al. 2014)."""

    name: ClassVar[str] = "srcnn"


class Ddbpn(FinerSlices):
    """D-DBPN (Haris et al. 2018)."""

    name: ClassVar[str] = "d-dbpn"


class Carn(FinerSlices):
    """CARN (Ahn et al. 2018)."""

    name: ClassVar[str] = "carn"


class Swinir(FinerSlices):
    """SwinIR (Liang et al. 2021)."""

    name: ClassVar[str] = "swinir"


class Rcan(FinerSlices):
    """RCAN (Zhang et al. 2018)."""

    name: ClassVar[str] = "rcan"


class Esrgan(FinerSlices):
    """ESRGAN (Wang et al. 2018)."""

    name: ClassVar[str] = "esrgan-2d"
