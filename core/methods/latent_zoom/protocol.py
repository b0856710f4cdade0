"""The evaluation of latent zoom: slices 4 times coarser in plane, and slices left out with 1, 2, 3, 4, 6 or 10 between them.

Each scan is degraded in each way and tables have a line for each. The paper leaves out a tenth of the slices; leaving out all but
every n-th asks for no less of each, and needs no draw. Its figures are means over slices, restored and true scaled alike by the
truth's range: the paper scales each slice of both by its own, which hides errors of brightness.

psnr_slices, ssim_slices    across the third axis, of slices with at least a twentieth tissue; no slice has more than 60 dB
invented, lost              structure under 5 voxels beyond the truth's, and of the truth that is lacking, of all that it has
"""

from __future__ import annotations

import numpy as np

from core.errors import IsovoxError
from core.evaluation.protocol import RESTORATION, Mask, Measure, Metric, Protocol
from core.geometry.grid import Array
from core.stats import foreground_threshold

TISSUE = 0.05  # share of a slice, from which it counts
SMALL = 5  # voxels: spots, edges and folds that are smaller are the structure that is looked at
FLOOR = 1e-3  # of the range: a slice's error counts as no less, for a measured slice can come back exactly
FACTORS = (2, 3, 4, 5, 7, 11)

METRICS = (
    Metric(
        "psnr_slices", "PSNR of slices", 2, "in dB, mean over slices across the third axis, 60 at most; peak: the truth's range"
    ),
    Metric("ssim_slices", "SSIM of slices", 4, "2-D, gaussian window, mean over the same slices"),
    Metric("invented", "Invented", 4, "small structure that the truth does not have, of all that it has", higher=False),
    Metric("lost", "Lost", 4, "small structure of the truth that is not there, of all that it has", higher=False),
)


def structure(image: Array) -> Array:
    """What is brighter, and what is darker, than its surroundings in a cube of 5 voxels (top-hats): (2, x, y, z), from 0 on."""
    from scipy.ndimage import black_tophat, white_tophat

    return np.stack([white_tophat(image, (SMALL,) * 3), black_tophat(image, (SMALL,) * 3)])


def invented_and_lost(restored: Array, truth: Array) -> tuple[float, float]:
    """Structure of a restored scan beyond its truth's, and of the truth that is lacking; both of all that the truth has."""
    ours, theirs = structure(restored), structure(truth)
    whole = float(theirs.sum(dtype=np.float64)) or 1.0
    beyond, lacking = ((a - b).clip(0).sum(dtype=np.float64) for a, b in ((ours, theirs), (theirs, ours)))
    return float(beyond) / whole, float(lacking) / whole


def counted(truth: Array) -> list[int]:
    """Numbers of the slices across the third axis with enough tissue; all where none has."""
    shares = (truth > foreground_threshold(truth)).mean(axis=(0, 1))
    return [int(n) for n in np.flatnonzero(shares > TISSUE)] or list(range(truth.shape[2]))


def slice_psnr(ours: Array, theirs: Array) -> float:
    """PSNR of a slice in dB, peak 1, at most 60."""
    error = float(np.sqrt(np.mean(np.subtract(ours, theirs, dtype=np.float64) ** 2)))
    return float(-20 * np.log10(max(error, FLOOR)))


def slice_ssim(ours: Array, theirs: Array) -> float:
    """SSIM of a slice, range 1, by scikit-image with the window of Wang et al. 2004."""
    from skimage.metrics import structural_similarity

    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(ours, theirs, data_range=1.0, **how))


def scores(restored: Array, truth: Array, mask: Mask | None) -> dict[str, float]:  # noqa: ARG001 - all slices with tissue count
    """The figures; see the module.

    Raises:
        IsovoxError: metric-range, for a truth that is constant.
    """
    low, high = float(truth.min()), float(truth.max())
    if not high > low:
        raise IsovoxError("metric-range", "a truth that varies", f"{high:.3g} everywhere", "check the truth")
    ours, theirs = ((image - np.float32(low)) / np.float32(high - low) for image in (restored, truth))
    pairs = [(ours[..., n], theirs[..., n]) for n in counted(truth)]
    invented, lost = invented_and_lost(ours, theirs)
    return {
        "psnr_slices": float(np.mean([slice_psnr(*pair) for pair in pairs])),
        "ssim_slices": float(np.mean([slice_ssim(*pair) for pair in pairs])),
        "invented": invented,
        "lost": lost,
    }


DEGRADATIONS = {"plane4": {"operator": "in-plane", "factor": 4}} | {
    f"gap{factor}": {"operator": "slice-mask", "factor": factor} for factor in FACTORS
}
PROTOCOL = Protocol("latent-zoom", DEGRADATIONS, measures=(RESTORATION, Measure(scores, METRICS)))
