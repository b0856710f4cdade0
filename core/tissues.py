"""How bright cerebrospinal fluid, grey matter and white matter are in a scan, and where they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array
from core.stats import MASKED, foreground_threshold

Contrast = Literal["T1w", "T2w", "FLAIR"]
Kept = NDArray[np.bool_]
Values = NDArray[np.float64]
Classes = tuple[float, float, float]

CSF, GM, WM = 0, 1, 2
DARK_TO_BRIGHT: dict[Contrast, tuple[int, int, int]] = {"T1w": (CSF, GM, WM), "T2w": (WM, GM, CSF), "FLAIR": (CSF, WM, GM)}
FREESURFER = {  # FreeSurferColorLUT: ventricles and CSF; cortex, cerebellar cortex and nuclei; white matter, callosum, brain stem
    CSF: (4, 5, 14, 15, 24, 43, 44, 72, 213, 221),
    GM: (3, 8, 9, 10, 11, 12, 13, 17, 18, 19, 20, 26, 27, 42, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 58, 59, 80, 81, 82),
    WM: (2, 7, 16, 28, 41, 46, 60, 77, 78, 79, 85, 155, 156, 192, 251, 252, 253, 254, 255),
}
CORTEX, UNDER_CORTEX = (1000, 3000), (3000, 5000)  # aparc and wmparc
BINS = 1024  # of the histogram
TRIM = 0.1, 1.0  # per cent of the voxels left out at the dark and at the bright end: vessels, fat
USUAL = {CSF: 0.15, GM: 0.45, WM: 0.40}  # shares of a brain
BELIEF = 0.3  # how much that counts against the voxels; as much does it count that all classes spread alike
STEPS = 500  # of the expectation maximisation, at most
SETTLED = 1e-6  # of the range: the means no longer move
NARROWEST = 4  # bins: no class is narrower
HALF = 0.5  # of the widest class: no class is narrower
KNOTS = 2048  # of a map as a function of the intensity
SURE = 0.9  # posterior from which a voxel counts as pure
STRIDE = 2  # voxels: how coarsely the depth in a head is looked at


@dataclass(frozen=True)
class Tissues:
    """Three normal distributions of the intensities within a brain; each a triple in the order CSF, GM, WM.

    Attributes:
        means: in the scan's unit.
        sds: likewise, above 0.
        weights: shares of the voxels; they sum to 1.
        gm_mean: mean intensity of pure grey matter: where a given map is above 0.9, or the mean of a fitted class. (Where the
            posterior of a fitted class is above 0.9 is its outer flank: white matter of 103.8 by FreeSurfer's labels has the
            class mean 103.0, and 108.0 there.)
        wm_mean: likewise of white matter.
    """

    means: Classes
    sds: Classes
    weights: Classes
    gm_mean: float
    wm_mean: float

    @classmethod
    def fit(cls, image: Array, mask: Kept | None = None, contrast: Contrast = "T1w") -> Tissues:
        """Find the classes: three normal distributions by expectation maximisation on the histogram, with a prior.

        The prior, worth 0.3 of the voxels, says that a brain is 15 % CSF, 45 % grey and 40 % white matter, and that they spread
        alike; no class is narrower than half the widest. Without it some scans lose a class: white matter that a
        normalisation made all but one value, or a head whose inner half holds little CSF.

        Args:
            image: finite float32 (x, y, z).
            mask: True in the brain, of the same shape; ``brain_mask`` where None. Voxels that are not above 0 are left out.
            contrast: says which class is darkest and which is brightest.

        Raises:
            InputError: tissues-not-found, where the mask holds no three intensities.
        """
        inside = image[(brain_mask(image) if mask is None else mask) & (image > 0)]
        counts, x = _histogram(inside)
        if np.count_nonzero(counts) < 3:
            got = f"{np.count_nonzero(counts)} in {inside.size} voxels above 0"
            raise InputError("tissues-not-found", "at least three intensities in the brain", got, "give a label image")
        means, sds, weights = (_by_tissue(values, contrast) for values in _mixture(counts, x, contrast))
        return cls(means, sds, weights, means[GM], means[WM])

    @classmethod
    def of_maps(cls, image: Array, maps: Array) -> Tissues:
        """The classes where maps, (3, x, y, z) in the order CSF, GM, WM, tell the tissues, as those of a label image.

        Raises:
            InputError: tissues-not-found, where a tissue has no voxel.
        """
        totals = maps.sum(axis=(1, 2, 3), dtype=np.float64)
        if not (totals > 0).all():
            remedy = "check that the label image is of this scan"
            raise InputError("tissues-not-found", "voxels of CSF, grey and white matter", f"{totals.round().tolist()}", remedy)
        means = np.array([np.vdot(share, image) for share in maps], np.float64) / totals
        squares = [np.vdot(share, (image - mean) ** 2) for share, mean in zip(maps, means, strict=True)]
        sds = np.sqrt(np.maximum(np.array(squares, np.float64) / totals, 1e-12))
        gm, wm = (_mean(image[maps[tissue] > SURE], means[tissue]) for tissue in (GM, WM))
        return cls(_triple(means), _triple(sds), _triple(totals / totals.sum()), gm, wm)

    def maps(self, image: Array) -> Array:
        """Posterior probabilities of the classes.

        A voxel's are a function of its intensity alone, so those of a crop are the crop of the whole's. Darker than the darkest
        mean is as sure as that mean, brighter than the brightest likewise.

        Args:
            image: of any shape, in the unit of the scan that was fitted.

        Returns:
            float32 (3, …) in the order CSF, GM, WM; they sum to 1 everywhere, in air, too (which is like CSF).
        """
        return np.stack([self.share(image, tissue) for tissue in (CSF, GM, WM)])

    def share(self, image: Array, tissue: int) -> Array:
        """One of the maps, float32 of the image's shape."""
        x = np.linspace(min(self.means), max(self.means), KNOTS)
        table = _posteriors(x, np.array(self.means), np.array(self.sds), np.array(self.weights))
        return np.asarray(np.interp(image, x, table[tissue]), np.float32)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that ``from_json`` turns back, bit for bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tissues:
        """The classes that ``to_json`` wrote."""
        means, sds, weights = (_triple(value[name]) for name in ("means", "sds", "weights"))
        return cls(means, sds, weights, float(value["gm_mean"]), float(value["wm_mean"]))


