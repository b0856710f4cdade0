"""What all five methods share: slices as tensors in the networks' units, codes between them, and the measured slices held.

    coarse slices  --x4 by a network-->  codes --lerp--> codes at the target's places --> fine slices   (voxels 3 times larger)
    sharp slices   --encode----------->  codes --lerp--> …                                                (nothing is drawn)

A slice whose rows and columns are at least 3 times coarser than the target's is shown to the network on a grid 4 times coarser
than the target; where they are sharp already, the scan is only zoomed through its planes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from core.errors import WeightsError
from core.geometry.grid import Array, Box, Grid
from core.geometry.slices import SliceStack, brackets
from core.geometry.tiles import Tile
from core.methods.base import Measured, MethodSettings, Piece
from core.methods.latent_zoom.consistency import consistent, supported, used
from core.methods.latent_zoom.presets import FINER
from core.methods.slicewise import Slice, SliceMethod
from core.models.bundle import Bundle, read_bundle
from core.models.cache import load_network

COARSE = 3.0  # times the target's voxels, along both axes of a slice, from which its rows and columns are restored
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


class ZoomSettings(MethodSettings):
    """Settings that the five share."""

    model: str = Field(title="Model", description="folder of the model")
    axes: tuple[Literal["sagittal", "coronal", "axial"], ...] = Field(
        (), title="Axes", description="slices to restore; several are averaged; default: the scan's own"
    )
    consistency: bool = Field(default=True, title="Consistency", description="add what the measured slices say beyond the result")


def is_coarse(source: Grid, target: Grid, axis: int) -> bool:
    """Whether slices need finer rows and columns."""
    ratios = (coarse / fine for coarse, fine in zip(source.spacing, target.spacing, strict=True))
    return all(ratio >= COARSE for at, ratio in enumerate(ratios) if at != axis)


def coarse_grid(fine: Grid, axis: int) -> Grid:
    """The grid 4 times coarser within the slices whose voxels lie over 4 x 4 of ``fine``, from its first on."""
    after = [0 if at == axis else -n % FINER for at, n in enumerate(fine.shape)]
    grid = fine.pad((0, 0, 0), (after[0], after[1], after[2]))
    for at in range(3):
        grid = grid if at == axis else grid.refine(at, Fraction(1, FINER))
    return grid


class Zoom(SliceMethod):
    """Base of the five methods."""

    needs_model: ClassVar[bool] = True
    between: ClassVar[bool] = True
    Settings: ClassVar[type[MethodSettings]] = ZoomSettings
    thickness: ClassVar[int] = 32
    bytes_per_voxel: ClassVar[float] = 40.0
    roles: ClassVar[tuple[str, ...]]  # parts that its model must have
    settings: ZoomSettings

    @abstractmethod
    def finer(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Codes of coarse slices (n, 1, rows, columns) in the networks' units."""

    @abstractmethod
    def sharp(self, planes: Tensor) -> Tensor:
        """Codes of slices (n, 1, rows, columns), sharp already, in the networks' units."""

    def shown(self, codes: Tensor) -> Tensor:
        """Slices (n, 1, …) in the networks' units of codes, with at least the target's rows and columns."""
        return codes

    @cached_property
    def bundle(self) -> Bundle:
        """What the model's config says.

        Raises:
            WeightsError: a model of another method.
        """
        bundle = read_bundle(self.settings.model)
        if not set(self.roles) <= set(bundle.parts):
            wanted, got = f"a model of {self.name} with {', '.join(self.roles)}", f"one with {', '.join(bundle.parts)}"
            raise WeightsError("model-unfit", wanted, got, "name another --model, or the method that it is for")
        return bundle

    def network(self, role: str) -> nn.Module:
        """A part of the model, on the device."""
        return load_network(self.settings.model, self.bundle, self.device, role)

    # -- places -----------------------------------------------------------------------------------------------------------------

    def axes(self, source: Grid) -> tuple[int, ...]:
        """See ``SliceMethod.axes``."""
        return tuple(sorted({PLANES[name] for name in self.settings.axes})) or super().axes(source)

    def plane_grid(self, source: Grid, target: Grid, axis: int) -> Grid:
        """See ``SliceMethod.plane_grid``."""
        fine = target.with_axis(source, axis)
        return coarse_grid(fine, axis) if is_coarse(source, target, axis) else fine

    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:
        """The slices that the slab lies between, and those that the planes under all of these lie between."""
        axis = self._axis(source, tile.part)
        read = supported(source, target, tile.read, axis) if self.settings.consistency else tile.read
        between = brackets(source, target.crop(read), axis)
        start, stop = [0, 0, 0], list(source.shape)
        start[axis], stop[axis] = int(between.below.min()), int(between.above.max()) + 1
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    # -- slices -----------------------------------------------------------------------------------------------------------------

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Codes of the scan's slices, see ``SliceMethod.encode``."""
        scaled = planes * (2 / unit(slices[0].measured)) - 1
        coarse = is_coarse(slices[0].measured.grid, slices[0].target, slices[0].axis)
        return self.finer(scaled, slices) if coarse else self.sharp(scaled)

    def decode(self, codes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """The target's slices, see ``SliceMethod.decode``."""
        rows, columns = (n for at, n in enumerate(slices[0].grid.shape) if at != slices[0].axis)
        return (self.shown(codes)[..., :rows, :columns] + 1) * (unit(slices[0].measured) / 2)

    def _between(self, piece: Piece, stack: SliceStack, made: Array) -> None:
        """Slices between the scan's own, and what the scan says beyond them."""
        if not self.settings.consistency:
            super()._between(piece, stack, made)
            return
        axis, whole = stack.axis, piece.whole or piece.target
        wide = supported(piece.measured[0].grid, whole, piece.box, axis)
        image = np.empty(wide.shape, np.float32)
        wider = replace(piece, target=whole.crop(wide), box=wide)
        around = SliceStack(wider.target, axis)
        super()._between(wider, around, around.planes(image))
        first = piece.box.start[axis] - wide.start[axis]
        held = consistent(image, wider.target, used(piece.measured[0], piece.target, axis))
        made[...] = around.planes(held)[first : first + len(made)]


def unit(measured: Measured) -> float:
    """The intensity that is 1 for the networks, -1 being 0: the 99.9th percentile of the whole scan."""
    return measured.stats.upper if measured.stats.upper > 0 else 1.0
