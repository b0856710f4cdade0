"""Operators that leave voxels out: slices that were not acquired, lesions that are to be filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Triple
from core.operators.linear import Mask, Separable
from core.operators.profile import decimation_matrix


def slice_mask(shape: Triple, axis: int, keep_one_in: int, phase: int = 0) -> Mask:
    """Keep the slices ``phase, phase + keep_one_in, ...`` at their places and zero the others (InverseSR, section 3.3).

    Args:
        shape: of the image.
        axis: across the slices.
        keep_one_in: distance of the kept slices, at least 1.
        phase: the first kept slice, 0 to ``keep_one_in - 1``.

    Raises:
        GridError: for a phase outside its range.
    """
    kept = decimation_matrix(shape[axis], keep_one_in, phase).any(axis=0)
    return Mask(np.expand_dims(kept, [other for other in range(3) if other != axis]), shape)


def slice_decimation(shape: Triple, axis: int, keep_one_in: int, phase: int = 0) -> Separable:
    """Keep the slices of ``slice_mask`` and drop the others: the image becomes thinner.

    With a phase of 0 the result lies on ``Grid.refine(axis, Fraction(1, keep_one_in), "decimation")``.

    Args:
        shape: of the image.
        axis: across the slices.
        keep_one_in: distance of the kept slices, at least 1.
        phase: the first kept slice, 0 to ``keep_one_in - 1``.

    Raises:
        GridError: for a phase outside its range.
    """
    dropped = decimation_matrix(shape[axis], keep_one_in, phase)
    x, y, z = (dropped if at == axis else np.eye(n) for at, n in enumerate(shape))
    return Separable((x, y, z))


def lesion_mask(lesion: NDArray[np.bool_]) -> Mask:
    """Zero a lesion, keep all else.

    Args:
        lesion: boolean (x, y, z), True in the lesion.
    """
    x, y, z = lesion.shape
    return Mask(~lesion, (x, y, z))
