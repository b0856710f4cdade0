"""What is measured of a scan to compare sites by; ``FEATURES`` says of each its unit and its source."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid
from core.harmonize.images.brain import bounds
from core.harmonize.images.intensity import inside
from core.harmonize.images.spectrum import Spectrum
from core.harmonize.tables.table import Features
from core.stats import scan_stats
from core.tissues import CSF, GM, WM, Contrast, Tissues

Kept = NDArray[np.bool_]


@dataclass(frozen=True)
class Feature:
    """A figure of a scan.

    Attributes:
        name: in tables.
        unit: "scan" is the scan's own intensity unit; "" a ratio.
        title: what it is.
        source: where the definition comes from.
    """

    name: str
    unit: str
    title: str
    source: str


OWN = "isovox"
BASE = 0.1, 0.25  # of the highest frequency: the band that the others are held against
BANDS = (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)
OVER = f"of that at {BASE[0]:g} to {BASE[1]:g}"
FIT = "three normal distributions by expectation maximisation, core.tissues"
MRIQC = "MRIQC (Esteban et al. 2017), on fitted classes"
FEATURES = (
    Feature("brain_ml", "ml", "volume of the brain mask", "core.harmonize.images.brain"),
    Feature("csf_ml", "ml", "cerebrospinal fluid: sum of posteriors in the mask", FIT),
    Feature("gm_ml", "ml", "grey matter: sum of posteriors in the mask", FIT),
    Feature("wm_ml", "ml", "white matter: sum of posteriors in the mask", FIT),
    Feature("gm_share", "", "grey matter of grey and white matter", FIT),
    Feature("csf_intensity", "scan", "mean of the class CSF", FIT),
    Feature("gm_intensity", "scan", "mean of the class GM", FIT),
    Feature("wm_intensity", "scan", "mean of the class WM", FIT),
    Feature("gm_sd", "scan", "standard deviation of the class GM", FIT),
    Feature("wm_sd", "scan", "standard deviation of the class WM", FIT),
    Feature("contrast", "", "|WM - GM| over their mean", OWN),
    Feature("cjv", "", "coefficient of joint variation, (SD GM + SD WM) / |WM - GM|", f"Ganzetti et al. 2016; {MRIQC}"),
    Feature("cnr", "", "contrast to noise, |WM - GM| / noise", f"Magnotta & Friedman 2006; {MRIQC}"),
    Feature("snr", "", "signal to noise, WM / noise", f"Dietrich et al. 2007; {MRIQC}"),
    Feature("noise", "scan", "SD of the noise: finest wavelet detail in the brain's flattest tenth", "Donoho & Johnstone 1994"),
    Feature("sharpness", "1/mm", "mean gradient in the brain over |WM - GM|", OWN),
    Feature("p05", "scan", "5th percentile of the brain", OWN),
    Feature("p25", "scan", "25th percentile of the brain", OWN),
    Feature("p50", "scan", "median of the brain", OWN),
    Feature("p75", "scan", "75th percentile of the brain", OWN),
    Feature("p95", "scan", "95th percentile of the brain", OWN),
    Feature("spectrum_low", "", f"power at {BANDS[0][0]:g} to {BANDS[0][1]:g} of the highest frequency, log10 {OVER}", OWN),
    Feature("spectrum_middle", "", f"power at {BANDS[1][0]:g} to {BANDS[1][1]:g} of the highest frequency, log10 {OVER}", OWN),
    Feature("spectrum_high", "", f"power at {BANDS[2][0]:g} to {BANDS[2][1]:g} of the highest frequency, log10 {OVER}", OWN),
    Feature("skewness", "", "of the brain's intensities, by quartiles: (p75 + p25 - 2 p50) / (p75 - p25)", "Bowley 1901"),
)
RESTORATION = (
    Feature("consistency", "noise SD", "RMS of what the restored scan says of the measured one", "core.engine.quality"),
    Feature("local", "", "largest local difference from the measured scan", "core.engine.quality"),
    Feature("overshoot", "", "values beyond the measured range", "core.engine.quality"),
    Feature("volume_change", "", "change of the foreground's volume by the restoration", "core.engine.quality"),
)
NAMES = tuple(feature.name for feature in FEATURES + RESTORATION)


def measure(image: Array, grid: Grid, mask: Kept, contrast: Contrast = "T1w") -> dict[str, float]:
    """The ``FEATURES`` of a scan.

    Args:
        image: finite float32 (x, y, z), restored: on isotropic voxels.
        grid: its grid.
        mask: True in the brain, not empty.
        contrast: says which tissue is brightest.

    Returns:
        by name, all finite, in the units that ``FEATURES`` names.

    Raises:
        InputError: tissues-not-found, intensity-flat or sharpness-unknown.
    """
    box = bounds(mask)
    brain, within, part = image[box.slices], mask[box.slices], grid.crop(box)
    tissues = Tissues.fit(brain, within, contrast)
    step = abs(tissues.means[WM] - tissues.means[GM])
    noise = scan_stats(np.where(within, brain, np.float32(0))).noise_sd
    volumes = _volumes(tissues, brain, within, part)
    sharpness = _gradient(brain, within, part) / max(step, 1e-9)
    figures = volumes | _intensities(tissues, step, noise) | {"noise": noise, "sharpness": sharpness}
    return figures | _spectrum(brain, within) | _percentiles(brain, within)


def of_restoration(quality: Mapping[str, float]) -> dict[str, float]:
    """The ``RESTORATION`` features among a restoration's figures; NaN for what is not known."""
    return {feature.name: float(quality.get(feature.name, math.nan)) for feature in RESTORATION}


