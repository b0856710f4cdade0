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

import numpy as np

from core.errors import GridError, UsageError
from core.geometry.grid import Array, Box, Grid
from core.operators.linear import Matrix, apply_axis
from core.operators.low_field import Snr, draw_snr, low_field, noise_sd
from core.operators.profile import decimation_matrix, profile_matrix
from core.settings.degradation import Degradation
from core.settings.scans import Acquisition
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
    image: Array,
    grid: Grid,
    axis: int,
    how: Degradation,
    *,
    tissues: Tissues | None,
    draw: np.random.Generator,
    maps: Array | None = None,
    snr: Snr | None = None,
) -> tuple[Array, Grid]:
    """The scan of low resolution that would be measured of a sharp one.

    "slice-profile" averages over the slices by their profile and gap, "slice-mask" keeps one slice in ``factor``. Both are
    linear and draw nothing. "low-field" averages likewise, changes the contrast and adds noise (see ``low_field``). But for
    the noise, a crop of the columns along ``axis`` gets the same values as the whole.

    Args:
        image: float32 on ``grid``.
        grid: of the sharp scan.
        axis: along which slices become thick, 0, 1 or 2.
        how: operator, factor, profile, gap and contrast.
        tissues: of the whole sharp scan; only "low-field" needs them.
        draw: all that is random comes from it: first the SNRs, then the noise.
        maps: tissue maps (3, x, y, z) in the order CSF, GM, WM, where known; else the posteriors of ``tissues``.
        snr: (SNR_WM, SNR_GM) of the low-field scan; drawn where None.

    Returns:
        float32 image on the degraded grid, and that grid (see ``degraded_grid``).

    Raises:
        GridError: for an axis shorter than the factor, or an image that is not on ``grid``.
        UsageError: tissues-missing, for "low-field" without tissues.
    """
    if image.shape != grid.shape:
        raise GridError("image-shape", f"an image of {grid.shape}", str(image.shape), "give an image on its own grid")
    coarse, matrix = degraded_grid(grid, axis, how), _matrix(grid.shape[axis], how)
    if how.operator != "low-field":
        return apply_axis(matrix, image, axis), coarse
    if tissues is None:
        raise UsageError("tissues-missing", "the tissues of the scan", "none", "fit them with Tissues.fit")
    snr = draw_snr(how.contrast, draw) if snr is None else snr
    mean = low_field(image, axis, matrix, how.contrast, snr, tissues=tissues, maps=maps)
    noise = draw.standard_normal(mean.shape, np.float32)
    return mean + np.float32(noise_sd(tissues, how.contrast, snr)) * noise, coarse
