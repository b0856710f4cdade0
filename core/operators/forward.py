"""What all kinds of forward model share: the map between two grids, and the scan that is made of a sharp image.

Along axes on which a kind says nothing the scan samples the anatomy at its voxels' centres, by cubic splines: the identity where
voxels coincide. A scanner passes what its k-space holds without attenuation, so that a wider profile there (Brudfors et al. 2018
take a Gaussian of one voxel) makes an inverse amplify what nothing had weakened: 2.9 times at the scan's Nyquist frequency.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from core.errors import GridError
from core.geometry.grid import Array, Box, Centres, Grid, Triple
from core.geometry.resample import sampling_matrix
from core.operators.linear import Compose, Kept, LinearOperator, Mask, Matrix, Separable, apply_axis
from core.operators.profile import Profile, profile_matrix
from core.settings.base import Settings

if TYPE_CHECKING:
    from core.tissues import Tissues

Axis = Literal["R", "A", "S"]

ENDS: dict[Axis, str] = {"R": "RL", "A": "AP", "S": "SI"}


def parallel(source: Grid, target: Grid) -> bool:
    """Whether the axes of two grids have the same directions."""
    try:
        target.index_map(source)
    except GridError:
        return False
    return True


def fine_grid(source: Grid, target: Grid) -> Grid:
    """The grid over the field of view of ``source`` whose coarse axes are split into whole parts of about the target's voxel."""
    finest = min(target.spacing)
    for axis, size in enumerate(source.spacing):
        source = source.refine(axis, Fraction(max(1, round(size / finest))))
    return source


@dataclass(frozen=True)
class Beside:
    """What some kinds need beside the image that they degrade.

    Attributes:
        tissues: of the whole sharp scan ("low-field", "scanner").
        maps: tissue maps (3, x, y, z) in the order CSF, GM, WM, where known; else the posteriors of ``tissues``.
        mask: boolean (x, y, z) on the image, True where nothing was measured.
    """

    tissues: Tissues | None = None
    maps: Array | None = None
    mask: Kept | None = None


@dataclass(frozen=True)
class Degraded:
    """A scan made of a sharp image.

    Attributes:
        image: float32 on ``grid``.
        grid: see ``Forward.degraded_grid``.
        drawn: what was drawn for it, a JSON value; empty for most kinds.
    """

    image: Array
    grid: Grid
    drawn: dict[str, Any] = field(default_factory=dict)


