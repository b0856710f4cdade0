"""Least squares under joint total variation, by the alternating direction method of multipliers (ADMM).

    minimise over y:  sum_c sum_n tau_n / 2 |A_n y_c - x_n|^2  +  sum over voxels sqrt(sum_c lam_c^2 |grad y_c|^2)

with forward differences (none across the last face). Split as z = lam grad y with the scaled dual p (Boyd et al. 2011,
section 3.1.1; the model is that of Brudfors et al. 2018, "MRI super-resolution using multi-channel total variation").
Each round:

    z, p:  v = lam grad y + p;  z = v max(1 - 1 / (rho |v|), 0);  p = v - z        one pass over the voxels
    y:     (sum tau A'A + rho lam^2 grad'grad) y = sum tau A'x + rho lam grad'(z - p)

The second is solved in one step where only one axis is measured coarsely, and by preconditioned conjugate gradients elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit

from core.geometry.grid import Array
from core.operators.linear import LinearOperator, Matrix, Separable

Size = tuple[float, float, float]
Solve = Callable[[Array, Array], Array]

CG_STEPS = 20
CG_STOP = 1e-3  # of the right-hand side, left over
CG_GAIN = 0.1  # of what was left over before: without it rounds that move little are not solved for at all
EXACT = 1e-9  # relative difference of an axis' Gram matrix from a multiple of the identity
TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Observation:
    """A scan, how it came from the unknown image, and its precision."""

    operator: LinearOperator
    scan: Array
    tau: float


@dataclass(frozen=True)
class Channel:
    """An unknown image: the scans that show it, and the weight ``lam`` of its gradient (per unit of intensity, times mm)."""

    seen: tuple[Observation, ...]
    lam: float


@njit(cache=True)  # type: ignore[untyped-decorator]
def _rise(image: Any, dual: Any, scale: Any, i: int, j: int, v: Any, slope: Any, norm: Any) -> None:
    """Along a row of a channel: v = lam grad y + p; adds the squares of lam grad y to ``slope`` and of v to ``norm``."""
    n0, n1, n2 = image.shape
    here, x1, y1 = image[i, j], image[min(i + 1, n0 - 1), j], image[i, min(j + 1, n1 - 1)]
    for k in range(n2):
        a = scale[0] * (x1[k] - here[k])
        b = scale[1] * (y1[k] - here[k])
        c = scale[2] * (here[min(k + 1, n2 - 1)] - here[k])
        slope[k] += a * a + b * b + c * c
        v[0, k], v[1, k], v[2, k] = a + dual[0, i, j, k], b + dual[1, i, j, k], c + dual[2, i, j, k]
        norm[k] += v[0, k] * v[0, k] + v[1, k] * v[1, k] + v[2, k] * v[2, k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fall(v: Any, share: Any, scale: Any, i: int, j: int, dual: Any, out: Any) -> None:
    """Along a row of a channel: p = v * share, and lam grad'(z - p) added to ``out``; v is used up."""
    n0, n1, n2 = out.shape
    i1, j1 = min(i + 1, n0 - 1), min(j + 1, n1 - 1)  # at a last face v is 0
    for k in range(n2):
        for axis in range(3):
            p = v[axis, k] * share[k]
            dual[axis, i, j, k] = p
            v[axis, k] = scale[axis] * (v[axis, k] - p - p)
        out[i, j, k] -= v[0, k] + v[1, k] + v[2, k]
    for k in range(n2):
        out[i1, j, k] += v[0, k]
        out[i, j1, k] += v[1, k]
    for k in range(n2 - 1):
        out[i, j, k + 1] += v[2, k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def shrink(images: Any, dual: Any, scales: Any, threshold: Any, tiny: Any, out: Any) -> float:
    """The update of z and p.

    Args:
        images: y, float32 (c, x, y, z).
        dual: p, (c, 3, x, y, z), replaced by the new one.
        scales: lam_c / voxel size, float32 (c, 3).
        threshold: 1 / rho, float32.
        tiny: added to norms, float32.
        out: receives lam grad'(z - p), like ``images``.

    Returns:
        the joint total variation of ``images``.
    """
    channels, n0, n1, n2 = images.shape
    v = np.empty((channels, 3, n2), images.dtype)
    total = 0.0
    out[:] = 0
    for i in range(n0):
        for j in range(n1):
            norm, slope = np.zeros(n2, images.dtype), np.zeros(n2, images.dtype)
            for c in range(channels):
                _rise(images[c], dual[c], scales[c], i, j, v[c], slope, norm)
            for k in range(n2):
                total += np.sqrt(slope[k])
                norm[k] = min(threshold / (np.sqrt(norm[k]) + tiny), np.float32(1))  # p = v * norm, z = v - p
            for c in range(channels):
                _fall(v[c], norm, scales[c], i, j, dual[c], out[c])
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def roughness(image: Any, weights: Any) -> Any:
    """Grad'grad of an image (x, y, z), each axis times its weight (float32)."""
    n0, n1, n2 = image.shape
    out = np.empty_like(image)
    for i in range(n0):
        for j in range(n1):
            here, done = image[i, j], out[i, j]
            x0, x1 = image[max(i - 1, 0), j], image[min(i + 1, n0 - 1), j]
            y0, y1 = image[i, max(j - 1, 0)], image[i, min(j + 1, n1 - 1)]
            for k in range(n2):
                a = (here[k] - x0[k]) + (here[k] - x1[k])
                b = (here[k] - y0[k]) + (here[k] - y1[k])
                d = (here[k] - here[max(k - 1, 0)]) + (here[k] - here[min(k + 1, n2 - 1)])
                done[k] = weights[0] * a + weights[1] * b + weights[2] * d
    return out


def _cosines(n: int) -> tuple[Matrix, Matrix]:
    """Eigenvalues and eigenvectors (columns) of grad'grad of an axis: the discrete cosine transform II."""
    frequencies = np.arange(n)
    basis = np.cos(np.pi * (np.arange(n)[:, None] + 0.5) * frequencies / n) * np.sqrt(2 / n)
    basis[:, 0] = np.sqrt(1 / n)
    return 2 - 2 * np.cos(np.pi * frequencies / n), basis


def _differences(n: int) -> Matrix:
    forward = np.diff(np.eye(n), axis=0)
    return np.asarray(forward.T @ forward, dtype=np.float64)


class DirectSolver:
    """The inverse of ``G0 x G1 x G2 + sum_a penalty_a grad_a'grad_a``, in the basis of its eigenvectors.

    One axis, that whose Gram matrix is furthest from a multiple of the identity, is kept as it is; the others are replaced by
    such multiples. Where they are ones the inverse is exact, else it is a preconditioner.
    """

    def __init__(self, grams: Sequence[Matrix], penalty: Size) -> None:
        gains = [float(np.trace(gram)) / len(gram) for gram in grams]
        rest = [float(np.abs(g - c * np.eye(len(g))).max()) / c for g, c in zip(grams, gains, strict=True)]
        longest = max(range(3), key=lambda axis: rest[axis])
        self.exact = sorted(rest)[1] <= EXACT
        pairs = [_cosines(len(gram)) for gram in grams]
        values = [size * value for size, (value, _) in zip(penalty, pairs, strict=True)]
        bases = [basis for _, basis in pairs]
        others = float(np.prod(gains)) / gains[longest]
        values[longest], bases[longest] = np.linalg.eigh(
            others * grams[longest] + penalty[longest] * _differences(len(grams[longest]))
        )
        self._bases = [basis.astype(np.float32) for basis in bases]
        self._inverse = [value.astype(np.float32) for value in values]

    def __call__(self, image: Array) -> Array:
        """The inverse applied to an image."""
        done = _turn([basis.T for basis in self._bases], image)
        x, y, z = self._inverse
        for n, along in enumerate(x):
            done[n] /= (along + y)[:, None] + z
        return _turn(self._bases, done)


def _turn(bases: Sequence[Array], image: Array) -> Array:
    """A square matrix along each axis; always products of the same shapes, so always the same bits."""
    n0, n1, n2 = image.shape
    image = (bases[0] @ image.reshape(n0, n1 * n2)).reshape(n0, n1, n2)
    image = np.matmul(bases[1], image)
    return (image.reshape(n0 * n1, n2) @ bases[2].T).reshape(n0, n1, n2)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """``sum tau A'A + rho lam^2 grad'grad`` of a channel, and how it is solved.

    Attributes:
        channel: whose.
        penalty: rho (lam / voxel size)^2 an axis.
    """

    channel: Channel
    penalty: Size

    @cached_property
    def data(self) -> Array:
        """Sum tau A'x."""
        return np.asarray(
            sum(np.float32(observation.tau) * observation.operator.adjoint(observation.scan) for observation in self.channel.seen)
        )

    @cached_property
    def near(self) -> DirectSolver:
        """The inverse or what is near it."""
        seen = self.channel.seen
        shape = seen[0].operator.shape_in
        if len(seen) == 1 and isinstance(seen[0].operator, Separable):
            x, y, z = (matrix.T @ matrix for matrix in seen[0].operator.matrices)
            return DirectSolver((seen[0].tau * x, y, z), self.penalty)
        gain = sum(observation.tau * np.prod(observation.operator.shape_out) for observation in seen) / np.prod(shape)
        return DirectSolver([factor * np.eye(n) for factor, n in zip((gain, 1.0, 1.0), shape, strict=True)], self.penalty)

    @property
    def exact(self) -> bool:
        """Whether ``near`` is the inverse."""
        seen = self.channel.seen
        return len(seen) == 1 and isinstance(seen[0].operator, Separable) and self.near.exact

    def apply(self, image: Array) -> Array:
        """The left-hand side."""
        out: Array = roughness(image, np.array(self.penalty, np.float32))
        for observation in self.channel.seen:
            out += np.float32(observation.tau) * observation.operator.adjoint(observation.operator.forward(image))
        return out

    def solve(self, right: Array, guess: Array) -> Array:
        """The image whose left-hand side is ``right``: exactly, or from ``guess`` by conjugate gradients."""
        if self.exact:
            return self.near(right)
        return conjugate_gradients(self.apply, right, guess, self.near)


def _dot(image: Array, other: Array) -> np.float32:
    return np.float32(np.vdot(image, other))


def conjugate_gradients(apply: Callable[[Array], Array], right: Array, guess: Array, near: Callable[[Array], Array]) -> Array:
    """Solve ``apply(y) = right`` for a symmetric positive map with ``near`` as the preconditioner.

    At most 20 steps, until the residual is below 1e-3 of the right-hand side (the defaults of UniRes) and below a tenth of the
    guess's: a good guess would else be returned as it is, round after round, and the rounds stand still above the optimum.
    """
    image, residual = guess.copy(), right - apply(guess)
    goal = min(CG_STOP * float(np.linalg.norm(right)), CG_GAIN * float(np.linalg.norm(residual)))
    toward = step = near(residual)
    power = _dot(residual, step)
    for _ in range(CG_STEPS):
        if float(np.linalg.norm(residual)) <= goal:
            break
        moved = apply(toward)
        length = power / _dot(toward, moved)
        image += length * toward
        residual -= length * moved
        step = near(residual)
        before, power = power, _dot(residual, step)
        toward = step + (power / before) * toward
    return image


def objective(channels: Sequence[Channel], images: Array, spacing: Size) -> float:
    """What is minimised, at ``images`` (c, x, y, z)."""
    scales = _scales(channels, spacing)
    total = shrink(images, no_dual(images), scales, np.float32(1), TINY, images * 0)
    for channel, image in zip(channels, images, strict=True):
        for observation in channel.seen:
            total += (
                observation.tau
                / 2
                * float(np.sum((observation.operator.forward(image) - observation.scan) ** 2, dtype=np.float64))
            )
    return float(total)


def _scales(channels: Sequence[Channel], spacing: Size) -> Array:
    return np.array([[channel.lam / size for size in spacing] for channel in channels], np.float32)


@dataclass(frozen=True, eq=False)
class Problem:
    """What the rounds need and do not change.

    Attributes:
        equations: of each channel.
        scales: lam_c / voxel size, float32 (c, 3).
        rho: penalty of the splitting.
    """

    equations: tuple[NormalEquations, ...]
    scales: Array
    rho: float

    @classmethod
    def of(cls, channels: Sequence[Channel], spacing: Size, rho: float) -> Problem:
        """The problem of some channels.

        Args:
            channels: the unknown images and their scans.
            spacing: voxel sizes in mm.
            rho: penalty of the splitting, above 0; it sets the pace, not the result.
        """
        scales = _scales(channels, spacing)
        sizes = scales.astype(float).tolist()
        pairs = zip(channels, sizes, strict=True)
        return cls(
            tuple(NormalEquations(channel, (rho * a * a, rho * b * b, rho * c * c)) for channel, (a, b, c) in pairs), scales, rho
        )

    def advance(self, images: Array, dual: Array) -> tuple[float, float]:
        """A round.

        Args:
            images: y, float32 (c, x, y, z), replaced by the new ones.
            dual: p, (c, 3, x, y, z), replaced, too; zeros before the first round.

        Returns:
            the squares of two norms: of how far the images moved, and of the images.
        """
        pull = np.empty_like(images)
        shrink(images, dual, self.scales, np.float32(1 / self.rho), TINY, pull)
        pull *= np.float32(self.rho)
        moved = sum(
            _advance(equations, image, right) for equations, image, right in zip(self.equations, images, pull, strict=True)
        )
        return moved, float(np.vdot(images, images))


def no_dual(images: Array) -> Array:
    """The dual before the first round."""
    return np.zeros((len(images), 3, *images.shape[1:]), np.float32)


def _advance(equations: NormalEquations, image: Array, pull: Array) -> float:
    """Put the new y into ``image``; the square of the norm by which it moved."""
    pull += equations.data
    new = equations.solve(pull, image)
    image -= new
    moved = float(np.vdot(image, image))
    image[:] = new
    return moved
