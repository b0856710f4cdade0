"""Linear maps with exact adjoints; those along single axes are banded matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError
from core.geometry.grid import Triple

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Matrix = NDArray[np.float64]
Kept = NDArray[np.bool_]

NEGLIGIBLE = 1e-12  # weights of a matrix below this are rounding, and would widen its band
WIDE = 64  # non-zeros in a row, on average, from which a dense product is faster
LINES = (
    272  # along the last axis that are turned at a time: they stay in the cache, 17 of its lines apart, so none evicts another
)


def apply_axis(matrix: Matrix, image: NDArray[Any], axis: int) -> NDArray[Any]:
    """Multiply every line of ``image`` along ``axis`` by ``matrix``.

    A banded matrix is applied as a sparse one: each output voxel is the sum of its terms in the order of the columns, so its
    bits depend neither on the layout in memory, nor on the crop along the other axes, nor on the number of threads. A dense
    matrix (more than 64 non-zeros a row) goes through BLAS, whose bits may depend on shape and layout.

    Args:
        matrix: (m, n).
        image: 3-D, ``n`` voxels along ``axis``, float32 or float64, in any order of memory; the result has the same.
        axis: 0, 1 or 2.

    Returns:
        the image with ``m`` voxels along ``axis``, in the type of ``image``; ``image`` itself where ``matrix`` is the identity.

    Raises:
        GridError: where the matrix does not fit the image, or the image is not of floats.
    """
    if image.ndim != 3 or matrix.shape[1] != image.shape[axis] or image.dtype not in {np.dtype("f4"), np.dtype("f8")}:
        wanted = f"a float32 or float64 image with {matrix.shape[1]} voxels on axis {axis} of 3"
        raise GridError("matrix-mismatch", wanted, f"{image.dtype} {image.shape}", "build the matrix for this grid")
    if _is_identity(matrix):
        return image
    if (first := _run_of(matrix)) is not None:
        part = tuple(slice(first, first + len(matrix)) if at == axis else slice(None) for at in range(3))
        return np.asarray(image[part] + image.dtype.type(0))  # as a sum gives it: -0 becomes 0
    image = image if image.flags.forc else image.copy(order="K")
    if image.flags.f_contiguous and not image.flags.c_contiguous:
        return apply_axis(matrix, image.T, 2 - axis).T
    return _product(matrix, np.ascontiguousarray(image), axis)


def _is_identity(matrix: Matrix) -> bool:
    m, n = matrix.shape
    return m == n and bool((matrix.diagonal() == 1).all()) and np.count_nonzero(matrix) == n


def _run_of(matrix: Matrix) -> int | None:
    """The first of the voxels that a matrix takes as they are, where they follow each other; None where it does more."""
    m, n = matrix.shape
    first = int(matrix[0].argmax())
    alike = first + m <= n and bool((matrix[range(m), range(first, first + m)] == 1).all())
    return first if alike and np.count_nonzero(matrix) == m else None


def _product(matrix: Matrix, image: NDArray[Any], axis: int) -> NDArray[Any]:
    """``apply_axis`` of an image in C order."""
    from scipy.sparse import csr_array

    small = matrix.astype(image.dtype)
    factor: csr_array[Any] | NDArray[Any] = csr_array(small) if np.count_nonzero(matrix) <= WIDE * len(matrix) else small
    n0, n1, n2 = image.shape
    if axis == 2:
        return _last(factor, image.reshape(n0 * n1, n2)).reshape(n0, n1, len(matrix))
    if axis == 1:
        return _middle(factor, image)
    return _middle(factor, image.reshape(1, n0, n1 * n2)).reshape(len(matrix), n1, n2)


def _middle(factor: csr_array[Any] | NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Along axis 1 of three."""
    out = np.empty((image.shape[0], factor.shape[0], image.shape[2]), image.dtype)
    for done, part in zip(out, image, strict=True):
        done[:] = factor @ part
    return out


