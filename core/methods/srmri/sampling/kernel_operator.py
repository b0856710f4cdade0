"""What slices are measured by where a kernel reduces them that was found in the scan: y = every s-th pixel of (k * x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.geometry.grid import Array, Triple
from core.methods.srmri.zero_shot.kernel import reduced
from core.operators.linear import LinearOperator
from core.operators.solve import conjugate_gradients

Map = Callable[[Tensor], Tensor]
STEPS = 30  # of conjugate gradients for the pseudo-inverse


def iterated_inverse(forward: Map, adjoint: Map, seen: Tensor) -> Tensor:
    """H^+ y = H' (H H')^-1 y, by ``STEPS`` of conjugate gradients, which leave out what H hardly let through.

    Args:
        forward: H.
        adjoint: H'.
        seen: y, 0 where nothing was measured.
    """

    def system(image: Array) -> Array:
        return np.asarray(forward(adjoint(torch.from_numpy(image).to(seen))).cpu().numpy())

    right = np.ascontiguousarray(seen.detach().cpu().numpy())
    return adjoint(torch.from_numpy(conjugate_gradients(system, right, STEPS)).to(seen))


@dataclass(frozen=True, eq=False)
class KernelOperator:
    """Of single slices.

    Attributes:
        kernel: (k, k), sum 1.
        factor: s.
        shape: rows and columns of a restored slice.
        kept: None: all pixels were measured.
    """

    kernel: Tensor
    factor: int
    shape: tuple[int, int]
    kept: None = None

    def __call__(self, slices: Tensor) -> Tensor:
        """H x of slices (n, 1, h, w): (n, 1, h / s, w / s); differentiable."""
        return reduced(slices, self.kernel, self.factor)

    def adjoint(self, seen: Tensor) -> Tensor:
        """H' y, of slices (n, 1, h / s, w / s)."""
        with torch.enable_grad():
            x = seen.new_zeros((len(seen), 1, *self.shape)).requires_grad_()
            (turned,) = torch.autograd.grad(self(x), x, seen)
        return turned

    def inverse(self, seen: Tensor) -> Tensor:
        """H^+ y; see ``iterated_inverse``."""
        return iterated_inverse(self, self.adjoint, seen)

    @property
    def factors(self) -> tuple[float, float]:
        """Restored pixels for a measured one, along rows and columns."""
        return float(self.factor), float(self.factor)


@dataclass(frozen=True, eq=False)
class SlicesOperator(LinearOperator):
    """Of all slices of a volume.

    Attributes:
        each: of one.
        axis: along which they follow each other.
        count: how many.
    """

    each: KernelOperator
    axis: int
    count: int

    def _shape(self, rows: int, columns: int) -> Triple:
        sides = [rows, columns]
        sides.insert(self.axis, self.count)
        return sides[0], sides[1], sides[2]

    @property
    def shape_in(self) -> Triple:
        """Of the restored volume."""
        return self._shape(*self.each.shape)

    @property
    def shape_out(self) -> Triple:
        """Of the measured one."""
        rows, columns = (-(-n // self.each.factor) for n in self.each.shape)
        return self._shape(rows, columns)

    def forward(self, image: Array) -> Array:
        """Each slice reduced."""
        return self._volume(self.each(self._planes(image)))

    def adjoint(self, image: Array) -> Array:
        """The transposed map."""
        return self._volume(self.each.adjoint(self._planes(image)))

    def _planes(self, image: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, self.axis, 0)))[:, None]

    def _volume(self, planes: Tensor) -> Array:
        return np.ascontiguousarray(np.moveaxis(planes[:, 0].numpy(), 0, self.axis))
