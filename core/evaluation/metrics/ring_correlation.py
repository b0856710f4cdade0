"""Where a restored scan shows structure that the truth has not: correlation of Fourier shells in small windows.

    c(r) = Re sum F G* / sqrt(sum |F|^2 sum |G|^2)       over the frequencies of shell r of a window, F restored, G truth

A window whose curve falls below 0.5 within the frequencies that the scan measured is a candidate for invented structure: both
ought to agree there. As in sFRC (Kc, Zeng et al. 2024: small patches, a taper, a threshold crossed earlier than a set frequency),
with shells for rings; the set frequency is that of the scan's coarsest sampling, where the paper tunes one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.evaluation.metrics.restoration import peak_of
from core.geometry.grid import Array, Grid, Triple

EDGE = 32  # voxels of a window
LEAST = 8  # of a window of a smaller image
THRESHOLD = 0.5
HEAD = 0.1  # of the truth's 99.9th percentile: brighter voxels are head
FULL = 0.5  # share of a window's voxels that must be head


@lru_cache(maxsize=4)
def _shells(edge: int) -> tuple[NDArray[np.intp], Array, Array]:
    """Of a window's half spectrum: the shell of each frequency and how often it counts; and the taper."""
    whole = np.fft.fftfreq(edge, 1 / edge)
    half = np.fft.rfftfreq(edge, 1 / edge)
    radius = np.sqrt(whole[:, None, None] ** 2 + whole[:, None] ** 2 + half**2)
    counts = np.where((half == 0) | (2 * half == edge), 1.0, 2.0) + np.zeros_like(radius)
    line = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(edge) + 0.5) / edge)  # periodic: a whole wave leaks one shell far at most
    taper = line[:, None, None] * line[:, None] * line
    return radius.round().astype(np.intp).ravel(), np.asarray(counts.ravel(), np.float64), np.asarray(taper, np.float32)


def shell_correlation(a: Array, b: Array) -> NDArray[np.float64]:
    """The curve c(r) of two cubes under a taper, their means taken out.

    Args:
        a: float32 (n, n, n).
        b: likewise.

    Returns:
        of r from 0 to n // 2 periods a window; 1 where both are empty.
    """
    from scipy.fft import rfftn

    shell, counts, taper = _shells(a.shape[0])
    f, g = (rfftn((each - np.average(each, weights=taper)) * taper).ravel() for each in (a, b))
    sums = [np.bincount(shell, counts * values) for values in ((f * g.conj()).real, np.abs(f) ** 2, np.abs(g) ** 2)]
    both, root = sums[0], np.sqrt(sums[1] * sums[2])
    curve: NDArray[np.float64] = np.divide(both, root, out=np.ones_like(both), where=root > 0)
    return curve[: a.shape[0] // 2 + 1]


@dataclass(frozen=True)
class Windows:
    """What windows say.

    Attributes:
        starts: of each.
        edge: in voxels.
        least: of each, the least correlation within the set frequency.
    """

    starts: tuple[Triple, ...]
    edge: int
    least: tuple[float, ...]

    @property
    def share(self) -> float:
        """Of the windows that are candidates for invented structure, in %."""
        return 100 * sum(correlation < THRESHOLD for correlation in self.least) / len(self.least)

    def picture(self, shape: Triple) -> Array:
        """1 - least correlation in the middle half of each window, 0 elsewhere; the largest where several meet.

        Args:
            shape: of the image.
        """
        image, quarter = np.zeros(shape, np.float32), self.edge // 4
        for start, correlation in zip(self.starts, self.least, strict=True):
            middle = tuple(slice(at + quarter, at + self.edge - quarter) for at in start)
            image[middle] = np.maximum(image[middle], np.float32(1 - correlation))
        return image


def measured_frequency(measured: Grid) -> float:
    """Up to which frequency (periods a millimetre) a scan has measured along all of its axes: half its coarsest sampling."""
    return 1 / (2 * max(measured.spacing))


def windows(restored: Array, truth: Array, voxel: float, frequency: float) -> Windows | None:
    """The head's windows, half of each within the next.

    Args:
        restored: float32 (x, y, z).
        truth: of the same shape.
        voxel: edge of a voxel in mm.
        frequency: within which both ought to agree, in periods a millimetre; at least one shell is looked at.

    Returns:
        None where the image is too small, or no window holds enough of the head.
    """
    edge = min(EDGE, min(truth.shape) // 2 * 2)
    if edge < LEAST:
        return None
    head = truth > HEAD * peak_of(truth)
    last = max(1, min(edge // 2, int(frequency * edge * voxel + 1e-6)))
    starts, least = [], []
    for start in _starts(truth.shape, edge):
        x, y, z = start
        inside = slice(x, x + edge), slice(y, y + edge), slice(z, z + edge)
        if head[inside].mean() >= FULL:
            starts.append(start)
            least.append(float(shell_correlation(restored[inside], truth[inside])[1 : last + 1].min()))
    return Windows(tuple(starts), edge, tuple(least)) if starts else None


def _starts(shape: tuple[int, ...], edge: int) -> Iterator[Triple]:
    """Of the windows of an image, the last ones at its ends."""
    x, y, z = (sorted({*range(0, n - edge + 1, edge // 2), n - edge}) for n in shape)
    yield from ((a, b, c) for a in x for b in y for c in z)


def invented(restored: Array, truth: Array, target: Grid, measured: Grid) -> dict[str, float]:
    """The figure "invented": share of the head's windows in which structure may be invented, in %; none of small images.

    Args:
        restored: float32 (x, y, z).
        truth: of the same shape.
        target: grid of both.
        measured: that of the scan.
    """
    seen = windows(restored, truth, max(target.spacing), measured_frequency(measured))
    return {"invented": seen.share} if seen else {}