def _last(factor: csr_array[Any] | NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Along axis 1 of two."""
    out = np.empty((image.shape[0], factor.shape[0]), image.dtype)
    for start in range(0, len(image), LINES):
        part = slice(start, start + LINES)
        out[part] = (factor @ np.ascontiguousarray(image[part].T)).T
    return out


class LinearOperator(ABC):
    """A linear map A of images of ``shape_in`` to images of ``shape_out``.

    Both ways keep the floating type of what they are given. The dot-product test holds: <A x, y> = <x, A' y>.
    """

    @property
    @abstractmethod
    def shape_in(self) -> Triple:
        """Shape of x."""

    @property
    @abstractmethod
    def shape_out(self) -> Triple:
        """Shape of A x."""

    @abstractmethod
    def forward(self, image: NDArray[Any]) -> NDArray[Any]:
        """A x, for x of ``shape_in``."""

    @abstractmethod
    def adjoint(self, image: NDArray[Any]) -> NDArray[Any]:
        """A' y, for y of ``shape_out``."""


@dataclass(frozen=True, eq=False)
class Separable(LinearOperator):
    """A matrix an axis.

    Attributes:
        matrices: float64, (voxels out, voxels in) of axes 0, 1 and 2.
    """

    matrices: tuple[Matrix, Matrix, Matrix]

    @property
    def shape_in(self) -> Triple:
        """Columns of the matrices."""
        x, y, z = (matrix.shape[1] for matrix in self.matrices)
        return x, y, z

    @property
    def shape_out(self) -> Triple:
        """Rows of the matrices."""
        x, y, z = (matrix.shape[0] for matrix in self.matrices)
        return x, y, z

    def forward(self, image: NDArray[Any]) -> NDArray[Any]:
        """Apply the matrices, those first that shrink the image most."""
        return _along_axes(self.matrices, image)

    def adjoint(self, image: NDArray[Any]) -> NDArray[Any]:
        """Apply the transposed matrices, those first that grow the image least."""
        return _along_axes([matrix.T for matrix in self.matrices], image)


def _along_axes(matrices: Sequence[Matrix], image: NDArray[Any]) -> NDArray[Any]:
    order = sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1])
    return reduce(lambda done, axis: apply_axis(matrices[axis], done, axis), order, image)


def check_mask(kept: Kept, shape: Triple) -> None:
    """Refuse a mask that cannot be broadcast to images of ``shape``.

    Raises:
        GridError: where an axis of ``kept`` is neither 1 nor that of the images.
    """
    if len(kept.shape) != 3 or any(m not in {1, n} for m, n in zip(kept.shape, shape, strict=True)):
        raise GridError("mask-mismatch", f"a mask for images of {shape}", f"one of {kept.shape}", "draw it on the image's grid")


@dataclass(frozen=True, eq=False)
class Mask(LinearOperator):
    """Keep some voxels, zero the others; its own adjoint.

    A method whose data term fills masked voxels with another value fills both sides with it, so it cancels in A x - y.

    Attributes:
        kept: boolean, True where a voxel was measured; of the image's shape, or of size 1 on axes along which it is the same.
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
        """Zero what was not measured (NaN there, too)."""
        return np.where(self.kept, image, image.dtype.type(0))

    def adjoint(self, image: NDArray[Any]) -> NDArray[Any]:
        """As ``forward``."""
        return self.forward(image)


@dataclass(frozen=True, eq=False)
class Compose(LinearOperator):
    """Several maps, one after the other.

    Attributes:
        steps: in the order in which they act on an image: ``Compose((a, b)).forward(x) == b.forward(a.forward(x))``.
    """

    steps: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        """Refuse maps that do not fit one another."""
        for first, then in zip(self.steps, self.steps[1:], strict=False):
            if first.shape_out != then.shape_in:
                got = f"{first.shape_out} into {then.shape_in}"
                raise GridError("operators-mismatch", "each output to fit the next input", got, "list them in the order they act")

    @property
    def shape_in(self) -> Triple:
        """Of the first step."""
        return self.steps[0].shape_in

    @property
    def shape_out(self) -> Triple:
        """Of the last step."""
        return self.steps[-1].shape_out

    def forward(self, image: NDArray[Any]) -> NDArray[Any]:
        """All steps, first to last."""
        return reduce(lambda done, step: step.forward(done), self.steps, image)

    def adjoint(self, image: NDArray[Any]) -> NDArray[Any]:
        """All adjoints, last to first."""
        return reduce(lambda done, step: step.adjoint(done), reversed(self.steps), image)
