"""Where the brain is, by thresholds and balls: good enough to learn intensities and volumes from, no segmentation.

    stripped   above 0.45 of its median, the largest piece, closed by a ball of 8 mm, holes filled, grown by 4 mm where the scan
               is not 0: where brain ends, and the fluid about it and in its sulci by shape alone. How bright fluid and the
               border's partial voxels are is the scanner's doing: a threshold among them moves the border, and volumes and
               percentiles with it; without them there is too little fluid to fit a class to
    head       above 0.9 of Otsu's threshold, opened by a ball of 5 mm, which cuts the bridges to scalp and face, closed and grown
               likewise, the last 2 mm where the scan is dark: fluid, but for T2w, where bone would be taken for it

        threshold  ->  deeper than 5 mm  ->  largest piece  ->  grown by 7 mm  ->  closed  ->  holes filled  ->  2 mm of fluid

On 8 heads at 2 mm the volume is 1.1 to 1.45 litres, cerebellum included. Where less than half a litre is found (fat is
far brighter than the brain, as after contrast agent), Otsu's threshold of what is darker is taken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Box, Grid
from core.stats import foreground_threshold
from core.tissues import CSF, DARK_TO_BRIGHT, Contrast

Kept = NDArray[np.bool_]

FAINT = 0.2  # of Otsu's threshold: fluid in a stripped brain is above, ringing at its border below
BORDER = 0.45  # of a stripped brain's median: dark fluid and the border's partial voxels are below
CLOSED = 8.0  # mm: sulci are narrower
AROUND = 4.0  # mm of fluid about a brain
TISSUE = 0.9  # of Otsu's threshold: fluid between brain and skull is below
OPENED = 5.0  # mm
GROWN = 2.0  # mm more than was taken away: the border's partial voxels
COARSE = 2.0  # mm: voxels in which a scan is looked at with balls
SMALL = 0.5  # litres, below which a head is looked at again
LEAST = 0.05  # litres, below which nothing was found


def brain(image: Array, grid: Grid, *, stripped: bool, contrast: Contrast = "T1w") -> Kept:
    """Where the brain is.

    Args:
        image: finite float32 (x, y, z).
        grid: its grid.
        stripped: whether all but the brain was set to zero.
        contrast: says whether fluid is dark.

    Returns:
        True in the brain, of the image's shape.

    Raises:
        InputError: brain-not-found, where what is left is below 0.05 litres.
    """
    mask = _of_stripped(image, grid) if stripped else _of_head(image, grid, contrast)
    litres = float(np.count_nonzero(mask)) * math.prod(grid.spacing) / 1e6
    if litres < LEAST:
        remedy = "check the scan, or leave it out"
        raise InputError("brain-not-found", f"a brain of at least {LEAST} litres", f"{litres:.3g} litres", remedy)
    return mask


def found_anew(image: Array, grid: Grid, known: Kept, *, stripped: bool) -> Kept:
    """Where the brain is in a scan that was made alike others: of a stripped one by the threshold of all; of a head where it was.

    A head's threshold depends on how bright fat is beside the brain, which is not made alike, and the ball that cuts the bridges
    makes a little of it much: of 8 heads made as bright as others a brain lost 3 to 27 % or gained 35.

    Args:
        image: finite float32 (x, y, z).
        grid: its grid.
        known: True in the brain of the scan before.
        stripped: whether all but the brain was set to zero.
    """
    return _of_stripped(image, grid) if stripped else known


def _of_stripped(image: Array, grid: Grid) -> Kept:
    bright = image[image > FAINT * foreground_threshold(image)]
    mask = _largest_filled(image > BORDER * (float(np.median(bright)) if bright.size else 0.0))
    return _with_rim(_closed(mask, grid), grid, AROUND) & (image > 0)


def _closed(mask: Kept, grid: Grid) -> Kept:
    """The mask closed, its holes filled."""
    from scipy.ndimage import distance_transform_edt

    steps, spacing = _coarse(grid)
    beyond = [math.ceil(CLOSED / size) + 1 for size in spacing]
    coarse = np.pad(mask[:: steps[0], :: steps[1], :: steps[2]], [(n, n) for n in beyond])
    grown = distance_transform_edt(~coarse, sampling=spacing) <= CLOSED
    closed = distance_transform_edt(grown, sampling=spacing) > CLOSED
    x, y, z = (slice(n, -n) for n in beyond)
    return _largest_filled(mask | _refined(closed[x, y, z], steps, mask.shape))


def _with_rim(tissue: Kept, grid: Grid, rim: float) -> Kept:
    """The mask and so many mm about it; an empty one is left."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~tissue, sampling=grid.spacing) <= rim, np.bool_) if tissue.any() else tissue


