"""A restored image is brought to agree with its scan, whatever made it.

image x --A--> the scan as it would be --y - A x--> what the scan says beyond it --W--> smooth correction --+ x--> repaired image
"""

from __future__ import annotations

import numpy as np

from core.geometry.grid import Array, Grid
from core.methods.base import Measured, Method
from core.operators.forward_model import ForwardModel
from core.operators.linear import Kept, LinearOperator
from core.operators.repair import CORRECTION, LEAST, correction, explained

COVERED = 0.99  # of what a voxel of the scan sees, that must lie in the image for the two to be compared


def unrepaired(method: Method, forward: ForwardModel) -> str:
    """Why an image is left as its method made it; empty where it is brought to agree with its scan."""
    if not forward.linear:
        return f"the scan has another contrast than the anatomy ({forward.describe()})"
    return "" if method.keeps_contrast else f"{method.name} makes another contrast than the scan's"


def repaired(image: Array, target: Grid, measured: Measured) -> Array:
    """The image with the most probable smooth correction that explains its scan, see ``core.operators.repair``.

    The result goes nowhere beyond the values of the image and the scan.

    Args:
        image: float32, on ``target``.
        target: its grid.
        measured: the whole scan that was restored.

    Returns:
        float32 of ``target.shape``; ``image`` itself where the scan has no values above 0.
    """
    if measured.stats.upper <= 0:
        return image
    operator, (unit, noise) = measured.operator(target), _unit(measured)
    left = np.where(_seen(operator), measured.image - operator.forward(image), np.float32(0)) / np.float32(unit)
    added = correction(operator, np.asarray(left, np.float32), noise)
    low = min(float(image.min()), measured.stats.minimum)
    high = max(float(image.max()), measured.stats.maximum)
    return np.clip(image + np.float32(unit) * added, np.float32(low), np.float32(high))


def left_by_repair(left: Array, target: Grid, measured: Measured) -> Array:
    """What the repair of an image would leave of ``left``, by the same closed form; its clipping is not looked at.

    Args:
        left: float32, y - A x or A x - y, on the scan's grid.
        target: grid of the image.
        measured: the whole scan.

    Returns:
        float32, on the scan's grid.
    """
    if measured.stats.upper <= 0:
        return left
    operator, (unit, noise) = measured.operator(target), _unit(measured)
    seen = np.where(_seen(operator), left, np.float32(0))
    added = explained(operator, np.asarray(seen / np.float32(unit), np.float32), noise)
    return np.asarray(left - np.float32(unit) * added, np.float32)


def _unit(measured: Measured) -> tuple[float, float]:
    """The correction's standard deviation, and the noise in units of it."""
    unit = CORRECTION * measured.stats.upper
    return unit, float(np.hypot(LEAST, measured.stats.noise_sd / unit))


def _seen(operator: LinearOperator) -> Kept:
    """The voxels of the scan that are neither in a mask nor outside the image."""
    return np.asarray(operator.forward(np.ones(operator.shape_in, np.float32)) > COVERED)
