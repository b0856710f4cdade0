"""The image nearest to the scan and to an estimate: u = argmin |y - A u|^2 + trust |u - v|^2, exactly or by conjugate gradients.

Separable A, an axis U_a S_a V_a':  u = v + V [ S (U' y - S V' v) / (S^2 + trust) ], S the outer product over the axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.geometry.grid import Array
from core.methods.srmri.sampling.planes import is_identity
from core.operators.linear import LinearOperator, Matrix, Separable
from core.operators.solve import conjugate_gradients


class DataStep(ABC):
    """Pulls an estimate onto scans."""

    @abstractmethod
    def __call__(self, estimate: Array, trust: float) -> Array:
        """The image, float32, for a trust above 0 in the estimate."""

    @abstractmethod
    def residual(self, image: Array) -> float:
        """Root mean square of y - A x."""


def _apart(scans: Sequence[tuple[LinearOperator, Array]], image: Array) -> float:
    squares = [np.square(seen - operator.forward(image), dtype=np.float64) for operator, seen in scans]
    return float(np.sqrt(sum(float(each.sum()) for each in squares) / sum(each.size for each in squares)))


@dataclass(frozen=True, eq=False)
class Exact(DataStep):
    """Of one scan whose operator is a matrix an axis.

    Attributes:
        operator: A.
        seen: y, float32.
    """

    operator: Separable
    seen: Array

    @cached_property
    def _bases(self) -> list[tuple[Matrix, Matrix, Matrix] | None]:
        """U, S and V of each axis; None where nothing happens."""
        return [None if is_identity(each) else _decomposed(each) for each in self.operator.matrices]

    @cached_property
    def _values(self) -> Array:
        """Products of the axes' singular values."""
        lines = [np.ones(n) if basis is None else basis[1] for basis, n in zip(self._bases, self.operator.shape_in, strict=True)]
        product: Array = np.einsum("i,j,k->ijk", *lines).astype(np.float32)
        return product

    @cached_property
    def _turned(self) -> Array:
        """U' y."""
        return self._along(self.seen, lambda basis: basis[0].T)

    def __call__(self, estimate: Array, trust: float) -> Array:
        """See ``DataStep``."""
        rest = self._turned - self._values * self._along(estimate, lambda basis: basis[2].T)
        moved = np.asarray(self._values / (np.square(self._values) + np.float32(trust)) * rest, np.float32)
        return np.asarray(estimate + self._along(moved, lambda basis: basis[2]), np.float32)

    def residual(self, image: Array) -> float:
        """See ``DataStep``."""
        return _apart([(self.operator, self.seen)], image)

    def _along(self, image: Array, pick: Callable[[tuple[Matrix, Matrix, Matrix]], Matrix]) -> Array:
        for axis, basis in enumerate(self._bases):
            if basis is not None:
                image = np.moveaxis(np.tensordot(pick(basis).astype(image.dtype), image, (1, axis)), 0, axis)
        return np.ascontiguousarray(image)


def _decomposed(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return u, s, np.asarray(vt.T)


@dataclass(frozen=True, eq=False)
class Iterated(DataStep):
    """Of several scans, masked ones or turned ones, by conjugate gradients (Chung et al. 2023, "DDS").

    Attributes:
        scans: operator and values of each.
        steps: at most.
    """

    scans: Sequence[tuple[LinearOperator, Array]]
    steps: int = 8

    def __call__(self, estimate: Array, trust: float) -> Array:
        """See ``DataStep``."""
        right = sum(
            (operator.adjoint(seen - operator.forward(estimate)) for operator, seen in self.scans), np.zeros_like(estimate)
        )

        def system(moved: Array) -> Array:
            normal = sum((operator.adjoint(operator.forward(moved)) for operator, _ in self.scans), np.zeros_like(moved))
            return normal + moved.dtype.type(trust) * moved

        return estimate + conjugate_gradients(system, right, self.steps)

    def residual(self, image: Array) -> float:
        """See ``DataStep``."""
        return _apart(self.scans, image)
