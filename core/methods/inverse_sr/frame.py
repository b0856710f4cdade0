"""The prior's frame and the scan's own: where the prior's window lies in the scan's world, and the way back.

    window, MNI mm --rigid--> the same voxels in the scan's world --A of the scan--> scan      only the prior's images live in it
    restored window --one interpolation--> target grid, measured voxels put back as they are

The scan itself is never resampled. Its operator maps between grids in any directions, so moving the window moves the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import RestorationError
from core.geometry.grid import Array, Grid, Points
from core.geometry.resample import interpolate
from core.methods.base import Measured
from core.models.scaling import background
from core.operators.linear import Compose, Kept, Mask, Separable
from core.stats import foreground_threshold

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # world axes of SimpleITK as those of NIfTI
BINS = 48  # of the joint histogram
SAMPLED = 0.2  # share of the voxels that the registration looks at
LEVELS = ((4, 4.0), (2, 2.0), (1, 1.0))  # subsampling, and smoothing in voxels
ALIKE = 0.4  # correlation of scan and mean brain from which they count as registered
INSIDE = 0.75  # share of the scan's foreground that must lie in the window
SEED = 1
NO_HEAD = "check its contrast and header, or say register_scan=false where it is"  # what can be done


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the prior's window lies in the scan's world.

    Attributes:
        window: grid of the prior's images, in mm of the scan's world.
        likeness: correlation of the scan with the prior's mean over the window; None where it was not registered.
    """

    window: Grid
    likeness: float | None = None

    def holds(self, grid: Grid) -> Kept:
        """Which voxels of a grid have their centres in the window."""
        between = np.linalg.solve(self.window.affine, grid.affine)
        x, y, z = (np.arange(n, dtype=np.float64) for n in grid.shape)
        held = np.ones(grid.shape, np.bool_)
        for axis, n in enumerate(self.window.shape):
            a, b, c, first = between[axis]
            place = first + a * x[:, None, None] + b * y[None, :, None] + c * z[None, None, :]
            held &= (place >= -0.5) & (place <= n - 0.5)
        return held

    def bring(self, image: Array, target: Grid, elsewhere: Array) -> Array:
        """An image of the window on another grid, by one cubic interpolation.

        Args:
            image: float32 on the window.
            target: in the scan's world.
            elsewhere: on ``target``, what is told outside the window.
        """
        padded = np.pad(image, 2, mode="edge")  # interpolation takes what lies outside for 0
        brought = interpolate(padded, self.window.pad((2, 2, 2), (2, 2, 2)), target, 3)
        return np.where(self.holds(target), brought, elsewhere)


def moved(window: Grid, rigid: NDArray[np.float64]) -> Grid:
    """A window with its voxels moved by a rigid transform of the world, 4x4."""
    return Grid(window.shape, rigid @ window.affine)


def foreground_inside(scan: Measured, frame: Frame) -> float:
    """Share of a scan's foreground that lies in the window."""
    bright = np.asarray(scan.image > foreground_threshold(scan.image))
    there = int(np.count_nonzero(bright & frame.holds(scan.grid)))
    return there / max(1, int(np.count_nonzero(bright)))


def registered(scan: Measured, template: Array, window: Grid) -> Frame:
    """Where the window of the prior lies in a scan's world, by a rigid registration of its mean image.

    Args:
        scan: to which the window is moved.
        template: the prior's mean image, float32 on ``window``.
        window: in mm of the prior's world (MNI).

    Raises:
        RestorationError: not-registered, outside-prior.
    """
    above_air = scan.image - np.float32(background(scan.stats))
    frame = Frame(moved(window, rigid_between(template, window, above_air, scan.grid)))
    likeness = _likeness(scan, template, frame)
    if likeness < ALIKE:
        wanted, got = f"a scan whose correlation with the prior's mean is at least {ALIKE}", f"{likeness:.2f}"
        raise RestorationError("not-registered", wanted, got, NO_HEAD)
    inside = foreground_inside(scan, frame)
    if inside < INSIDE:
        wanted, got = f"at least {INSIDE:.0%} of the head in the prior's window", f"{inside:.0%}"
        raise RestorationError("outside-prior", wanted, got, "choose a prior of whole heads, or another method")
    return Frame(frame.window, likeness)


def _likeness(scan: Measured, template: Array, frame: Frame) -> float:
    """Correlation of the template, seen at the scan's voxels, with the scan, over the window."""
    from core.operators.trilinear import resample

    seen, held = resample(frame.window, scan.grid).forward(template), frame.holds(scan.grid)
    if np.count_nonzero(held) < 2:
        return 0.0
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.corrcoef(seen[held], scan.image[held])[0, 1]))


