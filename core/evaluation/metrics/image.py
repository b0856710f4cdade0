"""Image quality against a reference; mask and data range are always said, never guessed.

SSIM means nothing without its border rule and mask: here a gaussian window (sigma 1.5, 11 voxels an axis), population covariance,
and the mean over voxels whose window lies inside the volume, as scikit-image with ``gaussian_weights=True,
use_sample_covariance=False`` has it (Wang et al. 2004). With a mask, the mean is over the mask's voxels of those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IsovoxError
from core.geometry.grid import Array

Mask = NDArray[np.bool_] | None
RADIUS = 5  # of the window, as in core.evaluation.metrics.kernel, which is imported late
K1, K2 = 0.01, 0.03
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003


def _check(image: Array, reference: Array, data_range: float, mask: Mask) -> None:
    shapes = {image.shape, reference.shape} | ({mask.shape} if mask is not None else set())
    if len(shapes) > 1:
        raise IsovoxError("metric-shape", "image, reference and mask of one shape", repr(shapes), "resample them to one grid")
    if not data_range > 0:
        raise IsovoxError("metric-range", "a data range above 0", repr(data_range), "give the reference's maximum minus minimum")
    if mask is not None and not mask.any():
        raise IsovoxError("metric-mask", "a mask with voxels", "none", "check the mask")


def _errors(image: Array, reference: Array, mask: Mask) -> NDArray[np.float64]:
    difference = np.subtract(image, reference, dtype=np.float64)
    return difference.ravel() if mask is None else difference[mask]


def psnr(image: Array, reference: Array, *, data_range: float, mask: Mask) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(data_range^2 / MSE); infinite where the images are equal.

    Args:
        image: float32 (x, y, z).
        reference: float32 (x, y, z).
        data_range: peak, such as the reference's maximum minus its minimum.
        mask: voxels that count; None means all.
    """
    _check(image, reference, data_range, mask)
    error = float(np.mean(_errors(image, reference, mask) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


def nrmse(image: Array, reference: Array, *, data_range: float, mask: Mask) -> float:
    """Root of the mean squared error, as a fraction of the data range; arguments as for ``psnr``."""
    _check(image, reference, data_range, mask)
    return float(np.sqrt(np.mean(_errors(image, reference, mask) ** 2)) / data_range)


def _means(image: Array, reference: Array, data_range: float, mask: Mask) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure."""
    from core.evaluation.metrics.kernel import ssim_sums

    if min(image.shape) < 2 * RADIUS + 1:
        wanted = f"at least {2 * RADIUS + 1} voxels an axis"
        raise IsovoxError("metric-small", wanted, repr(image.shape), "score a larger volume")
    counted = np.empty((0, 0, 0), np.bool_) if mask is None else np.ascontiguousarray(mask)
    images = [np.ascontiguousarray(volume, np.float32) for volume in (image, reference)]
    total, structure, number = ssim_sums(*images, counted, (K1 * data_range) ** 2, (K2 * data_range) ** 2)
    if not number:
        raise IsovoxError("metric-mask", "a mask with voxels away from the border", "none", "check the mask")
    return float(total / number), float(structure / number)


def ssim(image: Array, reference: Array, *, data_range: float, mask: Mask) -> float:
    """Structural similarity (Wang et al. 2004) in 3-D, -1 to 1; arguments as for ``psnr``.

    Raises:
        IsovoxError: shapes that differ, an axis under 11 voxels, or a mask without voxels away from the border.
    """
    _check(image, reference, data_range, mask)
    return _means(image, reference, data_range, mask)[0]


def _halved(image: NDArray[Any]) -> NDArray[Any]:
    """Means of 2x2x2 voxels; an odd last plane is left out."""
    x, y, z = (n // 2 for n in image.shape)
    return np.asarray(image[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5), dtype=np.float64))


def ms_ssim(image: Array, reference: Array, *, data_range: float, mask: Mask) -> float:
    """Multi-scale SSIM (Wang et al. 2003) in 3-D over five scales, or as many as an axis of 11 voxels allows (weights rescaled).

    Arguments as for ``psnr``; a coarse voxel counts where at least half of it is in the mask. Negative factors count as 0.
    """
    _check(image, reference, data_range, mask)
    scales = sum(1 for n in range(len(SCALES)) if min(image.shape) // 2**n >= 2 * RADIUS + 1)
    weights = np.array(SCALES[: max(scales, 1)]) / sum(SCALES[: max(scales, 1)])
    result = 1.0
    for n, weight in enumerate(weights):
        whole, structure = _means(image, reference, data_range, mask)
        result *= max(whole if n == len(weights) - 1 else structure, 0.0) ** weight
        image, reference = _halved(image).astype(np.float32), _halved(reference).astype(np.float32)
        mask = None if mask is None else _halved(mask) >= 0.5
    return float(result)
