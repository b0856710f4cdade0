"""What a slice sees of a finer axis, as a matrix: slice profile with gap, point sampling.

One rule for all: the image is constant within a voxel and goes on with its outermost voxel beyond the field of view. A row
is then the difference of the profile's distribution function between the faces of each voxel, the first and the last face
moved to infinity, and sums to 1 everywhere: a constant scan stays constant up to its border.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from core.errors import GridError
from core.operators.linear import NEGLIGIBLE, Matrix

Profile = Literal["box", "gaussian", "point"]

SAME_PLACE = 1e-4  # of a voxel: centres closer than this coincide
FINEST = 1.001  # voxels: a slice up to this thick is not thicker than a voxel
FWHM = 2.3548200450309493  # of a Gaussian, in standard deviations
REACH = 4.0  # standard deviations after which a Gaussian profile ends


def gap_in_words(gap: float) -> str:
    """A gap, which is a fraction of the slices' distance: "a gap of 30 %"."""
    return f"a gap of {100 * gap:.3g} %"


def profile_matrix(
    n_target: int, n_source: int, scale: float, offset: float, profile: Profile = "box", *, gap: float = 0.0
) -> Matrix:
    """The measured axis as averages of the target axis.

    Slice ``i`` has its centre at ``scale * i + offset`` of the target axis and the width ``scale * (1 - gap)`` target voxels.
    A width of 1 or less, and "point", is linear interpolation at the centre: of a target axis that is as coarse as the
    measured one nothing finer can be averaged. Where centres coincide that is the identity, exactly.

    Args:
        n_target: voxels of the target axis.
        n_source: voxels of the measured axis.
        scale: measured voxel size in target voxels, above 0.
        offset: centre of the first measured voxel on the target axis, in voxels.
        profile: "box" averages over the width; "gaussian" has the width as its FWHM; "point" has none.
        gap: fraction of the slices' distance that none of them sees, 0 to below 1.

    Returns:
        float64 (n_source, n_target), non-negative, each row summing to 1.

    Raises:
        GridError: for a scale that is not above 0 or a gap outside [0, 1).
    """
    if scale <= 0 or not 0 <= gap < 1:
        raise GridError(
            "profile-invalid", "a scale above 0 and a gap in [0, 1)", f"scale {scale}, gap {gap}", "check the slice gap"
        )
    width = scale * (1 - gap) if profile != "point" else 1.0
    width = width if width > FINEST else 1.0
    faces = np.arange(n_target + 1) - 0.5 - _centres(n_source, scale, offset)[:, None]
    faces[:, 0], faces[:, -1] = -np.inf, np.inf
    smooth = profile == "gaussian" and width > 1
    weights: Matrix = np.diff(_gaussian(faces, width) if smooth else _box(faces, width), axis=1)
    weights[weights < NEGLIGIBLE] = 0
    return weights


def gaussian_matrix(n_target: int, n_source: int, scale: float, offset: float, fwhm: float) -> Matrix:
    """The measured axis as seen through a Gaussian of any width, also a narrower or wider one than its voxels.

    Args:
        n_target: voxels of the target axis.
        n_source: voxels of the measured axis.
        scale: measured voxel size in target voxels, above 0.
        offset: centre of the first measured voxel on the target axis, in voxels.
        fwhm: in target voxels, above 0; beside the target's own voxels, within which the image is constant.

    Returns:
        float64 (n_source, n_target), non-negative, each row summing to 1.

    Raises:
        GridError: for a scale or a width that is not above 0.
    """
    if scale <= 0 or fwhm <= 0:
        raise GridError("profile-invalid", "a scale and a width above 0", f"scale {scale}, width {fwhm}", "check the voxel sizes")
    faces = np.arange(n_target + 1) - 0.5 - _centres(n_source, scale, offset)[:, None]
    faces[:, 0], faces[:, -1] = -np.inf, np.inf
    weights: Matrix = np.diff(_gaussian(faces, fwhm), axis=1)
    weights[weights < NEGLIGIBLE] = 0
    return weights


def _centres(n_source: int, scale: float, offset: float) -> Matrix:
    """Places of the measured voxels; all exactly whole where all are nearly so."""
    centres = scale * np.arange(n_source, dtype=np.float64) + offset
    nearest = np.asarray(np.rint(centres), dtype=np.float64)
    return nearest if np.abs(centres - nearest).max() < SAME_PLACE else centres


def _box(faces: Matrix, width: float) -> Matrix:
    return np.clip(faces / width + 0.5, 0.0, 1.0)


def _gaussian(faces: Matrix, width: float) -> Matrix:
    from scipy.special import ndtr

    tail = ndtr(-REACH)
    below = np.asarray(ndtr(faces * FWHM / width), dtype=np.float64)
    return np.clip((below - tail) / (1 - 2 * tail), 0.0, 1.0)
