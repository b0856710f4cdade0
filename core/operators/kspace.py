"""Acquisitions that leave lines of k-space out, as the images that a scanner makes of them: zero-filled."""

from __future__ import annotations

import numpy as np

from core.errors import GridError
from core.operators.linear import Kept, Matrix


def kept_lines(n: int, keep_one_in: int, centre: float) -> Kept:
    """One phase-encoding line in ``keep_one_in``, and all lines about the centre.

    Args:
        n: voxels along the axis of phase encoding, at least 1.
        keep_one_in: acceleration, at least 1.
        centre: fraction of the lines, about frequency 0, that are all kept, 0 to 1.

    Returns:
        boolean (n,), in the order of numpy's FFT, symmetric about frequency 0, which is kept.

    Raises:
        GridError: for an acceleration below 1 or a fraction outside [0, 1].
    """
    if keep_one_in < 1 or not 0 <= centre <= 1:
        got = f"one in {keep_one_in}, centre {centre}"
        raise GridError("lines-invalid", "an acceleration of at least 1 and a centre in [0, 1]", got, "check both")
    frequency = np.rint(np.fft.fftfreq(n) * n).astype(int)
    return np.asarray((frequency % keep_one_in == 0) | (np.abs(frequency) <= centre * n / 2))


def zero_filled_matrix(n: int, keep_one_in: int, centre: float) -> Matrix:
    """The zero-filled image of an axis of which only some phase-encoding lines were measured: F' M F.

    The mask M is symmetric about frequency 0, so the image of a real object is real, and the map is an orthogonal projection:
    symmetric, and the same once more. Along the other axes the transform and its inverse cancel.

    Args:
        n: voxels along the axis of phase encoding, at least 1.
        keep_one_in: acceleration, at least 1.
        centre: fraction of the lines, about frequency 0, that are all kept, 0 to 1.

    Returns:
        float64 (n, n), dense, each row summing to 1; the identity where every line is kept.

    Raises:
        GridError: for an acceleration below 1 or a fraction outside [0, 1].
    """
    lines = kept_lines(n, keep_one_in, centre)
    if lines.all():
        return np.eye(n)
    shift = np.arange(n)[:, None] - np.arange(n)
    return np.asarray(np.fft.ifft(lines).real[shift % n], dtype=np.float64)
