"""What a scan says that an image does not show yet.

The scan y is A x and noise. Of all smooth corrections d, normal with the covariance S, the most probable that explains what A x
leaves of y is (Tarantola 2005, section 3.2, linear problems with normal noise)

    d = W (y - A x),    W = S A' (A S A' + s^2 I)^-1

S is a Gaussian kernel of 1.5 voxels along each axis. Where the scan's axes are the image's, A and S are one matrix an axis, so
that W is a closed form: with K = A S A' = U diag(w) U' of each axis, A S A' + s^2 I has the eigenvectors U x U x U and the
eigenvalues w w w + s^2. Elsewhere W is applied by conjugate gradients, until what is left of the scan's head is its noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array
from core.operators.linear import Kept, LinearOperator, Matrix, Separable, apply_axis

WIDTH = 1.5  # voxels: standard deviation of the kernel
CORRECTION = 0.1  # standard deviation of the correction, of the scan's 99.9th percentile
LEAST = 0.1  # noise that is assumed at least, in standard deviations of the correction
ROUNDS = 20  # of conjugate gradients at most
NEAR = 1e-3  # of the first residual, at which conjugate gradients have come to the closed form whatever the noise


@dataclass(frozen=True)
class Goal:
    """What conjugate gradients may leave of a scan.

    Attributes:
        noise: RMS of what is left, in standard deviations of the correction.
        within: the voxels of the scan that it is taken over: most of a scan is air, in which nothing is left from the start.
    """

    noise: float
    within: Kept

    def rms(self, left: Array) -> float:
        """Of what is left there."""
        return float(np.sqrt(np.mean(np.square(left[self.within], dtype=np.float64)))) if self.within.any() else 0.0


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


def correction(operator: LinearOperator, left: Array, noise: float, goal: Goal | None = None) -> tuple[Array, int | None]:
    """The smooth correction of an image that explains what it leaves of a scan, W (y - A x), and how it was made.

    Args:
        operator: A, of images (x, y, z) to scans.
        left: y - A x, float32, in standard deviations of the correction.
        noise: s, in the same unit; above 0.
        goal: at which conjugate gradients end before their 20 rounds; None: only where they have come to W.

    Returns:
        float32 (x, y, z), in the same unit, and the rounds of conjugate gradients; None where there is a closed form.
    """
    if isinstance(operator, Separable):
        return _in_closed_form(operator.matrices, left, noise), None
    return _by_rounds(operator, left, noise, goal)


def explained(operator: LinearOperator, left: Array, noise: float, goal: Goal | None = None) -> Array:
    """What of ``left`` the correction explains, A W left; the arguments are those of ``correction``.

    Returns:
        float32 of the scan's shape, in the unit of ``left``.
    """
    if not isinstance(operator, Separable):
        return np.asarray(operator.forward(_by_rounds(operator, left, noise, goal)[0]), np.float32)
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


def _by_rounds(operator: LinearOperator, left: Array, noise: float, wanted: Goal | None) -> tuple[Array, int]:
    """The d of least |left - A d|^2 + s^2 d' S^-1 d, by conjugate gradients that S conditions: of each it is p = S q.

    Beside it is how many rounds were made.

    So the sum falls in every round, and the first few are a repair of their own. (Rounds towards (A S A' + s^2 I)^-1 left, of
    which d is S A', come to the same, but what they are at before is worse than no repair.)
    """
    goal, s2 = wanted or Goal(0.0, np.ones(left.shape, np.bool_)), np.float32(noise**2)
    rest = np.asarray(operator.adjoint(left), np.float32)
    smooth = _smoothed(rest)
    p, q, made = smooth.copy(), rest.copy(), np.zeros_like(smooth)
    first = size = _dot(rest, smooth)
    for rounds in range(ROUNDS):
        if size <= NEAR**2 * first or goal.rms(left) <= goal.noise:
            return made, rounds
        seen = np.asarray(operator.forward(p), np.float32)
        image = np.asarray(operator.adjoint(seen) + s2 * q, np.float32)
        length = np.float32(size / _dot(p, image))
        made, left, rest = made + length * p, left - length * seen, rest - length * image
        smooth = _smoothed(rest)
        before, size = size, _dot(rest, smooth)
        p, q = smooth + np.float32(size / before) * p, rest + np.float32(size / before) * q
    return made, ROUNDS


def _dot(first: Array, second: Array) -> float:
    return float(np.vdot(first.astype(np.float64), second.astype(np.float64)))
