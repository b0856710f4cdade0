"""What all five methods share: slices as tensors in the networks' units, and codes between them.

    coarse slices  --x4 by a network-->  codes --lerp--> codes at the target's places --> fine slices   (voxels 3 times larger)
    sharp slices   --encode----------->  codes --lerp--> …                                                (nothing is drawn)

A slice whose rows and columns are at least 3 times coarser than the target's is shown to the network on a grid 4 times coarser
than the target; where they are sharp already, the scan is only zoomed through its planes. What the measured slices say beyond
the result is added by the engine, as to every method's (``core.engine.consistency``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from core.errors import WeightsError
from core.geometry.grid import Grid
from core.geometry.slices import brackets
from core.methods.base import Measured, MethodSettings
from core.methods.latent_zoom.presets import FINER
from core.methods.slicewise import Slice, SliceMethod
from core.models.bundle import Bundle, read_bundle
from core.models.cache import load_network
from core.models.scaling import UPPER

COARSE = 3.0  # times the target's voxels, along both axes of a slice, from which its rows and columns are restored
MADE_FINER = "slices made 4 times finer within the plane, and zoomed through it"
SHARP = "only zoomed through the plane, no diffusion: its slices are sharp already"
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


class ZoomSettings(MethodSettings):
    """Settings that the five share."""

    model: str = Field(title="Model", description="folder of the model")
    axes: tuple[Literal["sagittal", "coronal", "axial"], ...] = Field(
        (), title="Axes", description="slices to restore; several are averaged; default: the scan's own"
    )
    scaling: Literal["volume", "slice"] = Field(
        "volume",
        title="Scaling",
        description="of intensities for the networks: by the whole scan, or by each slice's least and largest, as the paper's",
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", title="Precision", description="of the networks' arithmetic; tf32 is that of a GPU alone"
    )


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

    revision: ClassVar[int] = 3  # what lies below 0 is shifted
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

    def shown(self, codes: Tensor, *, made: bool) -> Tensor:  # noqa: ARG002 - a subclass may ask
        """Slices (n, 1, …) in the networks' units of codes, with at least the target's rows and columns.

        Args:
            codes: of slices, or between those of two.
            made: whether the slices were made finer; else they were sharp already.
        """
        return codes

    @property
    def precision(self) -> str:
        """As asked for."""
        return self.settings.precision

    @cached_property
    def bundle(self) -> Bundle:
        """What the model's config says.

        Raises:
            WeightsError: a model of another method.
        """
        bundle = read_bundle(self.settings.model)
        if not set(self.needs) <= set(bundle.parts):
            wanted, got = f"a model of {self.name} with {', '.join(self.needs)}", f"one with {', '.join(bundle.parts)}"
            raise WeightsError("model-unfit", wanted, got, "name another --model, or the method that it is for")
        return bundle

    @property
    def needs(self) -> tuple[str, ...]:
        """Parts that its model must have, by its options."""
        return self.roles

    def network(self, role: str) -> nn.Module:
        """A part of the model, on the device."""
        return load_network(self.settings.model, self.bundle, self.device, role)

    def about(self, source: Grid, target: Grid, figures: Mapping[str, float]) -> dict[str, str]:  # noqa: ARG002
        """Which slices were made finer, and which were sharp already."""
        return {name: self._way(source, target, axis) for axis, name in enumerate(PLANES) if axis in self.axes(source)}

    def _way(self, source: Grid, target: Grid, axis: int) -> str:
        return MADE_FINER if is_coarse(source, target, axis) else SHARP

    # -- places -----------------------------------------------------------------------------------------------------------------

    def axes(self, source: Grid) -> tuple[int, ...]:
        """See ``SliceMethod.axes``."""
        return tuple(sorted({PLANES[name] for name in self.settings.axes})) or super().axes(source)

    def plane_grid(self, source: Grid, target: Grid, axis: int) -> Grid:
        """See ``SliceMethod.plane_grid``."""
        fine = target.with_axis(source, axis)
        return coarse_grid(fine, axis) if is_coarse(source, target, axis) else fine

    # -- slices -----------------------------------------------------------------------------------------------------------------

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Codes of the scan's slices, see ``SliceMethod.encode``."""
        black, white = self._ends(slices, planes)
        scaled = self.leveled((planes - black) * (2 / (white - black)) - 1)
        return self.finer(scaled, slices) if _are_coarse(slices) else self.sharp(scaled)

    def decode(self, codes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """The target's slices, see ``SliceMethod.decode``."""
        rows, columns = (n for at, n in enumerate(slices[0].grid.shape) if at != slices[0].axis)
        black, white = self._ends(slices, codes)
        shown = self.shown(codes, made=_are_coarse(slices))[..., :rows, :columns]
        return (shown + 1) * ((white - black) / 2) + black

    def leveled(self, planes: Tensor) -> Tensor:
        """Slices as the networks get them, of slices in their units."""
        return planes

    def _ends(self, slices: Sequence[Slice], like: Tensor) -> tuple[Tensor, Tensor]:
        """The intensities that are -1 and 1 for the networks, each (n, 1, 1, 1) on the device and of the type of ``like``."""
        import torch

        pairs = [_own_ends(plane) for plane in slices] if self.settings.scaling == "slice" else [ends_of(slices[0].measured)]
        ends = np.empty((2, len(slices)), np.float32)
        ends[:] = np.transpose(pairs)
        black, white = torch.from_numpy(ends).to(like).reshape(2, -1, 1, 1, 1)
        return black, white


def _are_coarse(slices: Sequence[Slice]) -> bool:
    return is_coarse(slices[0].measured.grid, slices[0].target, slices[0].axis)


def ends_of(measured: Measured) -> tuple[float, float]:
    """The intensities that are -1 and 1 for the networks: the air and the 99.9th percentile of the whole scan."""
    black, span = UPPER.figures(measured.stats)
    return float(black), float(black + span)


def _own_ends(plane: Slice) -> tuple[float, float]:
    """Least and largest intensity of a measured slice; between two of them, in proportion; of a blank one, as of the volume."""
    measured, axis = plane.measured, plane.axis
    between = brackets(measured.grid, plane.grid, axis)
    low, high = (_range(measured, axis, int(n)) for n in (between.below[0], between.above[0]))
    share = float(between.share[0])
    black, white = ((1 - share) * a + share * b for a, b in zip(low, high, strict=True))
    return black, white


def _range(measured: Measured, axis: int, number: int) -> tuple[float, float]:
    image = measured.image.take(number, axis)
    low, high = float(image.min()), float(image.max())
    black, white = ends_of(measured)
    return (low, high) if high > low else (low, low + white - black)
