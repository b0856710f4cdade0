"""What a restored scan leaves of the measured one and adds to it, against cubic interpolation of the same scan.

With r = A x - y, r0 that of cubic interpolation (repaired, where the image was), and s the noise:

    consistency_ratio   rms(r) / rms(r0)                            noise that was added, few grey levels
    slice_ratio         the same of one slice, the largest           a slice repeated, swapped, darker than it was
    cluster_ratio       |sum of r / l under a Gaussian|, largest,     a lesion invented or erased
                        over that of r0; l: see ``residual_ratios``
    again_ratio         rms(e) / rms(e0), where e is what a second    noise that was added
                        repair would explain of r, and e0 of r0
    spot_ratio          |sum of e / l under a Gaussian|, largest,     a small lesion invented or erased
                        over that of e0
    blur                detail of cubic within the slices over x's and the noise's
    grain               detail of x within the slices over cubic's  noise
    across              the same across the slices, x's over cubic's  stripes between slices
    stripes             how much planes are brighter and darker in turn   stripes within slices
    repeated            q of a usual plane over the least, where q is the RMS difference of two neighbouring planes of x over
                        cubic's                                      a plane repeated
    levels              distinct values of y over those of x         few grey levels

Detail is the RMS of second differences. Sharp anatomy has more of it than cubic interpolation, the more the thicker the slices:
``core.engine.quality.usual_detail``, by which ``grain`` and ``across`` are divided before limits are applied. Denominators have
floors in units of the noise, so that a scan that cubic interpolation explains to the last bit flags nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.operators.linear import Kept

WIDTHS = (5.0, 9.0, 14.0)  # mm: full widths at half maximum of the Gaussians under which r is summed
SPOT = 4.0  # mm: likewise, of what a second repair would explain
SIGMA = 2.3548200450309493  # full widths at half maximum to standard deviations
MOST = 100.0  # that a plane is told to differ less than usual
BLOCK_MM = 24.0  # edge of the cubes over which r0 says how large it is there
STEEP = 0.01  # of the range of a voxel and its neighbours: beside a bright vessel what is left depends on how one interpolates
LEAST_CLUSTER = 4.0  # white noise gives 4 to 5 over a head
LEAST_SPOT, LEAST_AGAIN = 1.0, 0.1  # good restorations leave 0.3 to 2.5, and 0.03 to 0.3 of the noise
SECOND_DIFFERENCE = 6.0  # variance of a - 2 b + c of white noise of variance 1
SATURATED = 0.05  # of the scan's range: what is so near its maximum a restored image, which stays within it, may fail to reach
LEAST_VOXELS = 100  # of the head, for a slice to be looked at
FAINT = 0.2  # of the usual difference of planes, below which they are looked at no further: air, or a head's end
TURNS = np.array([1, -1, 1, -1]) / 8
SAMPLED = 1 << 18  # voxels of which the distinct values are counted


@dataclass(frozen=True)
class Floors:
    """What the denominators are at least, in standard deviations of the noise.

    Attributes:
        whole: of a slice's or a scan's RMS.
        local: of the RMS within 24 mm, for clusters.
        spot: likewise, for spots of what a second repair would explain.
    """

    whole: float
    local: float
    spot: float


AS_MADE = Floors(1.0, 1.0, 1.0)  # the truth itself leaves the noise
REPAIRED = Floors(0.4, 0.75, 0.5)  # repaired, the truth leaves 0.7 of it, where cubic interpolation leaves 0.2


@dataclass(frozen=True)
class Again:
    """What a second repair would explain of what is left of a scan; see ``core.engine.consistency.explained_again``.

    Attributes:
        residual: e, float32 (x, y, z), of the restored image's.
        cubic: e0, of cubic interpolation's.
    """

    residual: Array
    cubic: Array


def residual_ratios(
    residual: Array,
    cubic: Array,
    scan: Array,
    inside: Kept,
    grid: Grid,
    noise_sd: float,
    floors: Floors,
    again: Again | None = None,
) -> dict[str, float]:
    """How much larger what is left of a scan is than what cubic interpolation leaves.

    Clusters are sums of r / l, where l^2 is the mean square of r0 within 24 mm, of the noise, and of a hundredth of the range of
    a voxel and its neighbours. Voxels near the scan's maximum count only where they became brighter.

    Args:
        residual: float32 (x, y, z), A x - y.
        cubic: that of cubic interpolation.
        scan: y.
        inside: the voxels of the head.
        grid: of the scan.
        noise_sd: of the scan.
        floors: see there.
        again: of images that were repaired.

    Returns:
        "consistency_ratio", "slice_ratio" and "cluster_ratio", with ``again`` "again_ratio" and "spot_ratio"; 0 each where there
        is no head.
    """
    if not inside.any():
        more = () if again is None else ("again_ratio", "spot_ratio")
        return dict.fromkeys(("consistency_ratio", "slice_ratio", "cluster_ratio", *more), 0.0)
    floor = floors.whole * noise_sd
    residual, cubic = _reachable(residual, scan), _reachable(cubic, scan)
    whole = _rms(residual[inside]) / float(np.hypot(_rms(cubic[inside]), floor))
    nearby = _local_squares(cubic, grid) + np.square(np.float32(STEEP) * _range(scan))
    level, level_of_spots = (np.sqrt(nearby + np.float32(least * noise_sd) ** 2) for least in (floors.local, floors.spot))
    held, before = (np.where(inside, each / level, np.float32(0)) for each in (residual, cubic))
    clusters = [_largest(held, grid, mm) / max(_largest(before, grid, mm), LEAST_CLUSTER) for mm in WIDTHS]
    return {
        "consistency_ratio": whole,
        "slice_ratio": _slices(residual, cubic, inside, grid, floor),
        "cluster_ratio": max(clusters),
        **({} if again is None else _again(again, level_of_spots, inside, grid, noise_sd)),
    }


def _again(again: Again, level: Array, inside: Kept, grid: Grid, noise_sd: float) -> dict[str, float]:
    """Figures of what a second repair would explain: a repair leaves nothing smooth, and small lesions and noise are."""
    pair = (again.residual, again.cubic)
    ours, theirs = (_rms(each[inside]) for each in pair)
    spot, usual = (_largest(np.where(inside, each / level, np.float32(0)), grid, SPOT) for each in pair)
    return {"again_ratio": ours / max(theirs, LEAST_AGAIN * noise_sd), "spot_ratio": spot / max(usual, LEAST_SPOT)}


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean())) if values.size else 0.0


def _local_squares(image: Array, grid: Grid) -> Array:
    from scipy.ndimage import uniform_filter

    size = [max(1, round(BLOCK_MM / step)) for step in grid.spacing]
    return np.asarray(np.maximum(uniform_filter(np.square(image), size), 0), np.float32)


def _range(scan: Array) -> Array:
    """How far apart a voxel and its 26 neighbours are."""
    from scipy.ndimage import maximum_filter, minimum_filter

    return np.asarray(maximum_filter(scan, 3) - minimum_filter(scan, 3))


def _reachable(residual: Array, scan: Array) -> Array:
    """The residual without what an image that stays within the scan's range cannot explain: slices darker than its brightest."""
    from scipy.ndimage import binary_dilation

    low, high = float(scan.min()), float(scan.max())
    bright = binary_dilation(scan > high - SATURATED * (high - low))
    return np.where(bright & (residual < 0), np.float32(0), residual)


