"""Statistics of a whole scan: range, foreground, noise; what methods scale by and quality is measured in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Box, Grid, Triple

Values = NDArray[np.float64]

BINS = 1024  # of the histograms
EM_STEPS = 200
EM_STOP = 1e-6  # relative change of the noise at which the mixture has settled
MASKED = 0.2  # share of exact zeros from which the background was set to zero and tells nothing of the noise
BACKGROUND = 0.05  # share of voxels that the background class needs to be believed
AROUND = 0.9  # share of the planes' border that is dark where there is air around the head (0.98 and more of real scans)
NOISIEST = 9.0  # times the noise in the flattest parts: air has 1.5 to 3 of it on real scans, 6 to 8 where they were interpolated
INTERPOLATED = 3.0  # times the finest detail, from which that two voxels apart tells the noise: of brains it is 1.3 to 2.5
NOISE_FLOOR = 1e-3  # of the contrast: no scan is better than that, and a division by the noise stays sane
FAINT = 0.1  # of the upper value: what is darker is air, or ghosts in it
BLINDING = 10.0  # times the upper value: no tissue is brighter, and a voxel that is would have histograms show nothing else
AIR = 5.0  # standard deviations of the noise: in 3.7 of a million voxels air is brighter
FLATTEST = 0.1  # share of the blocks of voxels in which the noise is looked for
SAMPLED = 1 << 22  # voxels that are looked at, about: all of most scans, every n-th plane of larger ones
NORMAL_MAD = 0.6744897501960817  # median of |x| of a standard normal x
BRAIN = 2.2  # litres that a brain without its skull stays below, and a head does not


@dataclass(frozen=True)
class ScanStats:
    """Statistics of one scan, in the scan's own intensity units.

    Attributes:
        minimum: smallest voxel.
        maximum: largest voxel.
        upper: 99.9th percentile.
        foreground_mean: mean over the foreground (above Otsu's threshold of the positive voxels).
        contrast: distance between the two classes' means, ``mu`` of Brudfors et al. 2018; above 0.
        noise_sd: standard deviation of the noise; above 0.
        lower: 0.1st percentile, which no single voxel moves; None of a scan that was read before it was taken.
    """

    minimum: float
    maximum: float
    upper: float
    foreground_mean: float
    contrast: float
    noise_sd: float
    lower: float | None = None


def scan_stats(image: Array) -> ScanStats:
    """Statistics of a whole scan.

    Where there is air around the head, the noise is that of the air: a mixture of a Rayleigh background and a normal
    foreground is fitted to the histogram of the positive voxels (Ashburner & Ridgway 2013, appendix, in its simplest form).
    Where the background was set to zero (more than 20 % exact zeros, as after skull stripping) or there is none (the planes'
    borders are not dark, or what is dark varies much more than what is bright), the noise is the median absolute deviation of
    the finest diagonal wavelet detail within the planes (Donoho & Johnstone 1994) in the flattest parts of the foreground; the
    axis of the fewest voxels is taken for the slice axis. Where there is next to no such detail the scan was interpolated or
    filled up with zeros in k-space, and the detail of every second voxel is taken.

    Args:
        image: finite, (x, y, z), in any unit. Of more than 4 million voxels every n-th plane across the slice axis stands for
            the rest, in all but the range.

    Returns:
        the statistics; the noise is at least 1e-3 of the contrast, and both are above 0 even for a constant image.
    """
    statistics = RunningStatistics(image.shape)
    statistics.take(Box.whole(image.shape), image)
    return statistics.stats()


class RunningStatistics:
    """``scan_stats`` of a scan that comes slab by slab, in any order: the same bits, without the whole image in memory.

    Args:
        shape: of the whole image.
    """

    def __init__(self, shape: Triple) -> None:
        self._axis, self._step = int(np.argmin(shape)), math.ceil(math.prod(shape) / SAMPLED)
        self._parts: dict[int, Array] = {}
        self._low, self._high = math.inf, -math.inf

    def take(self, box: Box, slab: Array) -> None:
        """Take in the voxels of a box of whole planes along z."""
        self._low, self._high = min(self._low, float(slab.min())), max(self._high, float(slab.max()))
        part = [slice(None)] * 3
        part[self._axis] = slice(-box.start[self._axis] % self._step, None, self._step)
        self._parts[box.start[2]] = slab[tuple(part)].copy()

    def stats(self) -> ScanStats:
        """The statistics, once all slabs were taken in."""
        sample = np.concatenate([self._parts[z] for z in sorted(self._parts)], axis=2)
        return _stats(sample, self._low, self._high)


def _stats(image: Array, minimum: float, maximum: float) -> ScanStats:
    """The statistics of a sample of an image with that range."""
    lower, upper = (float(np.percentile(image, share)) for share in (0.1, 99.9))
    image = np.minimum(image, np.float32(BLINDING * upper)) if maximum > BLINDING * upper > 0 else image
    positive = image[image > 0]
    if positive.size == 0:
        contrast = max(maximum - minimum, 1.0)
        return ScanStats(minimum, maximum, upper, 0.0, contrast, NOISE_FLOOR * contrast, lower)
    foreground_mean = float(positive[positive > _otsu(positive)].mean(dtype=np.float64)) if minimum < maximum else maximum
    contrast, noise = _noise(image, positive, upper)
    contrast = contrast if contrast > 0 else maximum
    return ScanStats(minimum, maximum, upper, foreground_mean, contrast, max(noise, NOISE_FLOOR * contrast), lower)


def _noise(image: Array, positive: Array, upper: float) -> tuple[float, float]:
    """Contrast and noise, from whichever part of the scan tells of it."""
    if np.count_nonzero(image == 0) > MASKED * image.size:
        threshold = _otsu(np.maximum(image, 0))
        return _between(image, threshold), _wavelet_noise(image, threshold)
    share, noise, mean = _mixture(positive, upper)
    contrast, within = mean - noise * float(np.sqrt(np.pi / 2)), _wavelet_noise(image, 0.0)
    if share < BACKGROUND or contrast <= noise or noise > NOISIEST * within or not _air_around(image, _otsu(positive)):
        return abs(contrast), within
    return contrast, noise


def _air_around(image: Array, threshold: float) -> bool:
    """Whether the borders of the planes are dark; of a crop within the head they are not, and dark tissue is no air."""
    planes = np.moveaxis(image, int(np.argmin(image.shape)), 0)
    border = np.concatenate([planes[:, [0, -1]].ravel(), planes[:, :, [0, -1]].ravel()])
    return bool(np.count_nonzero(border <= threshold) > AROUND * border.size)


def _between(image: Array, threshold: float) -> float:
    """Distance of the means above and below a threshold."""
    above = image > threshold
    return float(image[above].mean(dtype=np.float64) - image[~above].mean(dtype=np.float64))


def _histogram(values: Array, top: float) -> tuple[Values, Values]:
    """Counts of the values up to ``top``, and the middles of the bins."""
    counts, edges = np.histogram(values, bins=BINS, range=(0.0, top if top > 0 else 1.0))
    return counts.astype(np.float64), (edges[:-1] + edges[1:]) / 2


def foreground_threshold(image: Array) -> float:
    """The intensity above which a voxel is foreground: Otsu's threshold of the positive voxels; 0 where there is none."""
    positive = image[image > 0]
    return _otsu(positive) if positive.size else 0.0


def head_threshold(image: Array, stats: ScanStats) -> float:
    """The intensity above which a voxel is of the head and not of the air: a tenth of the upper value, or 5 noise SDs.

    Otsu's threshold parts what is bright from what is dark; of a head with scalp fat that is the fat alone (231 ml of 1,448 ml).

    Args:
        image: (x, y, z), the whole scan.
        stats: of the scan.

    Returns:
        at most Otsu's threshold; 0 where no voxel is positive.
    """
    return min(foreground_threshold(image), max(FAINT * stats.upper, AIR * stats.noise_sd))


def _otsu(positive: Array) -> float:
    """The threshold between two classes that leaves the least variance within them (Otsu 1979)."""
    counts, middles = _histogram(positive, float(positive.max()))
    below, total = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    best = int(np.nanargmax(between[:-1])) if np.isfinite(between[:-1]).any() else 0
    return float(middles[best])


def _mixture(positive: Array, upper: float) -> tuple[float, float, float]:
    """Share and scale of a Rayleigh background, and the mean of a normal foreground, by expectation maximisation."""
    counts, x = _histogram(positive, upper)
    threshold = _otsu(positive)
    low, high = counts * (x <= threshold), counts * (x > threshold)
    scale, share, mean, sd = 0.0, 0.0, 0.0, 0.0
    for _ in range(EM_STEPS):
        before = scale
        share = low.sum() / counts.sum()
        scale = float(np.sqrt((low @ x**2) / (2 * max(low.sum(), 1e-9)))) or x[0]
        mean = float(high @ x / max(high.sum(), 1e-9))
        sd = max(float(np.sqrt(high @ (x - mean) ** 2 / max(high.sum(), 1e-9))), x[0])
        if abs(scale - before) <= EM_STOP * scale:
            break
        rayleigh = share * x / scale**2 * np.exp(-((x / scale) ** 2) / 2)
        normal = (1 - share) / (sd * np.sqrt(2 * np.pi)) * np.exp(-(((x - mean) / sd) ** 2) / 2)
        low = counts * (rayleigh / np.maximum(rayleigh + normal, 1e-300))
        high = counts - low
    return float(share), float(scale), mean


def _wavelet_noise(image: NDArray[Any], threshold: float) -> float:
    """Noise by the finest detail, or where the scan was interpolated by that of every second voxel."""
    finest, coarser = (_diagonal_detail(image, threshold, step) for step in (1, 2))
    return coarser if coarser > INTERPOLATED * finest else finest


def _diagonal_detail(image: NDArray[Any], threshold: float, step: int) -> float:
    """Robust standard deviation of the diagonal Haar detail of blocks of 2 x 2 voxels in the planes, all above ``threshold``.

    Args:
        image: (x, y, z).
        threshold: of the blocks that are looked at.
        step: distance of a block's voxels.

    Only the flattest tenth of the blocks counts, by their horizontal and vertical details: of white noise these are independent
    of the diagonal one, so the choice does not favour small noise, but it leaves anatomy out. (Over all blocks, real scans
    of 1 mm and their averages over 4 and 8 slices give 24, 19 and 16 where noise alone would halve.)
    """
    planes = np.moveaxis(image, int(np.argmin(image.shape)), 0)
    block = 2 * step
    whole = planes[:, : planes.shape[1] // block * block, : planes.shape[2] // block * block]
    parts = [whole[:, a::block, b::block] for a in (0, step) for b in (0, step)]
    inside = np.logical_and.reduce([part > threshold for part in parts])
    a, b, c, d = (part[inside] for part in parts)
    if a.size == 0:
        return 0.0
    activity = np.hypot(a + b - c - d, a - b + c - d)
    detail = (a - b - c + d)[activity <= np.quantile(activity, FLATTEST)] / 2
    return float(np.median(np.abs(detail))) / NORMAL_MAD


def looks_skull_stripped(image: Array, grid: Grid) -> bool:
    """Whether a scan seems to be skull-stripped: much of it exactly zero, and the rest no more than a brain.

    BIDS requires the answer of a derivative; this is for scans whose own sidecar does not say.
    """
    full = int(np.count_nonzero(image))
    litres = full * abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1e6
    return full < 0.7 * image.size and litres < BRAIN
