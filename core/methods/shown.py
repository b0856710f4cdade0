"""A scan as networks that fill masks are shown it: nothing of what was not measured, the background 0, the 99.9th percentile 1.

Bring images into these units by ``UPPER.apply`` and back by ``UPPER.undo``, with the statistics of the scan that ``shown`` gives.
The operators' rows sum to 1 within the field of view, so the scan and the restored image have the same background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core.geometry.grid import Array
from core.methods.base import Measured
from core.models.scaling import UPPER, background
from core.operators.linear import Kept
from core.stats import ScanStats, scan_stats

Undo = Callable[[Array, ScanStats], Array]  # from the networks' units to a scan's


def shown(scan: Measured) -> Measured:
    """The scan with unmeasured voxels at the background, statistics that do not know them, and no voxel far below it."""
    known = _blanked(scan, scan.mask) if scan.mask is not None and scan.mask.any() else scan
    return replace(known, image=UPPER.without_faults(known.image, known.stats))


def without_masked(scan: Measured) -> Measured:
    """The scan with what is around them in place of unmeasured voxels, and statistics that do not know them; else itself."""
    if scan.mask is None or not scan.mask.any():
        return scan
    return replace(scan, image=filled(scan.image, scan.mask), stats=_blanked(scan, scan.mask).stats)


def _blanked(scan: Measured, mask: Kept) -> Measured:
    measured = scan.image[~mask]
    lowest = np.float32(min(0.0, float(np.percentile(measured, 0.1))) if measured.size else 0.0)
    stats = scan_stats(np.where(mask, lowest, scan.image))
    return replace(scan, image=np.where(mask, np.float32(background(stats)), scan.image), stats=stats)


def noise_share(scan: Measured) -> float:
    """Standard deviation of the noise in the networks' units; of a shifted scan it is told without the shift.

    Statistics look for noise where a scan is above 0, which is all of one whose air is 0.
    """
    lowest = background(scan.stats)
    noise = scan_stats(scan.image - np.float32(lowest)).noise_sd if lowest else scan.stats.noise_sd
    span = scan.stats.upper - lowest
    return noise / (span if span > 0 else 1.0)


def filled(image: Array, mask: Kept | None) -> Array:
    """The image with the nearest measured voxel where nothing was measured; itself where all was, or nothing at all."""
    from scipy.ndimage import distance_transform_edt

    if mask is None or not mask.any() or mask.all():
        return image
    nearest = distance_transform_edt(mask, return_distances=False, return_indices=True)
    return np.ascontiguousarray(image[tuple(nearest)])