def _largest(values: Array, grid: Grid, mm: float) -> float:
    """The largest magnitude of sums under a Gaussian, in standard deviations of those of white noise of variance 1."""
    from scipy.ndimage import correlate1d

    for axis, step in enumerate(grid.spacing):
        width = mm / SIGMA / step
        reach = int(np.ceil(3 * width))
        weights = np.exp(-((np.arange(-reach, reach + 1) / width) ** 2) / 2)
        values = correlate1d(values, weights / np.linalg.norm(weights), axis, mode="constant")
    return float(np.abs(values).max())


def _slices(residual: Array, cubic: Array, inside: Kept, grid: Grid, floor: float) -> float:
    """The largest RMS of a slice of the head over that of cubic interpolation."""
    axis = int(np.argmax(grid.spacing)) if grid.slice_axis is None else grid.slice_axis
    parts = zip(*(np.moveaxis(each, axis, 0) for each in (residual, cubic, inside)), strict=True)
    sizes = [(_rms(left[head]), _rms(before[head])) for left, before, head in parts if np.count_nonzero(head) >= LEAST_VOXELS]
    if not sizes:
        return 0.0
    usual = float(np.median([before for _, before in sizes]))
    least = max(floor, usual / 5)
    return max(left / float(np.hypot(before, least)) for left, before in sizes)