def _mean(values: Array, otherwise: float) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float(otherwise)


def _triple(values: Any) -> Classes:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _by_tissue(values: Values, contrast: Contrast) -> Classes:
    """Values from dark to bright, put in the order CSF, GM, WM."""
    return _triple(values[DARK_TO_BRIGHT[contrast].index(tissue)] for tissue in (CSF, GM, WM))


def maps_of_labels(labels: Array) -> Array:
    """Tissue maps of a label image.

    Args:
        labels: (x, y, z), whole numbers: 0 to 3 for nothing, CSF, GM and WM, or FreeSurfer's aseg or aparc+aseg.

    Returns:
        float32 (3, x, y, z), 0 or 1, in the order CSF, GM, WM; 0 in all three where the label is of no tissue.

    Raises:
        InputError: labels-unknown, where fewer than two of the tissues are there.
    """
    table = _tissue_of_label(plain=float(labels.max()) <= len(USUAL))
    known = (labels >= 0) & (labels < len(table))
    tissue = table[np.where(known, labels, 0).astype(np.int16)]
    maps = np.stack([tissue == label for label in (CSF, GM, WM)])
    if np.count_nonzero(maps.any(axis=(1, 2, 3))) < 2:
        wanted = "labels 0 to 3 (nothing, CSF, GM, WM) or FreeSurfer's aseg"
        got = ", ".join(f"{value:g}" for value in np.unique(labels)[:8])
        raise InputError("labels-unknown", wanted, got, "convert the label image")
    return maps.astype(np.float32)


