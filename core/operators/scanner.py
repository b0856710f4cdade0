"""A scanner and its protocol: what a site does to a scan, so that a person may be seen by several and the truth is known.

    anatomy --brightness by tissue--> --bias field--> --A: transfer function, voxels--> --noise--> scan

A alone is the member's linear operator; brightness, bias and noise come beside it, as contrast and noise do at low field. A sees
each axis through a Gaussian, by its FWHM in the scan's own voxels, wider across the slices than within them where that is said.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from core.errors import UsageError
from core.geometry.grid import Array, Grid
from core.operators.forward import Beside, Forward
from core.operators.linear import Matrix, apply_axis
from core.operators.profile import gaussian_matrix

ORDER = 2  # of the bias field's polynomials, an axis
WANDER = 0.15  # by how much a scan's bias field differs from its scanner's, in standard deviations of a coefficient
STEP = 8  # voxels of the scan are so many parts of a sharp one, that grids stay exact
REFERENCE = 0  # the scanner that changes neither brightness nor voxels

Pair = tuple[float, float]  # within the slices, across them
Levels = tuple[float, float, float]


class Scanner(Forward):
    """A scan as a certain scanner makes it.

    Attributes:
        curve: factor of the brightness of CSF, grey and white matter; a voxel's by the tissues' posterior probabilities.
        bias: largest logarithm of the bias field; 0 for none.
        pattern: number from which the bias field's shape is drawn.
        width: FWHM of the transfer function in voxels of the scan.
        voxel: voxel size in sharp voxels, to an eighth.
        noise: standard deviation, as a share of the mean of white matter in the scan.
    """

    linear: ClassVar[bool] = False
    needs_tissues: ClassVar[bool] = True
    magnitude: ClassVar[bool] = True

    kind: Literal["scanner"] = "scanner"
    curve: Levels = (1.0, 1.0, 1.0)
    bias: float = Field(0.0, ge=0.0, lt=1.0)
    pattern: int = Field(0, ge=0)
    width: Pair = (1.0, 1.0)
    voxel: Pair = (1.0, 1.0)
    noise: float = Field(0.0, ge=0.0, lt=1.0)

    @classmethod
    def drawn(cls, number: int) -> Scanner:
        """The scanner of that number, always the same; 0 is the reference: brightness and voxels of the anatomy, little else."""
        if number == REFERENCE:
            return cls(bias=0.05, noise=0.01)
        draw = np.random.default_rng([number, 0x5CA9])
        white = float(np.exp(draw.uniform(np.log(0.4), np.log(2.5))))
        grey, fluid = white * draw.uniform(0.88, 1.1), white * draw.uniform(0.7, 1.5)
        sizes = 1 + draw.integers(0, 3) / STEP, 1 + draw.integers(0, 5) / STEP
        return cls(
            curve=(round(fluid, 4), round(grey, 4), round(white, 4)),
            bias=round(draw.uniform(0.05, 0.3), 4),
            pattern=number,
            width=(round(draw.uniform(1.0, 1.5), 4), round(draw.uniform(1.0, 1.7), 4)),
            voxel=(float(sizes[0]), float(sizes[1])),
            noise=round(draw.uniform(0.01, 0.05), 4),
        )

    def degraded_grid(self, grid: Grid, axis: int) -> Grid:
        """See ``Forward.degraded_grid``: whole voxels over all of the field of view, which grows by less than one."""
        for at in range(3):
            grid = grid.refine(at, 1 / self._size(across=at == axis))
        return grid

    def averaged(self, grid: Grid) -> tuple[int, ...]:  # noqa: ARG002 - all of them
        """See ``Forward.averaged``."""
        return 0, 1, 2

    def describe(self) -> str:
        """See ``Forward.describe``."""
        levels = "/".join(f"{level:g}" for level in self.curve)
        sizes, widths = (" and ".join(f"{value:g}" for value in pair) for pair in (self.voxel, self.width))
        seen = f"voxels of {sizes} sharp ones within and across, each seen through {widths} of itself"
        return f"scanner of brightness {levels}, bias {self.bias:g} of shape {self.pattern}, {seen}, noise {self.noise:g}"

    def _size(self, *, across: bool) -> Fraction:
        return Fraction(round(self.voxel[across] * STEP), STEP)

    def _rows(self, n_target: int, n_source: int, scale: float, offset: float, *, across: bool) -> Matrix:
        return gaussian_matrix(n_target, n_source, scale, offset, self.width[across] * scale)

    def _measure(self, image: Array, axis: int, draw: np.random.Generator, beside: Beside) -> tuple[Array, dict[str, Any]]:
        if beside.tissues is None:
            raise UsageError("tissues-missing", "the tissues of the scan", "none", "fit them with Tissues.fit")
        shares = beside.tissues.maps(image) if beside.maps is None else beside.maps
        seen = image * (1 + np.tensordot(np.array(self.curve, np.float32) - 1, shares, 1))
        if self.bias:
            seen *= bias_field(image.shape, self.bias, self.pattern, draw)
        seen = self._seen(seen, axis)
        sd = self.noise * self.curve[2] * beside.tissues.wm_mean
        noisy = np.abs(seen + np.float32(sd) * draw.standard_normal(seen.shape, np.float32))
        return np.where(seen == 0, seen, noisy), {"NoiseSD": sd}  # what was set to zero stays so

    def _seen(self, image: Array, axis: int) -> Array:
        """A of an image on the sharp grid."""
        for at in range(3):
            n, size = image.shape[at], self._size(across=at == axis)
            count = math.ceil(n / size)
            offset = (n - 1) / 2 - float(size) * (count - 1) / 2
            image = apply_axis(self._rows(n, count, float(size), offset, across=at == axis), image, at)
        return image


def bias_field(shape: tuple[int, ...], strength: float, pattern: int, draw: np.random.Generator) -> Array:
    """A smooth field that multiplies a scan: the exponential of a sum of Legendre polynomials up to order 2 an axis.

    Args:
        shape: of the scan.
        strength: largest logarithm, either way.
        pattern: number of the scanner, from which the shape is drawn.
        draw: by which the scan's own field differs a little.

    Returns:
        float32, above 0.
    """
    orders = ORDER + 1
    weights = np.random.default_rng([pattern, 0xB1A5]).standard_normal((orders,) * 3)
    weights += WANDER * draw.standard_normal(weights.shape)
    weights[0, 0, 0] = 0
    for at, order in np.ndindex(3, orders):
        weights.swapaxes(0, at)[order] /= 1 + order
    x, y, z = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    field = np.polynomial.legendre.leggrid3d(x, y, z, weights)
    largest = float(np.abs(field).max()) or 1.0
    return np.asarray(np.exp(strength / largest * field), np.float32)
