"""Table 1 of InverseSR: axial slices dropped (1 in 4; --factor 8: 1 in 8) and averaged, scored as the authors compute it.

Restored scan and truth are scaled by the truth's minimum and maximum, then cut to 160 x 224 x 160 voxels. Theirs is an index of
scans that UniRes had put on one grid; here the middle of the truth's foreground is the middle of the window, whatever the grid.

psnr_window     peak 1, the same for every method
psnr_authors    peak: largest minus smallest of both images, which flatters whatever overshoots
ssim_window     the authors', range 1; a border of 5 voxels does not count
"""

from __future__ import annotations

import numpy as np

from core.errors import IsovoxError
from core.evaluation.metrics.image import psnr, ssim
from core.evaluation.protocol import RESTORATION, Mask, Measure, Metric, Protocol
from core.geometry.grid import Array, Triple
from core.stats import foreground_threshold

WINDOW: Triple = (160, 224, 160)

METRICS = (
    Metric(
        "psnr_window", "PSNR in the window", 2, "in dB, of 160 x 224 x 160 voxels about the head, scaled by the truth; peak 1"
    ),
    Metric(
        "psnr_authors", "PSNR, authors'", 2, "likewise, peak: the range of both images (skimage as InverseSR's code calls it)"
    ),
    Metric("ssim_window", "SSIM in the window", 4, "3-D, gaussian window, range 1, in the same window"),
)


def window_about(truth: Array) -> tuple[slice, slice, slice]:
    """The voxels of the window about the middle of a truth's foreground; all of an axis that is shorter."""
    inside = truth > foreground_threshold(truth)
    slices = []
    for axis, (n, wanted) in enumerate(zip(truth.shape, WINDOW, strict=True)):
        planes = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        middle = (int(planes[0]) + int(planes[-1]) + 1) // 2 if planes.size else n // 2
        start = min(max(0, middle - wanted // 2), max(0, n - wanted))
        slices.append(slice(start, min(n, start + wanted)))
    return slices[0], slices[1], slices[2]


def scores(restored: Array, truth: Array, mask: Mask | None) -> dict[str, float]:  # noqa: ARG001 - all of the window counts
    """The figures of the table; see the module.

    Raises:
        IsovoxError: metric-range, for a truth that is constant.
    """
    low, high = float(truth.min()), float(truth.max())
    if not high > low:
        raise IsovoxError("metric-range", "a truth that varies", f"{high:.3g} everywhere", "check the truth")
    there = window_about(truth)
    ours, theirs = (
        np.ascontiguousarray((image[there] - np.float32(low)) / np.float32(high - low)) for image in (restored, truth)
    )
    span = float(max(ours.max(), theirs.max()) - min(ours.min(), theirs.min()))
    return {
        "psnr_window": psnr(ours, theirs, data_range=1.0, mask=None),
        "psnr_authors": psnr(ours, theirs, data_range=span, mask=None),
        "ssim_window": ssim(ours, theirs, data_range=1.0, mask=None),
    }


MEASURES = (RESTORATION, Measure(scores, METRICS))
DEGRADATIONS = {"dropped": {"operator": "slice-mask", "factor": 4}, "averaged": {"operator": "slice-profile", "factor": 4}}
TABLE = Protocol("inverse-sr-table1", DEGRADATIONS, measures=MEASURES)
