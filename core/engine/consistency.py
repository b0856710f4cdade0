"""A restored image is brought to agree with its scan, whatever made it.

image x --A--> the scan as it would be --y - A x--> what the scan says beyond it --W--> smooth correction --+ x--> repaired image

A scan without values below 0 is explained by an image without any. Images that explain it and images without are two convex sets;
what lies in both is come to by turns (von Neumann; Bauschke & Borwein 1996).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from core.banding import evened
from core.geometry.grid import Array, Grid
from core.methods.base import Measured, Method
from core.methods.shown import without_masked
from core.operators.forward_model import ForwardModel
from core.operators.linear import Kept, LinearOperator, Separable
from core.operators.repair import CORRECTION, LEAST, Goal, correction, explained
from core.stats import head_threshold

COVERED = 0.99  # of what a voxel of the scan sees, that must lie in the image for the two to be compared
CLIPPED = 1e-6  # of an image's range: how near its ends a voxel is that was clipped there
SEES = 1e-3  # of what a voxel of the scan sees
CUTS = 2  # times that an image is corrected and cut again; of a sharp head by then it agrees with its scan as it did uncut
REVISION = 3  # of the repair; raised where its numbers change, it makes anew all scans that are repaired
AGREES = "nothing to repair: it agrees with the scan to within its noise"


@dataclass(frozen=True)
class Repair:
    """What became of an image that was held against its scan.

    Attributes:
        image: float32.
        rounds: of conjugate gradients that were made; None where there is a closed form.
        unneeded: why nothing was added to it; empty where something was.
    """

    image: Array
    rounds: int | None
    unneeded: str = ""


def unrepaired(method: Method, forward: ForwardModel) -> str:
    """Why an image is left as its method made it; empty where it is brought to agree with its scan."""
    if not forward.linear:
        why = "has another contrast than the anatomy" if forward.needs_tissues else "came about by draws that it does not tell"
        return f"the scan {why} ({forward.describe()})"
    return "" if method.keeps_contrast else f"{method.name} makes another contrast than the scan's"


def explained_by(method: Method, measured: Measured) -> Measured:
    """The scan that a restored image explains: as measured, without its banding where the method takes that out.

    Args:
        method: that made the image.
        measured: the whole scan.
    """
    if not method.evens:
        return measured
    return replace(measured, image=evened(measured.image, measured.grid, measured.stats)[0])


def repaired(image: Array, target: Grid, measured: Measured) -> Array:
    """The image of ``repair_of``."""
    return repair_of(image, target, measured).image


def repair_of(image: Array, target: Grid, measured: Measured) -> Repair:
    """The image with the most probable smooth correction that explains its scan, see ``core.operators.repair``.

    The result goes nowhere beyond the values of the image and the scan, and nowhere below 0 where the scan does not. What is cut
    off there is missing from the scan as it would be, so that the rest is corrected and cut again. What lies in the scan's mask
    has no say in any of this.

    Args:
        image: float32, on ``target``.
        target: its grid.
        measured: the whole scan that was restored.

    Returns:
        of ``target.shape``; of ``image`` itself where the scan has no values above 0.
    """
    measured = replace(measured, stats=without_masked(measured).stats)
    if measured.stats.upper <= 0:
        return Repair(image, None, "the scan has no values above 0")
    operator, (unit, noise) = measured.operator(target), _unit(measured)
    seen = _seen(operator)
    goal = _goal(operator, measured, seen)
    low = 0.0 if measured.stats.minimum >= 0 else min(float(image.min()), measured.stats.minimum)
    high = max(float(image.max()), measured.stats.maximum)
    rounds: int | None = None
    made = image
    for _ in range(1 + CUTS):
        left = np.where(seen, measured.image - operator.forward(made), np.float32(0)) / np.float32(unit)
        added, more = correction(operator, np.asarray(left, np.float32), noise, goal)
        rounds = more if rounds is None or more is None else rounds + more
        corrected = made + np.float32(unit) * added
        made = np.clip(corrected, np.float32(low), np.float32(high))
        if float(corrected.min()) >= low:
            break
    return Repair(made, rounds, AGREES if rounds == 0 else "")


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
    return np.asarray(left - explained_by_repair(left, target, measured), np.float32)


def explained_by_repair(left: Array, target: Grid, measured: Measured) -> Array:
    """What the repair of an image would explain of ``left``; arguments and result are as of ``left_by_repair``."""
    if measured.stats.upper <= 0:
        return np.zeros_like(left)
    operator, (unit, noise) = measured.operator(target), _unit(measured)
    seen = _seen(operator)
    scaled = np.where(seen, left, np.float32(0)) / np.float32(unit)
    goal = _goal(operator, measured, seen)
    return np.float32(unit) * explained(operator, np.asarray(scaled, np.float32), noise, goal)


def explained_again(image: Array, residual: Array, target: Grid, measured: Measured) -> Array:
    """What a second repair of an image would take from it or add to it, as the scan sees it.

    A repair leaves nothing smooth, so that this is small of an image that was not touched since. Where voxels of the image lie at
    an end of its range the repair was clipped, and what would take them beyond is not counted.

    Args:
        image: float32, on ``target``, repaired.
        residual: A x - y, float32, on the scan's grid.
        target: grid of the image.
        measured: the whole scan.

    Returns:
        float32, on the scan's grid; above 0 where the image is brighter than the scan.
    """
    again, operator = explained_by_repair(residual, target, measured), measured.operator(target)
    low, high = float(image.min()), float(image.max())
    lowest, highest = image <= low + CLIPPED * (high - low), image >= high - CLIPPED * (high - low)
    clipped = (_beside(operator, lowest) & (again > 0)) | (_beside(operator, highest) & (again < 0))
    return np.where(clipped, np.float32(0), again)


def _beside(operator: LinearOperator, voxels: Kept) -> Kept:
    """The voxels of the scan that see a voxel of the image, or one beside it."""
    from scipy.ndimage import maximum_filter

    near = maximum_filter(voxels.astype(np.uint8), 3).astype(np.float32)
    return np.asarray(operator.forward(near) > SEES)


def _unit(measured: Measured) -> tuple[float, float]:
    """The correction's standard deviation, and the noise in units of it."""
    unit = CORRECTION * measured.stats.upper
    return unit, float(np.hypot(LEAST, measured.stats.noise_sd / unit))


def _goal(operator: LinearOperator, measured: Measured, seen: Kept) -> Goal | None:
    """The noise, over the voxels of the head that the image is held against; None where W has a closed form."""
    if isinstance(operator, Separable):
        return None
    threshold = head_threshold(np.where(seen, measured.image, np.float32(0)), measured.stats)
    return Goal(measured.stats.noise_sd / _unit(measured)[0], seen & (measured.image > threshold))


def _seen(operator: LinearOperator) -> Kept:
    """The voxels of the scan that are neither in a mask nor outside the image."""
    return np.asarray(operator.forward(np.ones(operator.shape_in, np.float32)) > COVERED)
