"""Acquisitions that leave parts of k-space out: masks of the spectrum, and the low resolution that a small matrix gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Triple
from core.operators.linear import Kept, LinearOperator, Matrix, Separable, check_mask


def centre_mask(shape: Triple, fractions: tuple[float, float, float]) -> Kept:
    """Keep the low frequencies.

    Args:
        shape: of the image.
        fractions: kept part of the frequencies, an axis, 0 to 1; 0 keeps the mean alone, 1 everything.

    Returns:
        boolean of ``shape``, in the order of numpy's FFT (zero frequency first), symmetric about it.
    """
    lines: list[Kept] = [np.abs(np.fft.fftfreq(n)) <= fraction / 2 for n, fraction in zip(shape, fractions, strict=True)]
    return lines[0][:, None, None] & lines[1][:, None] & lines[2]


def line_mask(shape: Triple, axis: int, keep_one_in: int, centre: float) -> Kept:
    """Keep one phase-encoding line in n, and all lines about the centre.

    Args:
        shape: of the image.
        axis: of phase encoding.
        keep_one_in: acceleration, at least 1.
        centre: fraction of the lines, about frequency 0, that are all kept, 0 to 1.

    Returns:
        boolean of size 1 on the other axes, in the order of numpy's FFT, symmetric about frequency 0.
    """
    n = shape[axis]
    frequency = np.rint(np.fft.fftfreq(n) * n).astype(int)
    kept = (frequency % keep_one_in == 0) | (np.abs(frequency) <= centre * n / 2)
    return np.expand_dims(kept, [other for other in range(3) if other != axis])


@dataclass(frozen=True, eq=False)
class Undersampling(LinearOperator):
    """The unitary discrete Fourier transform of a real image, of which some samples are kept and the others are zero.

    Real images and complex samples make it linear over the reals: Re <A x, y> = <x, A' y>. The adjoint is the zero-filled
    reconstruction. float32 and complex64 belong together, as do float64 and complex128.

    Attributes:
        kept: boolean, in the order of numpy's FFT; of the image's shape, or of size 1 on axes along which it is the same.
        shape: of the images.
    """

    kept: Kept
    shape: Triple

    def __post_init__(self) -> None:
        """Refuse a mask that is not for such images."""
        check_mask(self.kept, self.shape)

    @property
    def shape_in(self) -> Triple:
        """As ``shape``."""
        return self.shape

    @property
    def shape_out(self) -> Triple:
        """As ``shape``."""
        return self.shape

    def forward(self, image: NDArray[Any]) -> NDArray[Any]:
        """Complex samples of a real image."""
        from scipy.fft import fftn

        return np.asarray(fftn(image, norm="ortho") * self.kept)

    def adjoint(self, image: NDArray[Any]) -> NDArray[Any]:
        """Real image of complex samples."""
        from scipy.fft import ifftn

        return np.ascontiguousarray(ifftn(image * self.kept, norm="ortho").real)


def fourier_matrix(n_in: int, n_out: int) -> Matrix:
    """Keep the ``min(n_in, n_out)`` lowest frequencies of an axis and sample the rest on ``n_out`` voxels.

    That is the image of a scanner that measures fewer (or, with zero filling, more) k-space lines over the same field of view:
    a crop of the centred spectrum. The outermost line of an even number counts half at either end, so the image stays real.
    The new voxels tile the old field of view; the axis is taken as periodic.

    Args:
        n_in: voxels of the axis.
        n_out: voxels of the result.

    Returns:
        float64 (n_out, n_in), dense, each row summing to 1; the identity for equal sizes.
    """
    if n_in == n_out:
        return np.eye(n_in)
    kept = min(n_in, n_out)
    frequencies = np.arange(kept // 2 + 1)
    weights = np.where((frequencies == 0) | (2 * frequencies == kept), 1.0, 2.0) / n_in
    turns = 2 * np.pi / n_in * frequencies
    new = ((np.arange(n_out) + 0.5) * n_in / n_out - 0.5)[:, None] * turns
    old = np.arange(n_in)[:, None] * turns
    return np.asarray((np.cos(new) * weights) @ np.cos(old).T + (np.sin(new) * weights) @ np.sin(old).T, dtype=np.float64)


def fourier_operator(shape_in: Triple, shape_out: Triple) -> Separable:
    """Crop (or zero-fill) the centred spectrum of an image: ``fourier_matrix`` on each axis.

    Args:
        shape_in: of the image.
        shape_out: voxels of the result over the same field of view.
    """
    x, y, z = (fourier_matrix(n, m) for n, m in zip(shape_in, shape_out, strict=True))
    return Separable((x, y, z))
