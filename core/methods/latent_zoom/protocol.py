"""The evaluation of latent zoom: slices 4 times coarser in plane, slices left out with 1, 2, 3, 4, 6 or 10 between, and both.

Each scan is degraded in each way and tables have a line for each. The paper leaves out a tenth of the slices, none beside
another, and scores these. Here every second one is left out; all of them are scored, and, as the paper's, a tenth of all
slices, which is drawn of them. To a method that makes a slice of the two beside it, as these five, it is the same whether
others are left out; what sees farther, as splines and the repair, sees less than in the paper. Figures are means over slices,
restored and true scaled alike by the truth's range. The paper scales each slice of both by its own, which hides errors of
brightness and counts those of dim slices for more: the same figures of slices so scaled stand beside, as ``_own``.

psnr_slices, ssim_slices    across the third axis, of slices with at least a twentieth tissue; no slice has more than 60 dB
psnr_between, ssim_between  likewise, of those that were not measured and lie between two that were
psnr_tenth, ssim_tenth      likewise, of a tenth of all slices with tissue, drawn of those with measured ones at both sides
psnr_slices_own, ssim_…     of the slices of ``psnr_slices``, each restored and each true one from 0 to 1 by its own range
psnr_tenth_own, ssim_…      likewise of those of ``psnr_tenth``: the paper's condition
lpips_slices                LPIPS of the slices of ``psnr_slices``, each by its own range, where it is scored
psnr_slices.12 and such     of each slice by its number: not in tables, but Almost Stochastic Order by slice is made of them
structure_invented, _lost   structure under 5 voxels beyond the truth's, and of the truth that is lacking, of all that it has
structure_…_between         likewise, within the slices of ``psnr_between`` alone
lesion_kept and others      of a lesion that is planted in the scan, see ``core.evaluation.planted``
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import IsovoxError
from core.evaluation.planted import METRICS as PLANTED
from core.evaluation.planted import planted_lesion
from core.evaluation.protocol import RESTORATION, Distance, Mask, Measure, Metric, Protocol
from core.geometry.grid import Array, Grid
from core.geometry.slices import brackets
from core.methods.latent_zoom.order import tables
from core.stats import foreground_threshold

TISSUE = 0.05  # share of a slice, from which it counts
SMALL = 5  # voxels: spots, edges and folds that are smaller are the structure that is looked at
FLOOR = 1e-3  # of the range: a slice's error counts as no less, for a measured slice can come back exactly
FACTORS = (2, 3, 4, 5, 7, 11)
BOTH = (2, 7)  # of slices that are coarser, too
TENTH, SEED = 0.1, 0  # share of the slices that the paper leaves out, and of their draw

OWN = "each by its own range, the restored and the true, as the paper's"
METRICS = (
    Metric(
        "psnr_slices", "PSNR of slices", 2, "in dB, mean over slices across the third axis, 60 at most; peak: the truth's range"
    ),
    Metric("ssim_slices", "SSIM of slices", 4, "2-D, gaussian window, mean over the same slices"),
    Metric("psnr_slices_own", "PSNR of slices, own range", 2, f"of the same slices, {OWN}"),
    Metric("ssim_slices_own", "SSIM of slices, own range", 4, f"of the same slices, {OWN}"),
    Metric("lpips_slices", "LPIPS of slices", 4, f"VGG features of the same slices, {OWN}; less is better", higher=False),
    Metric("psnr_between", "PSNR of new slices", 2, "of the slices that were not measured, between two that were"),
    Metric("ssim_between", "SSIM of new slices", 4, "of the same slices"),
    Metric("psnr_tenth", "PSNR of a tenth", 2, "of a tenth of all slices, drawn of those with measured ones at both sides"),
    Metric("ssim_tenth", "SSIM of a tenth", 4, "of the same slices"),
    Metric("psnr_tenth_own", "PSNR of a tenth, own range", 2, f"of the same slices, {OWN}"),
    Metric("ssim_tenth_own", "SSIM of a tenth, own range", 4, f"of the same slices, {OWN}"),
    *(
        Metric(f"structure_{name}{ending}", f"Structure {name}{title}", 4, f"{words}, of all that it has{where}", higher=False)
        for ending, title, where in (("", "", ""), ("_between", " in new slices", ", within the slices that were not measured"))
        for name, words in (
            ("invented", "small structure that the truth does not have"),
            ("lost", "small structure of the truth that is not there"),
        )
    ),
)


def structure(image: Array) -> Array:
    """What is brighter, and what is darker, than its surroundings in a cube of 5 voxels (top-hats): (2, x, y, z), from 0 on."""
    from scipy.ndimage import black_tophat, white_tophat

    return np.stack([white_tophat(image, (SMALL,) * 3), black_tophat(image, (SMALL,) * 3)])


def invented_and_lost(restored: Array, truth: Array, places: Sequence[int] | None = None) -> tuple[float, float]:
    """Structure of a restored scan beyond its truth's, and of the truth that is lacking; both of all that the truth has.

    Args:
        restored: (x, y, z).
        truth: likewise.
        places: slices across the third axis within which it is summed, though it is found in the volume; None: all.
    """
    within = slice(None) if places is None else [*places]
    ours, theirs = (structure(image)[..., within] for image in (restored, truth))
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
    """The figures; see the module."""
    both, places = alike(restored, truth), counted(truth)
    invented, lost = invented_and_lost(*both)
    figures = of_slices(*both, places, "slices") | means(of_slices(by_own(both[0]), by_own(both[1]), places, "slices_own"))
    return figures | {"structure_invented": invented, "structure_lost": lost}


def perceptual_scores(restored: Array, truth: Array, distance: Distance) -> dict[str, float]:
    """LPIPS of the slices across the third axis with tissue: their mean, and each.

    Args:
        restored: (x, y, z).
        truth: likewise.
        distance: LPIPS of two slices, which scales each by its own range.
    """
    each = {n: distance(restored[..., n], truth[..., n]) for n in counted(truth)}
    return {"lpips_slices": float(np.mean([*each.values()]))} | {f"lpips_slices.{n}": value for n, value in each.items()}


def alike(restored: Array, truth: Array) -> tuple[Array, Array]:
    """Both in units of the truth's range, from its least value on.

    Raises:
        IsovoxError: metric-range, for a truth that is constant.
    """
    low, high = float(truth.min()), float(truth.max())
    if not high > low:
        raise IsovoxError("metric-range", "a truth that varies", f"{high:.3g} everywhere", "check the truth")
    ours, theirs = ((image - np.float32(low)) / np.float32(high - low) for image in (restored, truth))
    return ours, theirs


def by_own(image: Array) -> Array:
    """Each slice across the third axis from 0 to 1 by its own least and largest; 0 where it is constant."""
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    return np.asarray((image - low) / np.where(high > low, high - low, np.float32(1)), np.float32)


def means(figures: dict[str, float]) -> dict[str, float]:
    """Figures without those of each slice."""
    return {name: value for name, value in figures.items() if "." not in name}


def of_slices(ours: Array, theirs: Array, places: Sequence[int], name: str) -> dict[str, float]:
    """Mean PSNR and SSIM of slices across the third axis, and those of each; none where there are none."""
    figures = {"psnr": slice_psnr, "ssim": slice_ssim} if places else {}
    by_slice = {f"{figure}_{name}": [of(ours[..., n], theirs[..., n]) for n in places] for figure, of in figures.items()}
    mean = {title: float(np.mean(values)) for title, values in by_slice.items()}
    return mean | {f"{title}.{n}": value for title, values in by_slice.items() for n, value in zip(places, values, strict=True)}


def between_scores(restored: Array, truth: Array, grid: Grid, measured: Grid) -> dict[str, float]:
    """The figures of the slices across the third axis that were not measured and lie between two that were.

    Args:
        restored: on ``grid``.
        truth: likewise.
        grid: of both.
        measured: of the scan.
    """
    new, places, both = brackets(measured, grid, 2).share > 0, counted(truth), alike(restored, truth)
    between = [n for n in places if new[n]]
    if not between:
        return {}
    drawn, (invented, lost) = drawn_slices(new, places), invented_and_lost(*both, between)
    tenth = of_slices(*both, drawn, "tenth") | of_slices(by_own(both[0]), by_own(both[1]), drawn, "tenth_own")
    structures = {"structure_invented_between": invented, "structure_lost_between": lost}
    return of_slices(*both, between, "between") | means(tenth) | structures


def drawn_slices(new: NDArray[np.bool_], places: Sequence[int]) -> list[int]:
    """A tenth of the slices that count, rising: inner ones that were left out alone, so that none is beside another.

    Args:
        new: of all slices, which were left out.
        places: of those that count.

    Returns:
        numbers of slices, the same for the same arguments; as many as there are where they are fewer than a tenth.
    """
    alone = [n for n in places if 0 < n < len(new) - 1 and new[n] and not (new[n - 1] or new[n + 1])]
    count = min(len(alone), max(1, round(TENTH * len(places))))
    return sorted(int(n) for n in np.random.default_rng(SEED).permutation(alone)[:count])


PLANE = {"operator": "in-plane", "factor": 4}
DEGRADATIONS = {
    "plane4": PLANE,
    **{f"gap{factor}": {"operator": "slice-mask", "factor": factor} for factor in FACTORS},
    **{f"plane4gap{factor}": PLANE | {"every": factor} for factor in BOTH},
}
PROTOCOL = Protocol(
    "latent-zoom",
    DEGRADATIONS,
    measures=(RESTORATION, Measure(scores, METRICS, between_scores, perceptual_scores, version=6)),
    probe=planted_lesion,
    probe_metrics=PLANTED,
    tables=tables,
)