def detail_ratios(image: Array, cubic: Array, across: int | None, noise_sd: float) -> dict[str, float]:
    """How the detail of an image compares with that of cubic interpolation.

    Args:
        image: float32 (x, y, z).
        cubic: of the same shape.
        across: the axis across the slices; None where there is none: all are within them.
        noise_sd: of the scan; an image without its noise is not blurred.

    Returns:
        "blur", "grain" and "across"; 1 where nothing can be told.
    """
    pairs = [(_detail(image, axis), _detail(cubic, axis)) for axis in range(3)]
    ratios = [here / before if before > 0 else 1.0 for here, before in pairs]
    noise = math.sqrt(SECOND_DIFFERENCE) * noise_sd
    lost = [before / math.hypot(here, noise) for axis, (here, before) in enumerate(pairs) if axis != across]
    return {
        "blur": max(lost),
        "grain": max(ratio for axis, ratio in enumerate(ratios) if axis != across),
        "across": 1.0 if across is None else ratios[across],
    }


def repeated_planes(image: Array, cubic: Array, axis: int, ends: int) -> float:
    """How much less two neighbouring planes of an image differ than planes usually do, each relative to cubic interpolation's.

    Args:
        image: float32 (x, y, z).
        cubic: of the same shape.
        axis: across the planes.
        ends: planes at either end that are not looked at: beyond the outermost slices' centres nothing was measured.

    Returns:
        about 1; far above where one plane repeats its neighbour; 1 where most planes do, as in nearest neighbours.
    """
    ours, theirs = (_differences(each, axis)[ends : max(image.shape[axis] - 1 - ends, ends)] for each in (image, cubic))
    looked_at = theirs > FAINT * np.median(theirs[theirs > 0]) if (theirs > 0).any() else theirs > 0
    ratios = ours[looked_at] / theirs[looked_at]
    usual = float(np.median(ratios)) if ratios.size else 0.0
    return usual / max(float(ratios.min()), usual / MOST) if usual > FAINT / MOST else 1.0


def stripes(image: Array, axis: int, ends: int) -> float:
    """How much planes are brighter and darker in turn: the amplitude, as a share of their brightness, of the worst four planes.

    A plane's brightness g is that relative to the mean b of its two neighbours, <x, b> / <b, b> - 1. The amplitude of four planes
    in a row is |g1 - g2 + g3 - g4| / 8, small for all that changes more slowly than from plane to plane.

    Args:
        image: float32 (x, y, z).
        axis: across the planes.
        ends: as for ``repeated_planes``.

    Returns:
        0 where there are not planes enough.
    """
    planes = np.moveaxis(image, axis, 0)[ends : image.shape[axis] - ends]
    three = zip(planes, planes[1:], planes[2:], strict=False)
    means = ((plane, (before + after).astype(np.float64) / 2) for before, plane, after in three)
    products = np.array([(np.vdot(plane, mean), np.vdot(mean, mean)) for plane, mean in means]).reshape(-1, 2)
    bright = products[:, 1] > FAINT**2 * np.median(products[:, 1]) if products.any() else np.zeros(len(products), np.bool_)
    gains = np.zeros(len(products))
    gains[bright] = products[bright, 0] / products[bright, 1] - 1
    return float(np.abs(np.convolve(gains, TURNS, "valid")).max()) if len(gains) >= len(TURNS) else 0.0


def _differences(image: Array, axis: int) -> NDArray[np.float64]:
    """RMS difference of each plane from the next."""
    planes = np.moveaxis(image, axis, 0)
    return np.array([_rms(after - before) for before, after in pairwise(planes)], np.float64)


def grey_levels(image: Array, scan: Array) -> float:
    """Distinct values of a scan over those of what was restored of it, in samples of as many voxels.

    Args:
        image: float32, restored.
        scan: float32.

    Returns:
        at most about 1, far above where the image was quantised.
    """
    count = min(image.size, scan.size, SAMPLED)
    there, here = (np.unique(each.ravel()[:: each.size // count][:count]).size for each in (scan, image))
    return there / here


def _detail(image: Array, axis: int) -> float:
    """RMS of the second differences along an axis, plane by plane."""
    planes = np.moveaxis(image, 1 if axis == 0 else 0, 0)
    along = {0: 0, 1: 0, 2: 1}[axis]
    squares = [float(np.square(np.diff(plane, 2, axis=along), dtype=np.float64).sum()) for plane in planes]
    count = image.size // image.shape[axis] * max(image.shape[axis] - 2, 0)
    return float(np.sqrt(sum(squares) / count)) if count else 0.0
