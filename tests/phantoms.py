"""A head of known tissues: white matter within grey matter within fluid, in a skull and a scalp where wanted."""

from __future__ import annotations

import numpy as np

MEANS = {"T1w": (30.0, 75.0, 105.0), "T2w": (110.0, 70.0, 50.0), "FLAIR": (20.0, 95.0, 75.0)}  # CSF, GM, WM
RADII = (0.62, 0.56, 0.42)  # of the box: what lies within each is fluid, grey, white


def brain(shape=(64, 64, 64), contrast: str = "T1w", noise: float = 4.0, *, head: bool = False, seed: int = 0):
    """The image (0 outside the brain, or a whole head in noisy air), and the labels 0 to 3 for nothing, CSF, GM, WM."""
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    # grey matter folds: its border to white matter is a wave, so that much of it is near a border, as in a brain
    x, y, z = grids
    radius = np.sqrt(x**2 + y**2 + z**2)
    fold = 0.06 * np.sin(9 * x) * np.sin(9 * y) * np.sin(9 * z)
    labels = np.zeros(shape, np.int16)
    for label, limit in zip((1, 2, 3), RADII, strict=True):
        labels[radius + (fold if label == 3 else 0) < limit * 1.4] = label
    truth = np.array([0.0, *MEANS[contrast]])[labels]
    draw = np.random.default_rng(seed)
    if head:
        truth[(radius > 0.9) & (radius < 0.97)] = 120.0  # scalp; skull and air are dark
        noisy = np.hypot(truth + draw.normal(0, noise, shape), draw.normal(0, noise, shape))
        return noisy.astype(np.float32), labels
    noisy = np.where(labels > 0, np.maximum(truth + draw.normal(0, noise, shape), 1.0), 0.0)
    return noisy.astype(np.float32), labels
