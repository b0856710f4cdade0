"""The bias field of a scan by N4 (Tustison et al., IEEE Transactions on Medical Imaging 29, 2010), as SimpleITK has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid

Kept = NDArray[np.bool_]

COARSE = 6.0  # mm: voxels that the field is fitted on
ROUNDS = (50, 50, 30)  # of the three levels
POINTS = 4  # of the splines, an axis, at the first level
LARGEST = 1.0  # logarithm, either way: beyond the brain splines run away


def bias_field(image: Array, mask: Kept, grid: Grid) -> Array:
    """The field that multiplied a scan; its mean logarithm in the brain is 0.

    Args:
        image: finite float32 (x, y, z).
        mask: True in the brain; the fit looks at nothing else, and at voxels above 0 alone.
        grid: of both.

    Returns:
        float32 of the image's shape, above 0; the same bytes for the same bytes, on one thread.
    """
    import SimpleITK as sitk  # noqa: N813 - as its pages name it

    within = mask & (image > 0)
    whole, brain = (_itk(array, grid) for array in (np.maximum(image, np.float32(0)), within.astype(np.uint8)))
    steps = [max(1, round(COARSE / size)) for size in grid.spacing]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(list(ROUNDS))
    n4.SetNumberOfControlPoints([POINTS] * 3)
    n4.Execute(sitk.Shrink(whole, steps), sitk.Shrink(brain, steps))
    logs = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(whole)).T.astype(np.float32)
    logs -= logs[within].mean(dtype=np.float64).astype(np.float32)
    return np.asarray(np.exp(np.clip(logs, -LARGEST, LARGEST)), np.float32)


def _itk(array: NDArray[np.generic], grid: Grid) -> object:
    import SimpleITK as sitk  # noqa: N813 - as its pages name it

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing([float(size) for size in grid.spacing])
    return image
