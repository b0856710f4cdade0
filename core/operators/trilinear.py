"""Trilinear resampling between two grids in any orientation, with its exact adjoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from core.geometry.grid import Grid, Triple
from core.operators.linear import LinearOperator


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gather(image: Any, affine: Any, out: Any) -> None:
    """Trilinear values of ``image`` at ``affine`` of the indices of ``out``; beyond the ends the outermost voxel."""
    m0, m1, m2 = image.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, y, z = _place(affine, i, j, k, m0, m1, m2)
                a, b, c = min(int(x), max(m0 - 2, 0)), min(int(y), max(m1 - 2, 0)), min(int(z), max(m2 - 2, 0))
                d, e, f = min(a + 1, m0 - 1), min(b + 1, m1 - 1), min(c + 1, m2 - 1)
                u, v, w = x - a, y - b, z - c
                near = _bilinear(image[a], b, c, e, f, v, w)
                far = _bilinear(image[d], b, c, e, f, v, w)
                out[i, j, k] = near * (1 - u) + far * u


@njit(cache=True)  # type: ignore[untyped-decorator]
def _scatter(image: Any, affine: Any, out: Any) -> None:
    """The adjoint of ``_gather``: adds to ``out``, which is zero at first."""
    m0, m1, m2 = out.shape
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            for k in range(image.shape[2]):
                x, y, z = _place(affine, i, j, k, m0, m1, m2)
                a, b, c = min(int(x), max(m0 - 2, 0)), min(int(y), max(m1 - 2, 0)), min(int(z), max(m2 - 2, 0))
                d, e, f = min(a + 1, m0 - 1), min(b + 1, m1 - 1), min(c + 1, m2 - 1)
                u, v, w = x - a, y - b, z - c
                value = image[i, j, k]
                out[a, b, c] += value * (1 - u) * (1 - v) * (1 - w)
                out[a, b, f] += value * (1 - u) * (1 - v) * w
                out[a, e, c] += value * (1 - u) * v * (1 - w)
                out[a, e, f] += value * (1 - u) * v * w
                out[d, b, c] += value * u * (1 - v) * (1 - w)
                out[d, b, f] += value * u * (1 - v) * w
                out[d, e, c] += value * u * v * (1 - w)
                out[d, e, f] += value * u * v * w


@njit(cache=True)  # type: ignore[untyped-decorator]
def _bilinear(plane: Any, b: int, c: int, e: int, f: int, v: float, w: float) -> Any:
    return (plane[b, c] * (1 - w) + plane[b, f] * w) * (1 - v) + (plane[e, c] * (1 - w) + plane[e, f] * w) * v


@njit(cache=True)  # type: ignore[untyped-decorator]
def _place(affine: Any, i: int, j: int, k: int, m0: int, m1: int, m2: int) -> Any:
    x = affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]
    y = affine[1, 0] * i + affine[1, 1] * j + affine[1, 2] * k + affine[1, 3]
    z = affine[2, 0] * i + affine[2, 1] * j + affine[2, 2] * k + affine[2, 3]
    return min(max(x, 0.0), m0 - 1.0), min(max(y, 0.0), m1 - 1.0), min(max(z, 0.0), m2 - 1.0)


@dataclass(frozen=True, eq=False)
class Trilinear(LinearOperator):
    """Trilinear resampling of an image on one grid at the voxels of another, in any orientation.

    Attributes:
        affine: from voxels of the result to voxels of the image, (3, 4).
        image_shape: of the image.
        result_shape: of the result.
    """

    affine: NDArray[np.float64]
    image_shape: Triple
    result_shape: Triple

    @property
    def shape_in(self) -> Triple:
        """Of the image."""
        return self.image_shape

    @property
    def shape_out(self) -> Triple:
        """Of the result."""
        return self.result_shape

    def forward(self, image: NDArray[Any]) -> NDArray[Any]:
        """Values at the voxels of the result; beyond the image's ends its outermost voxel."""
        out = np.empty(self.result_shape, image.dtype)
        _gather(np.ascontiguousarray(image), self.affine, out)
        return out

    def adjoint(self, image: NDArray[Any]) -> NDArray[Any]:
        """Every voxel given back to those it was read from."""
        out = np.zeros(self.image_shape, image.dtype)
        _scatter(np.ascontiguousarray(image), self.affine, out)
        return out


def resample(source: Grid, target: Grid) -> Trilinear:
    """Trilinear resampling of an image on ``source`` onto ``target``."""
    affine = np.asarray(np.linalg.solve(source.affine, target.affine)[:3], dtype=np.float64)
    return Trilinear(np.ascontiguousarray(affine), source.shape, target.shape)
