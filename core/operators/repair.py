"""What a scan says that an image does not show yet, in a closed form for scans whose axes are the image's.

The scan y is A x and noise. Of all smooth corrections d, normal with the covariance S, the most probable that explains what A x
leaves of y is (Tarantola 2005, section 3.2, linear problems with normal noise)

    d = W (y - A x),    W = S A' (A S A' + s^2 I)^-1

Across the slices S is a Gaussian kernel of 1.5 voxels; within them every column stands alone, so W is one small matrix.
"""

from __future__ import annotations

import numpy as np

from core.operators.linear import Matrix

WIDTH = 1.5  # voxels: standard deviation of the kernel


def smooth_covariance(n: int, width: float = WIDTH) -> Matrix:
    """S: the covariance exp(-(i - j)^2 / (2 width^2)) of ``n`` neighbouring voxels, float64 (n, n)."""
    places = np.arange(n, dtype=np.float64)
    return np.asarray(np.exp(-((places[:, None] - places) ** 2) / (2 * width**2)), np.float64)


def repair_matrix(rows: Matrix, noise: float, width: float = WIDTH) -> Matrix:
    """W, by which what is left of a scan's column becomes a correction of the image's.

    Args:
        rows: A along the axis, float64 (slices, voxels).
        noise: s, in standard deviations of the correction; above 0.
        width: of the kernel, in voxels.

    Returns:
        float64 (voxels, slices).
    """
    spread = smooth_covariance(rows.shape[1], width) @ rows.T
    seen = rows @ spread + noise**2 * np.eye(len(rows))
    return np.asarray(np.linalg.solve(seen, spread.T).T, np.float64)