class Forward(Settings):
    """What all kinds share. The scan y is A x, for x the anatomy on a target grid.

    Attributes:
        kind: which of the nine.
        axis: world axis nearest to that on which the kind acts (across the slices; for "k-space" the phase-encoding axis);
            None: the slice axis of the scan's grid (see ``Grid.slice_axis``).
    """

    needs_mask: ClassVar[bool] = False
    needs_tissues: ClassVar[bool] = False  # ``degrade`` is nothing without the tissues of the scan
    linear: ClassVar[bool] = True  # the scan is A x and noise, and nothing else
    magnitude: ClassVar[bool] = False  # ``degrade`` takes what is below 0 for ringing or noise, and turns its sign
    local: ClassVar[bool] = True  # a crop of the scan came from a crop of the anatomy by the same rule

    kind: str
    axis: Axis | None = None

    def operator(self, source: Grid, target: Grid, mask: Kept | None = None) -> LinearOperator:
        """A: the map of an image on ``target`` to the scan on ``source`` that would be measured of it, noise aside.

        ```
        target grid --trilinear--> the scan's own axes, fine --A--> scan        (turned scans)
        target grid --A--> scan                                                 (parallel axes)
        ```

        Args:
            source: grid of the scan, in any orientation.
            target: grid of the anatomy.
            mask: boolean (x, y, z) on ``source``, True where nothing was measured; A is 0 there.

        Raises:
            GridError: mask-missing, for a kind that is nothing without one; mask-mismatch, for one of another shape.
        """
        if parallel(source, target):
            seen: LinearOperator = self._between(source, target)
        else:
            from core.operators.trilinear import resample

            fine = fine_grid(source, target)
            seen = Compose((resample(target, fine), self._between(source, fine)))
        if mask is None and self.needs_mask:
            raise GridError("mask-missing", f"the mask of a scan of kind {self.kind}", "none", "give the mask beside the scan")
        return seen if mask is None else Compose((seen, Mask(~mask, source.shape)))

    def degraded_grid(self, grid: Grid, axis: int) -> Grid:
        """The grid of the scan that ``degrade`` makes; voxels that fill no voxel of it are left out at the end of an axis.

        Args:
            grid: of the sharp image.
            axis: on which the kind acts (see ``axis`` of the class), 0, 1 or 2.

        Raises:
            GridError: factor-too-large, for an axis shorter than the factor.
            UsageError: factor-missing.
        """
        for at, factor in enumerate(self.factors(axis)):
            if factor > 1:
                grid = self._coarser(grid, at, factor, across=at == axis)
        return grid

    def degrade(self, image: Array, grid: Grid, axis: int, draw: np.random.Generator, beside: Beside = Beside()) -> Degraded:
        """The scan that would be measured of a sharp image: A x, and the noise where the kind has any.

        Args:
            image: float32 (x, y, z) on ``grid``.
            grid: of the sharp image.
            axis: on which the kind acts (see ``axis`` of the class), 0, 1 or 2.
            draw: all that is random comes from it.
            beside: tissues, maps or mask, for the kinds that need them.

        Raises:
            GridError: for an axis shorter than the factor, an image that is not on ``grid``, or a mask that is missing.
            UsageError: for tissues or a factor that are missing.
        """
        if image.shape != grid.shape:
            raise GridError("image-shape", f"an image of {grid.shape}", str(image.shape), "give an image on its own grid")
        coarse = self.degraded_grid(grid, axis)
        seen, drawn = self._measure(image, axis, draw, beside)
        return Degraded(seen, coarse, drawn)

    def factors(self, axis: int) -> Triple:  # noqa: ARG002 - here for the kinds that reduce
        """Sharp voxels for one of the scan that ``degrade`` makes, an axis; ``axis`` as there."""
        return 1, 1, 1

    @property
    def sampled(self) -> float:
        """How much was measured for each voxel of the scan: below 1 where what was left out was filled in afterwards."""
        return 1.0

    @property
    def centres(self) -> Centres:
        """Where the voxels of a finer grid lie beneath a slice (see ``Grid.refine``)."""
        return "profile"

    @property
    def slices(self) -> tuple[Profile, float]:
        """The sensitivity across a slice, and the gap between slices as a fraction of their distance."""
        return "box", 0.0

    @abstractmethod
    def describe(self) -> str:
        """In words, as plans, pages and cards say it."""

    def digested(self) -> dict[str, Any]:
        """The JSON value that enters digests and sidecars: all that A between two given grids depends on."""
        return self.model_dump(mode="json", exclude_none=True)

    def acquired(self, voxel: float) -> dict[str, float]:  # noqa: ARG002 - here for the kinds with slices
        """BIDS metadata in mm that ``degrade`` changes: SliceThickness, SpacingBetweenSlices.

        Args:
            voxel: sharp voxel size across the slices, mm.
        """
        return {}

    def on_slices(self, tissues: Tissues, image: Array, grid: Grid, axis: int, maps: Array | None = None) -> Tissues:  # noqa: ARG002
        """The tissues as the kind takes them in ``Beside``: those of the sharp scan, or as bright as they are on thick slices.

        Args:
            tissues: of the whole sharp scan.
            image: that scan, not a crop of it.
            grid: of the scan.
            axis: across the slices.
            maps: see ``Beside``.
        """
        return tissues

    # -- for the kinds to say ---------------------------------------------------------------------------------------------

    def _rows(self, n_target: int, n_source: int, scale: float, offset: float, *, across: bool) -> Matrix:
        """What the scan's voxels see of an axis of the anatomy (see ``profile_matrix``), across the slices or within them."""
        if not across:
            return sampling_matrix(n_target, n_source, scale, offset)
        profile, gap = self.slices
        return profile_matrix(n_target, n_source, scale, offset, profile, gap=gap)

    def averaged(self, grid: Grid) -> tuple[int, ...]:
        """The axes of a scan's grid along which its voxels are averages of finer ones, and not samples: those of its slices."""
        axis = self._slices(grid)
        return () if axis is None else (axis,)

    def _first(self, factor: int, *, across: bool) -> float:  # noqa: ARG002 - here for the kinds that drop slices
        """Centre of the first voxel of a degraded axis, across the slices or within them, in sharp voxels."""
        return (factor - 1) / 2

    def _coarser(self, grid: Grid, axis: int, factor: int, *, across: bool) -> Grid:  # noqa: ARG002 - likewise
        return filled(grid, axis, factor).refine(axis, Fraction(1, factor), "profile")

    def _measure(self, image: Array, axis: int, draw: np.random.Generator, beside: Beside) -> tuple[Array, dict[str, Any]]:  # noqa: ARG002
        """The degraded image, and what was drawn for it."""
        return self._reduced(image, axis), {}

    # -- what all have alike ----------------------------------------------------------------------------------------------

    def _acts_on(self, grid: Grid) -> int | None:
        """The axis of a grid on which the kind acts."""
        if self.axis is None:
            return grid.slice_axis
        return next(at for at, code in enumerate(grid.codes) if code in ENDS[self.axis])

    def _slices(self, grid: Grid) -> int | None:
        """The axis of a grid across the slices."""
        return self._acts_on(grid)

    def _between(self, source: Grid, target: Grid) -> Separable:
        """A between parallel grids."""
        maps, sliced = target.index_map(source), self._slices(source)
        x, y, z = (self._rows(target.shape[at], source.shape[at], *maps[at], across=at == sliced) for at in range(3))
        return Separable((x, y, z))

    def _reduced(self, image: Array, axis: int) -> Array:
        """The image along the axes that become coarser."""
        for at, factor in enumerate(self.factors(axis)):
            if factor > 1:
                n = image.shape[at]
                rows = self._rows(n, n // factor, factor, self._first(factor, across=at == axis), across=at == axis)
                image = apply_axis(rows, image, at)
        return image


def filled(grid: Grid, axis: int, factor: int) -> Grid:
    """The part of a grid whose voxels fill voxels of ``factor``.

    Raises:
        GridError: factor-too-large.
    """
    n, stop = grid.shape[axis], list(grid.shape)
    if n < factor:
        got = f"{n} voxels on axis {axis}"
        raise GridError("factor-too-large", f"at least {factor} voxels along the slices' axis", got, "lower the factor")
    stop[axis] = n - n % factor
    return grid.crop(Box((0, 0, 0), (stop[0], stop[1], stop[2])))
