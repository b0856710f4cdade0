"""Scans of low resolution made from sharp ones: thick slices, dropped slices, low field.

```
sharp axis, factor 4     | x x x x | x x x x | x x     the last two voxels fill no slice: they are left out
slice-profile, low-field |    o    |    o    |         a slice is an average over its thickness, centred on it
slice-mask               | o       | o       |         a slice is the first of its four voxels
```

All act along one axis only, so the columns of an image that run along that axis are degraded alike, whether alone or together.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from core.config import Acquisition, Degradation
from core.errors import GridError
from core.grid import Array, Box, Grid
from core.operators.linear import Matrix, apply_axis
from core.operators.profile import decimation_matrix, profile_matrix

if TYPE_CHECKING:
    from core.tissues import Tissues


def acquisition_of(how: Degradation) -> Acquisition:
    """How a scan that was degraded so came from the anatomy: what a method that restores it should assume."""
    if how.operator == "slice-mask":
        return Acquisition(slice_profile="point", slice_gap=0.0)
    return Acquisition(slice_profile=how.slice_profile, slice_gap=how.slice_gap)


def degraded_grid(grid: Grid, axis: int, how: Degradation) -> Grid:
    """The grid of a degraded scan: ``n // factor`` slices; voxels that fill no slice are left out at the end of the axis.

    Args:
        grid: of the sharp scan.
        axis: along which slices become thick, 0, 1 or 2.
        how: operator and factor.

    Raises:
        GridError: for an axis shorter than the factor.
    """
    shape = list(grid.shape)
    if shape[axis] < how.factor:
        got = f"{shape[axis]} voxels on axis {axis}"
        raise GridError("factor-too-large", f"at least {how.factor} voxels along the slices' axis", got, "lower the factor")
    shape[axis] -= shape[axis] % how.factor
    filled = grid.crop(Box((0, 0, 0), (shape[0], shape[1], shape[2])))
    return filled.refine(axis, Fraction(1, how.factor), "decimation" if how.operator == "slice-mask" else "profile")


def _matrix(n: int, how: Degradation) -> Matrix:
    """What each slice sees of an axis of ``n`` voxels."""
    factor = how.factor
    if how.operator == "slice-mask":
        return decimation_matrix(n, factor)[: n // factor]
    return profile_matrix(n, n // factor, factor, (factor - 1) / 2, how.slice_profile, gap=how.slice_gap)


def degrade(
    image: Array, grid: Grid, axis: int, how: Degradation, *, tissues: Tissues | None, draw: np.random.Generator
) -> tuple[Array, Grid]:
    """The scan of low resolution that would be measured of a sharp one.

    "slice-profile" averages over the slices by their profile and gap, "slice-mask" keeps one slice in ``factor``. Both are
    linear and draw nothing, and give the same values for a crop of the columns along ``axis`` as for the whole.

    Args:
        image: float32 on ``grid``.
        grid: of the sharp scan.
        axis: along which slices become thick, 0, 1 or 2.
        how: operator, factor, profile, gap and contrast.
        tissues: of the whole sharp scan; only "low-field" needs them.
        draw: all that is random comes from it.

    Returns:
        float32 image on the degraded grid, and that grid (see ``degraded_grid``).

    Raises:
        GridError: for an axis shorter than the factor, or an image that is not on ``grid``.
    """
    if image.shape != grid.shape:
        raise GridError("image-shape", f"an image of {grid.shape}", str(image.shape), "give an image on its own grid")
    coarse = degraded_grid(grid, axis, how)
    return apply_axis(_matrix(grid.shape[axis], how), image, axis), coarse
