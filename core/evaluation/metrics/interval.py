"""Whether a map of uncertainty keeps its word: how often the truth lies in the interval that it tells."""

from __future__ import annotations

import numpy as np

from core.geometry.grid import Array
from core.models.calibration import LEVEL
from core.stats import head_threshold, scan_stats


def interval_scores(restored: Array, truth: Array, half_width: Array, stretched: float = 1.0) -> dict[str, float]:
    """Figures of an interval of 90 %, over the voxels of the truth that are of the head.

    Args:
        restored: float32 (x, y, z).
        truth: float32, of the same shape and in the same unit.
        half_width: float32, of the same: the interval is restored - half_width to restored + half_width.
        stretched: by what a calibration has multiplied ``half_width`` already.

    Returns:
        "coverage": the share of voxels whose truth lies in it; "half_width": its mean, in % of the truth's 99.9th percentile;
        "stretch": the factor by which ``half_width`` before any calibration would have to be multiplied for a coverage of 0.9.
    """
    stats = scan_stats(truth)
    head = truth > head_threshold(truth, stats)
    if not head.any():
        return {}
    error, half = np.abs(restored[head] - truth[head]), half_width[head]
    ratio = error / np.maximum(half, np.finfo(np.float32).tiny)
    return {
        "coverage": float(np.mean(error <= half)),
        "half_width": float(100 * np.mean(half) / stats.upper),
        "stretch": stretched * float(np.quantile(ratio, LEVEL)),
    }
