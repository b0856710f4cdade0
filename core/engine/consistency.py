"""A restored image is brought to agree with its scan, whatever made it.

image x --A--> the scan as it would be --y - A x--> what the scan says beyond it --W--> smooth correction --+ x--> repaired image
"""

from __future__ import annotations

import numpy as np

from core.geometry.grid import Array, Grid
from core.methods.base import Measured, Method
from core.operators.forward_model import ForwardModel
from core.operators.repair import CORRECTION, LEAST, correction

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
    unit = CORRECTION * measured.stats.upper
    operator = measured.operator(target)
    seen = operator.forward(np.ones(target.shape, np.float32)) > COVERED  # neither in a mask nor outside the image
    left = np.where(seen, measured.image - operator.forward(image), np.float32(0)) / np.float32(unit)
    added = correction(operator, np.asarray(left, np.float32), float(np.hypot(LEAST, measured.stats.noise_sd / unit)))
    low = min(float(image.min()), measured.stats.minimum)
    high = max(float(image.max()), measured.stats.maximum)
    return np.clip(image + np.float32(unit) * added, np.float32(low), np.float32(high))