def _tissue_of_label(*, plain: bool) -> NDArray[np.int8]:
    """The tissue of each label from 0 on, -1 where it is none."""
    table = np.full(UNDER_CORTEX[1], -1, np.int8)
    if not plain:
        table[slice(*CORTEX)], table[slice(*UNDER_CORTEX)] = GM, WM
    for tissue, labels in ({CSF: (1,), GM: (2,), WM: (3,)} if plain else FREESURFER).items():
        table[list(labels)] = tissue
    return table


def brain_mask(image: Array) -> Kept:
    """Where a scan's brain is, roughly: enough to learn its intensities.

    Where the background was set to zero (more than 20 % exact zeros) all that is above 0. Else the inner half of the head:
    the foreground with its holes filled, deeper than the median depth, so that scalp, fat and most of the skull stay out.
    """
    if np.count_nonzero(image == 0) > MASKED * image.size:
        return np.asarray(image > 0)
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    coarse = image[::STRIDE, ::STRIDE, ::STRIDE]
    head = binary_fill_holes(coarse > foreground_threshold(image))
    depth = distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1, 1:-1]
    inner = head & (depth >= np.median(depth[head])) if head.any() else head
    for axis in range(3):
        inner = inner.repeat(STRIDE, axis)
    x, y, z = image.shape
    return np.asarray(inner[:x, :y, :z])


def _histogram(values: Array) -> tuple[Values, Values]:
    """Counts without the outermost values, and the middles of the bins."""
    if not values.size:
        return np.zeros(0), np.zeros(0)
    low, high = np.percentile(values, [TRIM[0], 100 - TRIM[1]])
    counts, edges = np.histogram(values, BINS, (float(low), float(high if high > low else low + 1)))
    return counts.astype(np.float64), (edges[:-1] + edges[1:]) / 2


def _posteriors(x: Values, means: Values, sds: Values, weights: Values) -> Values:
    """Of each class at each intensity, (3, n)."""
    logs: Values = np.log(weights / sds)[:, None] - ((x - means[:, None]) / sds[:, None]) ** 2 / 2
    shares: Values = np.exp(logs - logs.max(axis=0))
    return np.asarray(shares / shares.sum(axis=0), np.float64)


def _start(counts: Values, x: Values) -> Values:
    """Hard classes to begin with, (3, n): Lloyd's algorithm from three equal parts of the voxels."""
    means = np.interp(np.array([1, 3, 5]) / 6, np.cumsum(counts) / counts.sum(), x)
    for _ in range(100):
        nearest = np.abs(x - means[:, None]).argmin(axis=0) == np.arange(3)[:, None]
        held = nearest @ counts
        means, before = np.where(held > 0, nearest @ (counts * x) / np.maximum(held, 1), means), means
        if np.array_equal(means, before):
            break
    return np.asarray(nearest, np.float64)


def _mixture(counts: Values, x: Values, contrast: Contrast) -> tuple[Values, Values, Values]:
    """Means, standard deviations and weights of three normal distributions, dark to bright."""
    believed = BELIEF * counts.sum() * np.array([USUAL[tissue] for tissue in DARK_TO_BRIGHT[contrast]])
    shares, means = _start(counts, x), np.zeros(3)
    for _ in range(STEPS):
        held = np.maximum(shares @ counts, 1e-9)
        means, before = shares @ (counts * x) / held, means
        sds = _spreads((shares * (x - means[:, None]) ** 2) @ counts, held, NARROWEST * (x[1] - x[0]))
        weights = (held + believed) / (held + believed).sum()
        if np.abs(means - before).max() < SETTLED * (x[-1] - x[0]):
            break
        shares = _posteriors(x, means, sds, weights)
    order = np.argsort(means)
    return means[order], sds[order], weights[order]


def _spreads(squares: Values, held: Values, least: float) -> Values:
    """Standard deviations from each class's sum of squares and its count, drawn towards that of all."""
    worth = BELIEF * held.sum() / len(held)
    sds = np.sqrt((squares + worth * squares.sum() / held.sum()) / (held + worth))
    floored: Values = np.maximum(sds, max(HALF * float(sds.max()), least))
    return floored
