"""The contract that every restoration method keeps, and the values that pass through it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.tiles import Tile, Tiling
from core.models.bundle import read_bundle
from core.models.calibration import Calibration
from core.models.domain import Domain, both, read_domain
from core.noise import Key
from core.operators.forward_model import ForwardModel
from core.operators.linear import Kept, LinearOperator
from core.settings.scans import TilingSettings
from core.stats import ScanStats


@dataclass(frozen=True)
class Measured:
    """A scan as acquired, or a crop of one.

    Attributes:
        image: float32 array (x, y, z) on ``grid``.
        grid: canonical RAS grid of ``image``; a crop carries its own place in the world.
        stats: statistics of the *whole* scan, so that every tile scales intensities alike.
        forward: how the scan came from the anatomy.
        noise: key of the scan's noise, for methods that draw any.
        mask: boolean (x, y, z) on ``grid``, True where nothing was measured (a lesion to be filled, a hole); None where the
            scan brings none, or the method takes none.
        covariates: of the person, by the names of columns in participants.tsv; those that the method asks for and that are known.
    """

    image: Array
    grid: Grid
    stats: ScanStats
    forward: ForwardModel
    noise: Key = (0, 0)
    mask: Kept | None = None
    covariates: Mapping[str, float | str] | None = None

    def crop(self, box: Box) -> Measured:
        """The part in ``box``, at its place in the world."""
        mask = None if self.mask is None else self.mask[box.slices]
        return replace(self, image=self.image[box.slices], grid=self.grid.crop(box), mask=mask)

    def operator(self, target: Grid) -> LinearOperator:
        """The map of an image on ``target`` to the scan; 0 in the mask, where there is one."""
        return self.forward.operator(self.grid, target, self.mask)


@dataclass(frozen=True)
class Piece:
    """A tile to be restored.

    Attributes:
        measured: what its source box shows of one scan, or of several of one person where the method fuses.
        target: grid of the tile.
        box: its voxels on the whole target grid, to which noise belongs.
        whole: that grid; None where ``target`` is it.
        crops: the voxels of each whole scan that ``measured`` shows; empty where it shows all.
        part: of the tile, see ``Tile``.
    """

    measured: Sequence[Measured]
    target: Grid
    box: Box
    whole: Grid | None = None
    crops: tuple[Box, ...] = ()
    part: int = 0


class MethodSettings(BaseModel):
    """Settings of a method; each method has its own subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Method(ABC):
    """A way to restore scans onto an isotropic grid.

    A tile is a small restoration of its own: the crop of the measured scan that ``source_box`` names and the crop of the
    target grid go in, the prediction on ``tile.read`` comes out. Scan mode and tile mode make the same calls.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1  # of the numbers that it gives; raised where they change, it makes this method's scans anew
    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    fuses: ClassVar[bool] = False  # takes several scans of one person at once
    needs_model: ClassVar[bool] = False  # takes weights; its settings then have the field ``model``, a folder (None: without)
    bytes_per_voxel: ClassVar[float] = 24.0  # of memory for a restored voxel, at the peak, as measured
    bytes_per_tile_voxel: ClassVar[float] = 0.0  # of memory that the tile in hand takes beside that
    voxels_per_second: ClassVar[float] = 5e6  # restored by one core, as measured; plans start from it
    scans: ClassVar[Domain] = Domain()  # that it is for, whatever its model
    maps: tuple[str, ...] = ()  # that ``restore`` gives after the images, by names of letters and digits
    passes: int = 1  # how often it goes over a tile, by its options: times the work that ``voxels_per_second`` knows
    evens: bool = False  # gets scans without their banding, by its options: where it is found, it explains the ``evened`` scan
    batch: int = 1  # tiles that ``restore_many`` does well to get at once

    def __init__(self, settings: MethodSettings | None = None) -> None:
        self.settings = settings if settings is not None else self.Settings()

    @property
    def keeps_contrast(self) -> bool:
        """Whether what it restores has the scan's own contrast, so that the two can be held against each other."""
        return True

    @cached_property
    def domain(self) -> Domain:
        """The scans that it is for, by its own nature and by what its model was trained for."""
        folder: str | None = getattr(self.settings, "model", None)
        if not self.needs_model or folder is None:
            return self.scans
        stated, first = read_domain(folder), read_domain(self.original(folder))
        return both(self.scans, first.model_copy(update={name: value for name, value in stated if value is not None}))

    def original(self, folder: str) -> str:
        """The folder of the model that isovox brings where ``folder`` is a copy of it, else ``folder``.

        What lies beside weights (domain, calibration) may have been added to them after the copy was made.
        """
        from core.methods.registry import shipped

        own = shipped(self.name)
        return str(own) if own is not None and read_bundle(str(own)).digest == read_bundle(folder).digest else folder

    @property
    def speed(self) -> float:
        """Voxels that one core restores in a second; ``voxels_per_second``, unless the options change it."""
        return self.voxels_per_second

    def working(self, shape: Triple, source: Grid, target: Grid) -> float:  # noqa: ARG002 - a subclass may ask
        """Bytes of memory that a tile of a shape takes while it is in hand, beside ``bytes_per_voxel``.

        Args:
            shape: of the tile, in voxels of the target.
            source: grid of the scan.
            target: grid of the result.
        """
        return self.bytes_per_tile_voxel * math.prod(shape)

    @cached_property
    def calibration(self) -> Calibration:
        """What its map of uncertainty is stretched by already; an empty one where it was never measured."""
        return Calibration()

    @property
    def depends_on(self) -> dict[str, Any]:
        """What its numbers depend on beside settings, weights and revision, as JSON values: such as the version of a program.

        Raises:
            RestorationError: it lacks something that it cannot restore without.
        """
        return {}

    @property
    def about_maps(self) -> dict[str, dict[str, Any]]:
        """What is to be known of how its maps are made, by their names, as JSON values; sidecars and records have it.

        "Description" of a map is a sentence that its sidecar and its page show.
        """
        return {}

    def about_maps_of(self, look: str | None) -> dict[str, dict[str, Any]]:  # noqa: ARG002 - a subclass may ask
        """``about_maps``, with what hangs on the scan.

        Args:
            look: its contrast as evaluations call it, see ``core.models.domain.look_of``; None where it is not known.
        """
        return self.about_maps

    def about(self, source: Grid, target: Grid, figures: Mapping[str, float]) -> dict[str, str]:  # noqa: ARG002 - a subclass may ask
        """What is to be known of how it restores one scan beyond its settings; its sidecar and page have it.

        Args:
            source: grid of the scan.
            target: grid of the result.
            figures: that the restoration told beside the image.
        """
        return {}

    @abstractmethod
    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:
        """How the target grid is split for this method."""

    @abstractmethod
    def source_box(self, source: Grid, target: Grid, tile: Tile) -> Box:
        """The voxels of the measured scan that ``tile`` needs."""

    @abstractmethod
    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """Restore onto ``target``.

        Args:
            measured: one scan, or several of one person where ``fuses``.
            target: grid of the result, whose axes are parallel to those of ``measured[0].grid``.

        Returns:
            one float32 array of ``target.shape`` for each of ``measured``, then as many of each of ``maps``.

        Raises:
            RestorationError: where the method cannot give a finite answer.
        """

    def restore_many(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """Restore several tiles; a method that batches or draws noise overrides this, and the numbers must not change."""
        return [self.restore(piece.measured, piece.target) for piece in pieces]
