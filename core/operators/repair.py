"""What a scan says that an image does not show yet.

The scan y is A x and noise. Of all smooth corrections d, normal with the covariance S, the most probable that explains what A x
leaves of y is (Tarantola 2005, section 3.2, linear problems with normal noise)

    d = W (y - A x),    W = S A' (A S A' + s^2 I)^-1

S is a Gaussian kernel of 1.5 voxels along each axis. Where the scan's axes are the image's, A and S are one matrix an axis, so
that W is a closed form: with K = A S A' = U diag(w) U' of each axis, A S A' + s^2 I has the eigenvectors U x U x U and the
eigenvalues w w w + s^2. Elsewhere W is applied by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from core.geometry.grid import Array
from core.operators.linear import LinearOperator, Matrix, Separable, apply_axis
from core.operators.solve import conjugate_gradients

WIDTH = 1.5  # voxels: standard deviation of the kernel
CORRECTION = 0.1  # standard deviation of the correction, of the scan's 99.9th percentile
LEAST = 0.1  # noise that is assumed at least, in standard deviations of the correction
ROUNDS = 20  # of conjugate gradients at most


def smooth_covariance(n: int, width: float = WIDTH) -> Matrix:
    """S: the covariance exp(-(i - j)^2 / (2 width^2)) of ``n`` neighbouring voxels, float64 (n, n)."""
    places = np.arange(n, dtype=np.float64)
    return np.asarray(np.exp(-((places[:, None] - places) ** 2) / (2 * width**2)), np.float64)


def repair_matrix(rows: Matrix, noise: float, width: float = WIDTH) -> Matrix:
    """W along one axis, by which what is left of a scan's column becomes a correction of the image's.

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


def correction(operator: LinearOperator, left: Array, noise: float) -> Array:
    """The smooth correction of an image that explains what it leaves of a scan, W (y - A x).

    Args:
        operator: A, of images (x, y, z) to scans.
        left: y - A x, float32, in standard deviations of the correction.
        noise: s, in the same unit; above 0. Conjugate gradients end where what they leave has this RMS, or after 20 rounds.

    Returns:
        float32 (x, y, z), in the same unit.
    """
    if isinstance(operator, Separable):
        return _in_closed_form(operator.matrices, left, noise)
    return _by_rounds(operator, left, noise)


def explained(operator: LinearOperator, left: Array, noise: float) -> Array:
    """What of ``left`` the correction explains, A W left; the arguments are those of ``correction``.

    Returns:
        float32 of the scan's shape, in the unit of ``left``.
    """
    if not isinstance(operator, Separable):
        return np.asarray(operator.forward(_by_rounds(operator, left, noise)), np.float32)
    parts = [_eigen(rows) for rows in operator.matrices]
    for axis, (_, vectors, _) in enumerate(parts):
        left = apply_axis(vectors.T, left, axis)
    power = _product_of(values for values, _, _ in parts)
    left = np.asarray(left * (power / (power + noise**2)), np.float32)
    for axis, (_, vectors, _) in enumerate(parts):
        left = apply_axis(vectors, left, axis)
    return left


def _eigen(rows: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Of one axis the eigenvalues and eigenvectors of A S A', and S A'."""
    spread = smooth_covariance(rows.shape[1]) @ rows.T
    own, vectors = np.linalg.eigh(rows @ spread)
    return np.maximum(own, 0), vectors, spread


def _product_of(values: Iterable[Matrix]) -> Matrix:
    x, y, z = values
    return np.asarray(x[:, None, None] * y[:, None] * z)


def _in_closed_form(matrices: Sequence[Matrix], left: Array, noise: float) -> Array:
    parts = [_eigen(rows) for rows in matrices]
    held = left
    for axis, (_, vectors, _) in enumerate(parts):
        held = apply_axis(vectors.T, held, axis)
    held = np.asarray(held / (_product_of(values for values, _, _ in parts) + noise**2), np.float32)
    for axis, (_, vectors, spread) in enumerate(parts):
        held = apply_axis(spread @ vectors, held, axis)
    return held


def _smoothed(image: Array) -> Array:
    """S image."""
    for axis, n in enumerate(image.shape):
        image = apply_axis(smooth_covariance(n), image, axis)
    return image


def _by_rounds(operator: LinearOperator, left: Array, noise: float) -> Array:
    def system(scan: Array) -> Array:
        return np.asarray(operator.forward(_smoothed(operator.adjoint(scan))) + np.float32(noise**2) * scan, np.float32)

    weights = conjugate_gradients(system, left, ROUNDS, goal=noise * left.size**0.5)
    return np.asarray(_smoothed(operator.adjoint(weights)), np.float32)