def rigid_between(fixed: Array, fixed_grid: Grid, moving: Array, moving_grid: Grid) -> NDArray[np.float64]:
    """The rigid transform, 4x4 in mm, from the world of one image to that of another, by mutual information (SimpleITK).

    One thread and a seed of its own: the same images give the same bits.

    Args:
        fixed: image whose air is 0.
        fixed_grid: of it.
        moving: likewise; what is below 0 is taken for air, for the search begins where the centres of mass meet.
        moving_grid: of it.

    Raises:
        RestorationError: not-registered, for images that share nothing.
    """
    import SimpleITK as sitk  # noqa: N813 - as its users call it

    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        target, source = _itk(fixed, fixed_grid), _itk(np.maximum(moving, 0), moving_grid)
        start = sitk.CenteredTransformInitializer(
            target, source, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
        transform = _method(start).Execute(target, source)
    except RuntimeError as error:
        wanted, got = "a scan in which a brain can be found", str(error).strip().splitlines()[-1]
        raise RestorationError("not-registered", wanted, got, NO_HEAD) from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    corners: Points = np.vstack([np.zeros(3), np.eye(3)])
    places = np.array([transform.TransformPoint(tuple(point)) for point in corners])
    between = np.eye(4)
    between[:3, :3], between[:3, 3] = (places[1:] - places[0]).T, places[0]
    return np.asarray(LPS @ between @ LPS)


def _method(start: Any) -> Any:
    """A registration from ``start``: mutual information, three resolutions."""
    import SimpleITK as sitk  # noqa: N813

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 100, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransform(start, inPlace=False)
    return method


def _itk(image: Array, grid: Grid) -> Any:
    import SimpleITK as sitk  # noqa: N813

    made = sitk.GetImageFromArray(np.ascontiguousarray(image.T, dtype=np.float32))
    affine = LPS @ grid.affine
    made.SetSpacing(grid.spacing)
    made.SetOrigin(tuple(affine[:3, 3]))
    made.SetDirection((affine[:3, :3] / np.array(grid.spacing)).ravel().tolist())
    return made


# -- measured voxels ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Picked:
    """Voxels of the target grid that a scan measured as they are.

    Attributes:
        scan: the scan.
        places: along each axis the target voxel of each measured one.
    """

    scan: Measured
    places: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

    def put(self, image: Array, value: float | None = None) -> Array:
        """The image with the scan's voxels in their places, or ``value`` there; those in its mask stay as restored."""
        image, index, missing = image.copy(), np.ix_(*self.places), self.scan.mask
        measured = self.scan.image if value is None else np.full_like(self.scan.image, value)
        image[index] = measured if missing is None else np.where(missing, image[index], measured)
        return image

    @cached_property
    def across(self) -> int:
        """The axis along which fewest of the target's voxels were measured."""
        return min(range(3), key=lambda axis: len(self.places[axis]) / (int(self.places[axis].max()) + 1))


def picked(scan: Measured, target: Grid) -> Picked | None:
    """The voxels of a scan as voxels of the target grid; None where a voxel of the scan is no voxel of the target.

    That is so of dropped slices and of sharp scans on their own grid, and never of averages over thick slices.
    """
    seen = scan.operator(target)
    if isinstance(seen, Compose) and len(seen.steps) == 2 and isinstance(seen.steps[1], Mask):
        seen = seen.steps[0]
    if not isinstance(seen, Separable) or not all(((rows == 1).sum(axis=1) == 1).all() for rows in seen.matrices):
        return None
    x, y, z = (rows.argmax(axis=1) for rows in seen.matrices)
    return Picked(scan, (x, y, z))


def seam(image: Array, measured: Picked) -> float:
    """Mean absolute difference across the faces of measured slices, relative to that between restored slices.

    About 1 where measured and restored slices go over into one another; 1 where all slices touch measured ones, or none does.
    """
    axis = measured.across
    steps = np.abs(np.diff(image, axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64)
    places = measured.places[axis]
    touching = np.zeros(len(steps), np.bool_)
    touching[places[places < len(steps)]] = True
    touching[places[places > 0] - 1] = True
    if touching.all() or not touching.any() or not (elsewhere := float(steps[~touching].mean())):
        return 1.0
    return float(steps[touching].mean()) / elsewhere
