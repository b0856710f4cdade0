"""Low field, factor 4, scored as the 2025 ultra-low-field enhancement challenge (ULF-EnC) announced it.

0.7 SSIM + 0.1 PSNR / 32 dB + 0.1 (1 - MAE) + 0.1 (1 - NMSE), over all voxels, scan and truth each scaled to 0..1 by its own
minimum and maximum. SSIM: flat window of 7 voxels, sample covariance (scikit-image's defaults). NMSE counts as 1 at most.

Ours beside it takes one fixed range, the truth's 99.9th percentile. The two differ wherever a restored scan's extremes do: a
bright voxel darkens all of a scan that is scaled by its own maximum, while a wrong gain or offset, which ours counts in full,
costs nothing. Air is most of a volume and alike in all, so SSIM and MAE without a mask look better than they are. The organisers'
last script restricts all four to a mask that came with the test set, and averages PSNR by voxel; that mask is not public.
"""

from __future__ import annotations

import math

import numpy as np

from core.errors import IsovoxError
from core.evaluation.metrics.restoration import minmax
from core.evaluation.protocol import ONLY, RESTORATION, Mask, Measure, Metric, Protocol
from core.geometry.grid import Array

WINDOW = 7  # voxels an axis
BEST = 32.0  # dB that count as 1
LEAST = 1e-8  # squared error that equal images count with: 80 dB

METRICS = (
    Metric(
        "ulf_score", "ULF-EnC score", 4, "0.7 SSIM + 0.1 PSNR / 32 dB + 0.1 (1 - MAE) + 0.1 (1 - NMSE), each scaled by itself"
    ),
    Metric("ulf_ssim", "SSIM, ULF-EnC", 4, "flat window of 7 voxels, of images scaled to 0..1 by their own extremes; no mask"),
    Metric("ulf_psnr", "PSNR dB, ULF-EnC", 2, "of images so scaled; peak 1"),
    Metric("ulf_mae", "MAE, ULF-EnC", 4, "mean absolute error of images so scaled", higher=False),
    Metric("ulf_nmse", "NMSE, ULF-EnC", 4, "squared error of images so scaled over the truth's square", higher=False),
)


def flat_ssim(image: Array, reference: Array) -> float:
    """Mean SSIM (Wang et al. 2004) of images within 0..1, by scikit-image: flat window of 7 voxels, of windows that lie inside.

    Args:
        image: (x, y, z).
        reference: of the same shape.

    Raises:
        IsovoxError: an axis under 7 voxels.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape) < WINDOW:
        wanted = f"at least {WINDOW} voxels an axis"
        raise IsovoxError("metric-small", wanted, repr(image.shape), "score a larger volume")
    a, b = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    return float(structural_similarity(a, b, win_size=WINDOW, data_range=1.0))


def scores(restored: Array, truth: Array, mask: Mask | None) -> dict[str, float]:  # noqa: ARG001 - all voxels count
    """The figures of the challenge; see the module.

    Raises:
        IsovoxError: metric-range, for a truth that is constant; metric-small.
    """
    if not float(truth.max()) > float(truth.min()):
        raise IsovoxError("metric-range", "a truth that varies", f"{float(truth.max()):.3g} everywhere", "check the truth")
    ours, theirs = minmax(restored), minmax(truth)
    difference = np.subtract(ours, theirs, dtype=np.float64)
    squares = float((difference**2).mean())
    likeness, absolute = flat_ssim(ours, theirs), float(np.abs(difference).mean())
    decibels = -10 * math.log10(squares + LEAST)
    relative = min(squares / float(np.square(theirs, dtype=np.float64).mean()), 1.0)
    total = 0.7 * likeness + 0.1 * (decibels / BEST + (1 - absolute) + (1 - relative))
    return {
        "ulf_score": total,
        "ulf_ssim": likeness,
        "ulf_psnr": decibels,
        "ulf_mae": absolute,
        "ulf_nmse": relative,
    }


PROTOCOL = Protocol("ulf-enc", {ONLY: {"operator": "low-field", "factor": 4}}, measures=(RESTORATION, Measure(scores, METRICS)))
