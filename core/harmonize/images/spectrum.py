"""The power of a brain at each frequency, deep in it: neither its border nor its low frequencies leak into the others.

    brain --Laplacian--> --window with a smooth border--> |FFT|^2 --by the Laplacian's own power--> power

Anatomy's power falls by a factor of thousands: seen through a window, what is low would be found where little is. The Laplacian
makes it even first (prewhitening: Blackman & Tukey, The Measurement of Power Spectra, 1958), and commutes with any blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array
from core.harmonize.images.brain import bounds

Kept = NDArray[np.bool_]
Values = NDArray[np.float64]

DEEP = 2  # voxels of the brain's border that are left out
SMOOTH = 1.5  # voxels: standard deviation of the Gaussian over the window's border
LEAST = 200  # voxels of a window


@dataclass(frozen=True)
class Spectrum:
    """Power a voxel: of white noise its variance, at every frequency.

    Attributes:
        power: float32, of the coefficients of ``rfftn`` over the brain's box.
        squares: float64, likewise: of the frequency along each axis squared, in shares of the highest; three arrays that
            broadcast to ``power``.
    """

    power: Array
    squares: tuple[Values, Values, Values]

    @classmethod
    def of(cls, image: Array, mask: Kept) -> Spectrum:
        """The spectrum of a brain; at frequency 0 it is 0.

        Args:
            image: finite float32 (x, y, z).
            mask: True in the brain.

        Raises:
            InputError: sharpness-unknown, where the brain is too small or flat.
        """
        from scipy.fft import rfftn
        from scipy.ndimage import laplace

        box = bounds(mask)
        window = _window(mask[box.slices])
        weight = float(np.square(window, dtype=np.float64).sum())
        if np.count_nonzero(window > 0.5) < LEAST:
            got = "too few voxels deep in it"
            raise InputError("sharpness-unknown", "a brain whose sharpness can be told", got, "check the scan, or leave it out")
        brain = image[box.slices].astype(np.float32)
        power = np.square(np.abs(rfftn(laplace(brain) * window))) / np.float32(weight)
        if not power.max() > 0:
            got = "one whose voxels do not differ"
            raise InputError("sharpness-unknown", "a brain whose sharpness can be told", got, "check the scan, or leave it out")
        x, y, z = (*(np.fft.fftfreq(n) * 2 for n in brain.shape[:2]), np.fft.rfftfreq(brain.shape[2]) * 2)
        x, y = x[:, None, None], y[:, None]
        even = np.square(sum(2 - 2 * np.cos(np.pi * f) for f in (x, y, z)))
        power = np.where(even > 0, power / np.maximum(even, 1e-12), 0)
        squared: list[Values] = [np.asarray(f**2, np.float64) for f in (x, y, z)]
        return cls(np.asarray(power, np.float32), (squared[0], squared[1], squared[2]))

    @property
    def radius(self) -> Values:
        """Distance from frequency 0, in shares of an axis's highest."""
        x, y, z = self.squares
        far: Values = np.sqrt(x + y + z)
        return far

    def bands(self, edges: tuple[float, ...]) -> list[float]:
        """Mean power between edges of the radius; 0 in a band without frequencies."""
        far = self.radius
        parts = [self.power[(far >= low) & (far < high)] for low, high in pairwise(edges)]
        return [float(part.mean(dtype=np.float64)) if part.size else 0.0 for part in parts]


def _window(mask: Kept) -> Array:
    from scipy.ndimage import binary_erosion, gaussian_filter

    core = binary_erosion(np.pad(mask, 1), iterations=DEEP)[1:-1, 1:-1, 1:-1]
    return np.asarray(gaussian_filter(core.astype(np.float32), SMOOTH, mode="constant") * mask, np.float32)
