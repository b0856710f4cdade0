"""Low-field scans made from high-field ones: thick slices with gaps, less contrast, more noise (Lin et al. 2023).

The decimation simulator of "Low-field magnetic resonance image enhancement via stochastic image quality transfer" (Medical
Image Analysis 87, 2023), as Kim et al. 2023 use it. With A the slices (see ``profile_matrix``) and the tissue maps p:

    y = (1 + (g - 1) A p_GM) A x + sigma n,    sigma = mean_WM / SNR_WM,    g = SNR_GM sigma / mean_GM        (T1w)
    y = (1 + (w - 1) A p_WM) A x + sigma n,    sigma = mean_GM / SNR_GM,    w = SNR_WM sigma / mean_WM        (FLAIR)

The means are those of the slices (``LowField.on_slices``), as published, also of a crop drawn for training.
White matter keeps its brightness in T1w, grey matter in FLAIR; the pair (SNR_WM, SNR_GM) is drawn for each scan. Where all maps
are 0 (skull, air) the paper's sum of the three maps would erase the scan; here it keeps its brightness.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from core.geometry.grid import Array
from core.tissues import GM, WM, Tissues

Contrast = Literal["T1w", "FLAIR"]
Snr = tuple[float, float]

MEANS: dict[Contrast, Snr] = {"T1w": (64.50, 54.14), "FLAIR": (35.031, 42.329)}  # of (SNR_WM, SNR_GM)
COVARIANCES: dict[Contrast, tuple[Snr, Snr]] = {
    "T1w": ((78.47, 71.50), (71.50, 73.91)),
    "FLAIR": ((34.048, 39.850), (39.850, 50.293)),
}


def draw_snr(contrast: Contrast, draw: np.random.Generator) -> Snr:
    """(SNR_WM, SNR_GM) of a low-field scan: normal with the mean and covariance of Lin et al. 2023, both above 0.

    Args:
        contrast: of the scan.
        draw: drawn from again where a value is not above 0.
    """
    while True:
        white, grey = draw.multivariate_normal(np.array(MEANS[contrast]), np.array(COVARIANCES[contrast]))
        if white > 0 and grey > 0:
            return float(white), float(grey)


def noise_sd(tissues: Tissues, contrast: Contrast, snr: Snr) -> float:
    """Standard deviation of the noise, in the unit of the scan."""
    return tissues.wm_mean / snr[0] if contrast == "T1w" else tissues.gm_mean / snr[1]


def gain(tissues: Tissues, contrast: Contrast, snr: Snr) -> float:
    """By what the tissue is multiplied that changes its brightness: grey matter in T1w, white matter in FLAIR."""
    target = noise_sd(tissues, contrast, snr) * (snr[1] if contrast == "T1w" else snr[0])
    return target / (tissues.gm_mean if contrast == "T1w" else tissues.wm_mean)


def low_field(thick: Array, changed: Array, contrast: Contrast, snr: Snr, tissues: Tissues) -> Array:
    """The mean of the low-field scan: all but the noise.

    Args:
        thick: A x, the sharp scan in thick slices; float32 (x, y, z).
        changed: A p, the share of the tissue that changes its brightness (see ``changed_tissue``), on the same slices; 0 to 1.
        contrast: T1w or FLAIR.
        snr: (SNR_WM, SNR_GM), above 0.
        tissues: of the whole sharp scan, of which this may be a crop.

    Returns:
        float32 of the same shape.
    """
    return thick * (1 + np.float32(gain(tissues, contrast, snr) - 1) * changed)


def changed_tissue(contrast: Contrast) -> int:
    """Which tissue changes its brightness: grey matter in T1w, white matter in FLAIR."""
    return GM if contrast == "T1w" else WM