def of_volumes(features: Features) -> Features:
    """Without the ``RESTORATION`` features: they are of the scan as it was measured, and no step on volumes changes them."""
    others = {feature.name for feature in RESTORATION}
    return features.only([name for name in features.names if name not in others])


def kinds(names: Collection[str]) -> str:
    """How many features are of the image and how many say how well the scan was restored, in words."""
    quality = len({feature.name for feature in RESTORATION}.intersection(names))
    image = f"{len(names) - quality} of the image"
    return f"{image} and {quality} of the restoration's quality" if quality else image


def _volumes(tissues: Tissues, brain: Array, within: Kept, grid: Grid) -> dict[str, float]:
    millilitres = math.prod(grid.spacing) / 1000
    values = brain[within]
    csf, gm, wm = (float(tissues.share(values, tissue).sum(dtype=np.float64)) * millilitres for tissue in (CSF, GM, WM))
    whole = float(np.count_nonzero(within)) * millilitres
    return {"brain_ml": whole, "csf_ml": csf, "gm_ml": gm, "wm_ml": wm, "gm_share": gm / max(gm + wm, 1e-9)}


def _intensities(tissues: Tissues, step: float, noise: float) -> dict[str, float]:
    csf, gm, wm = tissues.means
    gm_sd, wm_sd = tissues.sds[GM], tissues.sds[WM]
    return {
        "csf_intensity": csf,
        "gm_intensity": gm,
        "wm_intensity": wm,
        "gm_sd": gm_sd,
        "wm_sd": wm_sd,
        "contrast": 2 * step / max(abs(gm + wm), 1e-9),
        "cjv": (gm_sd + wm_sd) / max(step, 1e-9),
        "cnr": step / noise,
        "snr": wm / noise,
    }


def _gradient(brain: Array, within: Kept, grid: Grid) -> float:
    """Mean length of the gradient in the brain, in the scan's unit a mm; its outermost voxels are left out."""
    from scipy.ndimage import binary_erosion

    squares = np.zeros(brain.shape, np.float32)
    for axis, size in enumerate(grid.spacing):
        if brain.shape[axis] > 1:
            squares += np.gradient(brain, size, axis=axis).astype(np.float32) ** 2
    core = binary_erosion(within, iterations=2)
    looked_at = core if core.any() else within
    return float(np.sqrt(squares[looked_at]).mean(dtype=np.float64))


def _spectrum(brain: Array, within: Kept) -> dict[str, float]:
    """Radial power deep in the brain, in bands of the frequency."""
    spectrum = Spectrum.of(brain, within)
    base, *bands = (spectrum.bands(edges)[0] for edges in (BASE, *BANDS))
    names = ("spectrum_low", "spectrum_middle", "spectrum_high")
    return {name: math.log10(max(band, 1e-20) / max(base, 1e-20)) for name, band in zip(names, bands, strict=True)}


def _percentiles(brain: Array, within: Kept) -> dict[str, float]:
    low, first, middle, third, high = (float(quantile) for quantile in np.percentile(inside(brain, within), [5, 25, 50, 75, 95]))
    skewness = (third + first - 2 * middle) / max(third - first, 1e-9)
    return {"p05": low, "p25": first, "p50": middle, "p75": third, "p95": high, "skewness": skewness}
