"""An image pulled onto the scans: minimise sum |K (A x - y)|^2 + trust |x - v|^2 by conjugate gradients.

K keeps the voxels that count. The last image of few steps lies between v and the optimum, as with an early stop (InverseSR has no
such step; it is that of DDS, Chung et al. 2023, eq. 12, and of the pixel stage of ReSample, Song et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array
from core.operators.linear import Kept, LinearOperator
from core.operators.solve import conjugate_gradients


@dataclass(frozen=True, eq=False)
class Equation:
    """A x = y where voxels count.

    Attributes:
        operator: A.
        values: y, in the unit of x.
        kept: True where a voxel counts.
    """

    operator: LinearOperator
    values: Array
    kept: Kept

    def lacking(self, image: Array) -> Array:
        """A' K (y - A x)."""
        rest = self.values - self.operator.forward(image)
        return np.asarray(self.operator.adjoint(np.where(self.kept, rest, rest.dtype.type(0))))

    def normal(self, image: Array) -> Array:
        """A' K A x."""
        seen = self.operator.forward(image)
        return np.asarray(self.operator.adjoint(np.where(self.kept, seen, seen.dtype.type(0))))


def pull(equations: Sequence[Equation], image: Array, trust: float, steps: int) -> Array:
    """The image after ``steps`` conjugate-gradient steps from v = ``image``.

    Args:
        equations: of the scans.
        image: v, float32 or float64.
        trust: in v, above 0; a voxel that was measured by itself moves 1 / (1 + trust) of the way.
        steps: at most.
    """
    dtype = image.dtype.type
    right = _sum([equation.lacking(image) for equation in equations])

    def system(moved: Array) -> Array:
        return _sum([equation.normal(moved) for equation in equations]) + dtype(trust) * moved

    return image + conjugate_gradients(system, right, steps)


def _sum(parts: Sequence[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
