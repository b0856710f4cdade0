"""The figures by which a restored scan is held against its truth, each with its scaling in its name.

psnr, ssim, ms_ssim    the whole volume; peak: the 99.9th percentile of the truth, the same for every method
psnr_head              likewise, over the voxels in which the truth is above 0
psnr_minmax, ms_ssim_minmax    as Kim et al. 2023 report them (and their code has them): a border of 32 voxels is trimmed,
                       then restored scan and truth are each scaled to 0..1 by their own extremes; peak 1. Such figures forgive a
                       change of gain and offset, and hang on two voxels: not to be compared with the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.errors import IsovoxError
from core.evaluation.metrics.image import ms_ssim, psnr, ssim
from core.geometry.grid import Array

BORDER = 32  # voxels trimmed at each end of an axis
SHARE = 8  # axes too short for that lose an eighth at each end, as 32 is of the paper's 256
PEAK = 99.9  # percentile of the truth


def peak_of(truth: Array) -> float:
    """The fixed range of a truth: its 99.9th percentile, above 0.

    Raises:
        IsovoxError: metric-range, for a truth that is empty.
    """
    peak = float(np.percentile(truth, PEAK))
    if not peak > 0:
        raise IsovoxError(
            "metric-range", "a truth with voxels above 0", f"{peak:.3g} as its 99.9th percentile", "check the truth"
        )
    return peak


def trimmed(image: Array) -> Array:
    """The image without a border of 32 voxels (of an eighth of an axis shorter than 256); a view."""
    ends = [min(BORDER, n // SHARE) for n in image.shape]
    return image[tuple(slice(end, n - end) for end, n in zip(ends, image.shape, strict=True))]


def minmax(image: Array) -> Array:
    """The image scaled to 0..1 by its own extremes; zeros where it is constant."""
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - np.float32(low)) / np.float32(high - low if high > low else 1.0), np.float32)


def restoration_scores(restored: Array, truth: Array, mask: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """All figures of a restored scan.

    Args:
        restored: float32 (x, y, z).
        truth: float32, of the same shape and in the same unit.
        mask: voxels that count in psnr, ssim and ms_ssim; None means all.

    Returns:
        by name: psnr, psnr_head and psnr_minmax in dB, ssim, ms_ssim and ms_ssim_minmax.

    Raises:
        IsovoxError: shapes that differ, a truth without voxels above 0, or an axis under 11 voxels.
    """
    peak = peak_of(truth)
    scores = {
        "psnr": psnr(restored, truth, data_range=peak, mask=mask),
        "psnr_head": psnr(restored, truth, data_range=peak, mask=truth > 0),
        "ssim": ssim(restored, truth, data_range=peak, mask=mask),
        "ms_ssim": ms_ssim(restored, truth, data_range=peak, mask=mask),
    }
    ours, theirs = (minmax(trimmed(image)) for image in (restored, truth))
    scores["psnr_minmax"] = psnr(ours, theirs, data_range=1.0, mask=None)
    if min(ours.shape) >= 11:
        scores["ms_ssim_minmax"] = ms_ssim(ours, theirs, data_range=1.0, mask=None)
    return scores
