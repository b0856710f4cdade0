"""A scan seen slice by slice: what makes a measured slice of a restored one, its pseudo-inverse, and wavelet fusion.

y = R x C'  of a slice x, R and C the forward model's matrices along its rows and columns; 0 where nothing was measured
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from core.errors import RestorationError
from core.geometry.grid import Array, Grid
from core.methods.base import Measured
from core.methods.srmri.sampling.kernel_operator import KernelOperator, iterated_inverse
from core.operators.linear import Compose, Kept, LinearOperator, Mask, Matrix, Separable

RANK = 1e-6  # singular values below this, of the largest, count as none
CORONAL = 1


def parts_of(operator: LinearOperator) -> tuple[Separable, Kept | None]:
    """The matrices of an operator, and the voxels that it keeps.

    Raises:
        RestorationError: of turned grids, whose axes do not separate.
    """
    steps = operator.steps if isinstance(operator, Compose) else (operator,)
    if isinstance(steps[0], Separable) and all(isinstance(step, Mask) for step in steps[1:]):
        kept = [step.kept for step in steps[1:] if isinstance(step, Mask)]
        return steps[0], (np.logical_and.reduce(kept) if kept else None)
    wanted, got = "a scan whose axes are parallel to the target's", "one that is turned"
    remedy = "use the method srmri with few levels (sampler=few), which take any operator"
    raise RestorationError("not-separable", wanted, got, remedy)


def is_identity(matrix: Matrix) -> bool:
    """Whether an axis passes as it is."""
    m, n = matrix.shape
    return m == n and bool(np.allclose(matrix, np.eye(n), atol=1e-9))


def reduced_axes(measured: Measured, target: Grid) -> tuple[int, ...]:
    """Axes of the target along which the scan's voxels are not its own."""
    matrices = parts_of(measured.operator(target))[0].matrices
    return tuple(axis for axis in range(3) if not is_identity(matrices[axis]))


def plane_axes(reduced: Sequence[int]) -> tuple[int, int]:
    """Axis along which the slices follow each other, so that what is reduced lies within them; and another, across these.

    Args:
        reduced: axes that the scan has fewer voxels along.
    """
    free = [axis for axis in (CORONAL, 0, 2) if axis not in reduced]
    first = free[0] if free else CORONAL
    rest = [axis for axis in (*free, *reduced, 0, 1, 2) if axis != first]
    return first, rest[0]


@dataclass(frozen=True, eq=False)
class PlaneOperator:
    """What a slice is measured by.

    Attributes:
        rows: (m, h).
        columns: (k, w).
        kept: (m, k), 1 where a pixel was measured; None: everywhere.
    """

    rows: Tensor
    columns: Tensor
    kept: Tensor | None = None

    def __call__(self, slices: Tensor) -> Tensor:
        """H x of slices (…, h, w): (…, m, k); differentiable."""
        seen = self.rows @ slices @ self.columns.T
        return seen if self.kept is None else seen * self.kept

    @cached_property
    def _inverses(self) -> tuple[Tensor, Tensor]:
        rows, columns = (torch.linalg.pinv(matrix.double(), rtol=RANK).to(matrix) for matrix in (self.rows, self.columns))
        return rows, columns

    @cached_property
    def _keeps_all(self) -> bool:
        """Whether there is nothing to invert but the mask."""
        return all(is_identity(matrix.double().cpu().numpy()) for matrix in (self.rows, self.columns))

    def adjoint(self, seen: Tensor) -> Tensor:
        """H' y, of slices (…, m, k)."""
        seen = seen if self.kept is None else seen * self.kept
        return self.rows.T @ seen @ self.columns

    def inverse(self, seen: Tensor) -> Tensor:
        """H^+ y, of slices (…, m, k); of a mask on a scan that is reduced, too, by iteration, for it does not part by axis."""
        if self.kept is None:
            rows, columns = self._inverses
            return rows @ seen @ columns.T
        seen = seen * self.kept
        return seen if self._keeps_all else iterated_inverse(self, self.adjoint, seen)

    @property
    def factors(self) -> tuple[float, float]:
        """Restored pixels for a measured one, along rows and columns."""
        return self.rows.shape[1] / self.rows.shape[0], self.columns.shape[1] / self.columns.shape[0]


SliceOperator = PlaneOperator | KernelOperator


def check_uncoupled(measured: int, restored: int, axis: int, *, alike: bool = True) -> None:
    """Refuse slices along an axis that are not each measured by one.

    Args:
        measured: how many.
        restored: likewise.
        axis: along which they follow each other.
        alike: whether each lies where its measured one does.

    Raises:
        RestorationError: slices-coupled.
    """
    if measured != restored or not alike:
        got = f"{measured} measured and {restored} restored slices along axis {axis}"
        remedy = "use the method srmri with few levels (sampler=few), which take whole volumes, without a search for the kernel"
        raise RestorationError("slices-coupled", "one measured slice for each restored one", got, remedy)


def plane_operators(measured: Measured, target: Grid, axis: int, device: str = "cpu") -> list[PlaneOperator]:
    """The operator of each slice along an axis of the target, on a torch device.

    Raises:
        RestorationError: slices-coupled: a measured slice is not of one restored slice.
    """
    separable, kept = parts_of(measured.operator(target))
    check_uncoupled(measured.grid.shape[axis], target.shape[axis], axis, alike=is_identity(separable.matrices[axis]))
    rows, columns = (torch.from_numpy(separable.matrices[at]).float().to(device) for at in range(3) if at != axis)
    if kept is None:
        return [PlaneOperator(rows, columns)] * target.shape[axis]
    planes = np.moveaxis(np.broadcast_to(kept, separable.shape_out), axis, 0)
    return [PlaneOperator(rows, columns, torch.from_numpy(plane.astype(np.float32)).to(device)) for plane in planes]


def fusion_levels(operator: SliceOperator) -> tuple[int, int]:
    """Wavelet levels along rows and columns: log2 of the factor, so that the band is what the scan measured."""
    rows, columns = (max(0, round(math.log2(factor))) for factor in operator.factors)
    return rows, columns


def fused(image: Array, band: Array, levels: tuple[int, int], wavelet: str = "bior4.4") -> Array:
    """An image whose approximation band is another's, its details kept (SRMRI, section 3.3).

    Periodised wavelets are a basis where sides divide by 2^level: the band is then kept exactly. Other sides are mirrored to it.

    Args:
        image: (h, w), float32 or float64.
        band: of the same shape, whose approximation is taken.
        levels: along rows and columns; 0 leaves an axis whole, and where both are 0 the image stays.
        wavelet: by PyWavelets' name; the paper's is bior4.4.
    """
    if not any(levels):
        return image
    sides = [(0, -n % 2**level) for n, level in zip(image.shape, levels, strict=True)]
    difference = np.pad(band - image, sides, mode="symmetric")
    approximation = _approximated(difference, levels, wavelet)[: image.shape[0], : image.shape[1]]
    return np.asarray(image + approximation, image.dtype)


def _approximated(image: Array, levels: tuple[int, int], wavelet: str) -> Array:
    """The part of an image that its approximation band alone makes."""
    import pywt

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Level value")  # of slices shorter than the filter
        for axis, level in enumerate(levels):
            if level:
                coarse, *details = pywt.wavedec(image, wavelet, "periodization", level, axis)
                image = pywt.waverec([coarse, *(np.zeros_like(each) for each in details)], wavelet, "periodization", axis)
    return np.asarray(image)