def _coarse(grid: Grid) -> tuple[list[int], list[float]]:
    """Of how many voxels one is looked at, an axis, and how far these lie from each other in mm."""
    steps = [max(1, round(COARSE / size)) for size in grid.spacing]
    return steps, [step * size for step, size in zip(steps, grid.spacing, strict=True)]


def _largest_filled(mask: NDArray[Any]) -> Kept:
    """The largest connected piece, its holes filled."""
    from scipy.ndimage import binary_fill_holes, label

    pieces, count = label(mask)
    if count > 1:
        mask = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    return np.asarray(binary_fill_holes(mask), np.bool_)


def _of_head(image: Array, grid: Grid, contrast: Contrast) -> Kept:
    """The brain of a head; where fat is so bright that Otsu's threshold falls between it and the brain, from the darker rest."""
    threshold = foreground_threshold(image)
    mask = _opened(image, grid, TISSUE * threshold)
    if float(np.count_nonzero(mask)) * math.prod(grid.spacing) / 1e6 < SMALL:
        threshold = foreground_threshold(np.where(image <= threshold, image, np.float32(0)))
        mask = _opened(image, grid, TISSUE * threshold)
    whole = _closed(mask, grid)
    if DARK_TO_BRIGHT[contrast][0] != CSF:
        return whole
    return whole | (_with_rim(whole, grid, AROUND - GROWN) & (image < TISSUE * threshold))


def _opened(image: Array, grid: Grid, threshold: float) -> Kept:
    from scipy.ndimage import distance_transform_edt

    steps, spacing = _coarse(grid)
    coarse = image[:: steps[0], :: steps[1], :: steps[2]]
    tissue = np.pad(coarse > threshold, 1)
    deep = distance_transform_edt(tissue, sampling=spacing) > OPENED
    if not deep.any():
        return np.zeros(image.shape, np.bool_)
    grown = distance_transform_edt(~_largest_filled(deep), sampling=spacing) <= OPENED + GROWN
    return _refined(_largest_filled(grown)[1:-1, 1:-1, 1:-1], steps, image.shape)


def _refined(mask: Kept, steps: list[int], shape: tuple[int, ...]) -> Kept:
    for axis, step in enumerate(steps):
        mask = mask.repeat(step, axis)
    x, y, z = shape
    return np.asarray(mask[:x, :y, :z])


def bounds(mask: Kept) -> Box:
    """The smallest box around a mask that is not empty."""
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    (a, b, c), (d, e, f) = ([int(end[0]) for end in ends], [int(end[-1]) + 1 for end in ends])
    return Box((a, b, c), (d, e, f))


def common_view(grid: Grid, mask: Kept, extent: tuple[float, float, float]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many voxels to add at the start and at the end of each axis (negative: to cut) for a field of view of ``extent``.

    ```
    scan     |-------(brain)-|              the box is centred on the middle of the brain's bounds, by whole voxels:
    view          |--(brain)---|            nothing is interpolated
    ```

    Args:
        grid: of the scan.
        mask: True in the brain, not empty.
        extent: mm an axis.
    """
    box = bounds(mask)
    before, after = [], []
    for axis, (size, wanted) in enumerate(zip(grid.spacing, extent, strict=True)):
        count = max(1, round(wanted / size))
        start = (box.start[axis] + box.stop[axis] - count) // 2
        before.append(-start)
        after.append(count + start - grid.shape[axis])
    return tuple(before), tuple(after)


def view(image: NDArray[Any], before: tuple[int, ...], after: tuple[int, ...]) -> NDArray[Any]:
    """The image with so many voxels of 0 more at the start and the end of each axis, or so many fewer."""
    cut = tuple(slice(max(0, -b), n - max(0, -a)) for b, a, n in zip(before, after, image.shape, strict=True))
    added = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    return np.ascontiguousarray(np.pad(image[cut], added))
