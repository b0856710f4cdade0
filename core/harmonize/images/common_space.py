"""Scans of different persons in one space, by affine registration (SimpleITK): near enough for maps of large things, no warp.

scan --Gaussian of a map's voxel--> --affine by mutual information--> on the template's grid
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.harmonize.images.resolution import blurred

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # world axes of SimpleITK as those of NIfTI
BINS = 32  # of the joint histogram
LEVELS = ((4, 2.0), (2, 1.0), (1, 0.0))  # subsampling, and smoothing in voxels
ROUNDS = 100  # of a level, at most
AVERAGED = 8  # scans that a template is made of, at most
ALIKE = 0.5  # correlation in the template's brain from which a scan counts as registered


def coarse(image: Array, grid: Grid, voxel: float) -> tuple[Array, Grid]:
    """The image on voxels of a map, each of which sees a Gaussian of its own width."""
    from core.geometry.resample import interpolate

    target = grid.isotropic(voxel)
    widths = tuple(voxel if size < voxel else 0.0 for size in grid.spacing)
    return interpolate(blurred(image, grid, widths), grid, target, 1), target  # type: ignore[arg-type]


def brought(image: Array, grid: Grid, template: Array, target: Grid) -> Array:
    """A scan in the template's space, float32 on its grid; 0 where the scan was not.

    One thread and no random numbers: the same images give the same bits.

    Raises:
        InputError: not-registered, where the scan is unlike the template even then.
    """
    import SimpleITK as sitk  # noqa: N813 - as its users call it

    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        fixed, moving = _itk(template, target), _itk(image, grid)
        moved = sitk.Resample(moving, fixed, _affine(fixed, moving), sitk.sitkLinear, 0.0)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    made = np.ascontiguousarray(sitk.GetArrayFromImage(moved).T, np.float32)
    there = template > 0
    with np.errstate(invalid="ignore"):
        likeness = float(np.nan_to_num(np.corrcoef(made[there], template[there])[0, 1])) if there.any() else 0.0
    if likeness < ALIKE:
        wanted, remedy = f"a scan whose correlation with the template is at least {ALIKE}", "check it, or leave it out"
        raise InputError("not-registered", wanted, f"{likeness:.2f}", remedy)
    return made


def mean_of(scans: Sequence[tuple[Array, Grid]]) -> tuple[Array, Grid]:
    """A template: the mean of scans, registered to the first that half of the others can be registered to; the rest is left out.

    Returns:
        float32, on the grid of the scan that the others were registered to.

    Raises:
        InputError: not-registered, where none is such.
    """
    for first, grid in scans:
        others = [_registered(*scan, first, grid) for scan in scans if scan[0] is not first]
        alike = [first, *(image for image in others if image is not None)]
        if 2 * len(alike) > len(scans):
            return np.mean(alike, axis=0, dtype=np.float32), grid
    wanted, remedy = "a scan to which half of the others can be registered", "check the first scans of the reference"
    raise InputError("not-registered", wanted, f"none of {len(scans)}", remedy)


def _registered(image: Array, grid: Grid, template: Array, target: Grid) -> Array | None:
    """A scan in the space of another; None where it is unlike it even then."""
    try:
        return brought(image, grid, template, target)
    except InputError:
        return None


def _affine(fixed: Any, moving: Any) -> Any:
    """From the template's world to the scan's: first the centres of mass, then twelve parameters."""
    import SimpleITK as sitk  # noqa: N813

    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-2, ROUNDS, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _itk(image: NDArray[np.float32], grid: Grid) -> Any:
    import SimpleITK as sitk  # noqa: N813

    made = sitk.GetImageFromArray(np.ascontiguousarray(image.T, dtype=np.float32))
    affine = LPS @ grid.affine
    made.SetSpacing([float(size) for size in grid.spacing])
    made.SetOrigin([float(mm) for mm in affine[:3, 3]])
    made.SetDirection((affine[:3, :3] / np.array(grid.spacing)).ravel().tolist())
    return made
