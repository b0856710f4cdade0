r"""Whether a face can probably be seen in a scan: a warning, and never a change of the scan.

A face is tissue in front of the skull base, below the forehead, and as far forward as the forehead is. Where it was cut off, or
where all but the brain was, there is nothing:

       vertex ___                          The share of the box in which there is tissue tells them apart. The box is as wide
             /   \                         as the eyes (80 mm), reaches 45 mm back from the forehead, and lies 112 to 148 mm
            |     | forehead = front       below the vertex: from the eyes to the mouth.
            |   __|
             \ |  |  eyes, nose: the box   An intact face fills 48 % and more of it, a defaced head 19 % at most (28 scans).
              ||__|  mouth
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.engine.quality import Quality
from core.geometry.grid import Array, Grid
from core.stats import foreground_threshold

Mask = NDArray[np.bool_]
COARSE = 3.0  # mm, over which voxels are averaged: noise goes, a nose stays
TISSUE = 0.3  # of the foreground's threshold: skin and fat of a T2w are dark
FOREHEAD = (40.0, 80.0)  # mm below the vertex
FACE = (112.0, 148.0)
DEEP, HALF_WIDTH, MIDDLE = 45.0, 40.0, 12.0  # mm
LEAST = 12.0  # mm of the face's height that a scan must show to tell
SUSPECTED = 0.3  # share of the box


def face_share(image: Array, grid: Grid) -> float:
    """The share of the place of a face that is filled with tissue.

    Args:
        image: (x, y, z) of a head, upright within some 20 degrees.
        grid: its canonical grid (RAS).

    Returns:
        0 to 1; 0 also where the scan ends above the face. A scan that begins below the vertex is looked at too low.
    """
    coarse, spacing = _coarse(image, grid)
    head = _head(coarse, spacing)
    if not head.any():
        return 0.0
    x, y, z = ((np.arange(n) + 0.5) * step for n, step in zip(head.shape, spacing, strict=True))
    planes = np.flatnonzero(head.any(axis=(0, 1)))
    below = (planes[-1] + 1) * spacing[2] - z
    aside = np.abs(x - np.average(x, weights=head.sum(axis=(1, 2))))
    front = _front(head, y, aside <= MIDDLE, _between(below, FOREHEAD))
    face = _between(below, FACE)
    if front is None or face.sum() * spacing[2] < LEAST:
        return 0.0
    box = head[np.ix_(aside <= HALF_WIDTH, (y > front - DEEP) & (y < front), face)]
    return float(box.mean()) if box.size else 0.0


def looked_for(quality: Quality, image: Array, grid: Grid) -> Quality:
    """The quality of a scan with the figure ``face`` added, and the problem ``face-suspected`` where it is high.

    Args:
        quality: of the restored scan.
        image: the scan as measured.
        grid: its canonical grid.
    """
    share = face_share(image, grid)
    suspected = [("face-suspected", f"a face may be seen: tissue fills {share:.0%} of its place (at most {SUSPECTED:.0%})")]
    problems = [*quality.problems, *(suspected if share > SUSPECTED else [])]
    return replace(quality, figures=quality.figures | {"face": share}, problems=problems)


def _coarse(image: Array, grid: Grid) -> tuple[Array, tuple[float, ...]]:
    """Means over blocks of about 3 mm, and their spacing."""
    steps = [max(1, round(COARSE / step)) for step in grid.spacing]
    counts = [n // step for n, step in zip(image.shape, steps, strict=True)]
    cut = image[tuple(slice(count * step) for count, step in zip(counts, steps, strict=True))]
    blocks = cut.reshape([part for pair in zip(counts, steps, strict=True) for part in pair])
    spacing = tuple(step * mm for step, mm in zip(steps, grid.spacing, strict=True))
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32), spacing


def _head(coarse: Array, spacing: tuple[float, ...]) -> Mask:
    """The largest piece of tissue, without what is thinner than three voxels in thin planes."""
    from scipy.ndimage import binary_opening, label

    tissue = coarse > TISSUE * foreground_threshold(coarse)
    around = np.zeros((3, 3, 3), bool)
    around[:, 1, 1] = around[1, :, 1] = True
    around[1, 1, :] = spacing[2] < COARSE * 4 / 3
    pieces, count = label(binary_opening(tissue, around))
    sizes = np.bincount(pieces.ravel(), minlength=2)
    return np.asarray(pieces == 1 + int(sizes[1:].argmax()) if count else tissue & False)


def _between(below: NDArray[np.float64], limits: tuple[float, float]) -> Mask:
    return np.asarray((below > limits[0]) & (below < limits[1]))


def _front(head: Mask, y: NDArray[np.float64], middle: Mask, forehead: Mask) -> float | None:
    """How far forward the forehead is, in mm; None where there is none."""
    profile = head[np.ix_(middle, np.ones(len(y), bool), forehead)].any(axis=0)
    ends = [float(y[plane].max()) for plane in profile.T if plane.any()]
    return float(np.median(ends)) if ends else None
