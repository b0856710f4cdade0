"""Whole volumes in few noise levels, without gradients (DiffPIR: Zhu et al. 2023; DDS: Chung et al. 2023).

    x = interpolated scan + s_0 z                                                    a hole in it filled from around
    D = what the score model expects behind the slices of x                          along one axis, then along another (TPDM)
    u = argmin |y - A u|^2 + trust (s_y / s_i)^2 |u - D|^2                           exactly
    x = u + s_j (sqrt(1 - zeta) (x - u) / s_i + sqrt(zeta) z)                        s_j the next level, 0 at the end

Levels fall as in EDM (Karras et al. 2022, eq. 5). Those on the second axis have a data step, too, which TPDM leaves out there:
it costs next to nothing, and with it two planes are better than one (by 0.04 to 0.09 dB of four degradations; without it by -0.04
to 0.04).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.geometry.slices import mirrored
from core.methods.base import Measured
from core.methods.iterative import State
from core.methods.shown import Undo, filled, noise_share, shown
from core.methods.srmri.sampling.data_step import DataStep, Exact, Iterated
from core.methods.srmri.sampling.kernel_operator import KernelOperator, SlicesOperator
from core.methods.srmri.sampling.planes import check_uncoupled, parts_of, plane_axes, reduced_axes
from core.methods.srmri.score_model import ScoreModel
from core.methods.srmri.zero_shot.unknown import Unknown
from core.models.scaling import UPPER
from core.noise import normal
from core.operators.forward import parallel
from core.operators.trilinear import resample

CURVE = 7.0  # rho of EDM
LEAST_NOISE = 1e-3  # of the scan, of its 99.9th percentile
FIRST = 0.4  # noise to begin with, of the 99.9th percentile: what the interpolated scan shows shines through
ANEW = 2.0  # likewise where there are holes: it does not
FEWEST = 16  # slices along an axis, from which it takes part
IMAGE = "image"  # name of what grows in the state


@dataclass(frozen=True)
class Pace:
    """How the levels are walked.

    Attributes:
        levels: how many.
        first: sigma, of the scan's 99.9th percentile.
        last: sigma before the end.
        trust: lambda.
        fresh: zeta.
    """

    levels: int
    first: float
    last: float
    trust: float
    fresh: float

    def sigmas(self) -> list[float]:
        """Falling, and 0 at the end: one more than there are levels."""
        high, low = self.first ** (1 / CURVE), self.last ** (1 / CURVE)
        return [(high + n / max(1, self.levels - 1) * (low - high)) ** CURVE for n in range(self.levels)] + [0.0]


@dataclass(frozen=True, eq=False)
class Volume:
    """Scans of one person that are restored as one image.

    Attributes:
        model: the score model.
        data: what pulls an image onto the scans.
        start: them interpolated, holes filled, in the networks' units.
        axes: along which slices follow each other, in turn.
        noise: s_y.
        measured: the scans as they are shown.
        target: grid of the result.
    """

    model: ScoreModel
    data: DataStep
    start: Array
    axes: tuple[int, ...]
    noise: float
    measured: Sequence[Measured]
    target: Grid

    @property
    def masked(self) -> bool:
        """Whether there are voxels of a scan that were not measured."""
        return any(scan.mask is not None and bool(scan.mask.any()) for scan in self.measured)


def volume_of(model: ScoreModel, measured: Sequence[Measured], target: Grid) -> Volume:
    """The problem of some scans."""
    measured = [shown(scan) for scan in measured]
    images = [UPPER.apply(scan.image, scan.stats) for scan in measured]
    operators = [scan.operator(target) for scan in measured]
    raised = [_onto(filled(image, scan.mask), scan.grid, target) for image, scan in zip(images, measured, strict=True)]
    noise = max(LEAST_NOISE, *(noise_share(scan) for scan in measured))
    reduced = reduced_axes(measured[0], target) if parallel(measured[0].grid, target) else ()
    axes = plane_axes(reduced)
    both = model.network.neighbours > 0 and min(target.shape) >= FEWEST
    data: DataStep = Iterated(list(zip(operators, images, strict=True)))
    if len(measured) == 1 and parallel(measured[0].grid, target):
        separable, kept = parts_of(operators[0])
        data = Exact(separable, images[0]) if kept is None else data
    start = np.asarray(np.mean(raised, 0), np.float32) if len(raised) > 1 else raised[0]
    return Volume(model, data, start, axes if both else axes[:1], noise, measured, target)


def _onto(image: Array, grid: Grid, target: Grid) -> Array:
    return interpolate(image, grid, target, 3) if parallel(grid, target) else resample(grid, target).forward(image)


def knowing(problem: Volume, unknown: Unknown, kernel: Array) -> Volume:
    """The problem of one scan once the kernel of its slices, (k, k), is known.

    Raises:
        RestorationError: slices-coupled.
    """
    axis, shape = unknown.axis, problem.target.shape
    check_uncoupled(len(unknown.slices), shape[axis], axis)
    rows, columns = (n for at, n in enumerate(shape) if at != axis)
    each = KernelOperator(torch.from_numpy(kernel.copy()), unknown.factor, (rows, columns))
    seen = np.ascontiguousarray(np.moveaxis(unknown.slices, 0, axis))
    axes = plane_axes([at for at in range(3) if at != axis])[: len(problem.axes)]
    return replace(problem, data=Iterated([(SlicesOperator(each, axis, shape[axis]), seen)]), axes=axes)


def noise_of(problem: Volume, number: int) -> Array:
    """Standard normal noise of the target's voxels."""
    return normal(Box.whole(problem.target.shape), problem.measured[0].noise, number)


def begin(problem: Volume, pace: Pace) -> State:
    """The interpolated scan under noise."""
    return State({IMAGE: problem.start + np.float32(pace.first) * noise_of(problem, 0)})


def beyond(problem: Volume, x: Array, axis: int, number: int, sigma: float) -> Array:
    """Mirrored slices before the first and after the last, as many as the network sees, under noise of their own.

    Args:
        problem: the scans'.
        x: the image under noise.
        axis: that slices follow each other along.
        number: of the noise.
        sigma: of the noise of that number in ``x``, which is taken off the mirrored slices.
    """
    around, n = problem.model.network.neighbours, x.shape[axis]
    places = mirrored(np.array([*range(-around, 0), *range(n, n + around)], int), n)

    def drawn(place: int) -> Array:
        start, stop = [0, 0, 0], [*x.shape]
        start[axis], stop[axis] = place, place + 1
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return normal(box, problem.measured[0].noise, number)

    ends = np.take(x, places, axis)
    for at, place in enumerate(places.tolist()):
        own = np.moveaxis(drawn(n + at) - drawn(place), axis, 0)[0]  # places from n on are of no slice
        np.moveaxis(ends, axis, 0)[at] += np.float32(sigma) * own
    return ends


def advance(problem: Volume, pace: Pace, state: State, number: int) -> Mapping[str, float]:
    """The level of that number."""
    x = state.arrays[IMAGE]
    now, then = pace.sigmas()[number : number + 2]
    along = number % len(problem.axes)
    drawn = now if number == 0 else now * math.sqrt(pace.fresh)
    estimate = problem.model.volume(x, now, problem.axes[along], beyond(problem, x, problem.axes[along], number, drawn))
    figures = {"sigma": now, "residual": problem.data.residual(estimate)}
    pulled = problem.data(estimate, pace.trust * (problem.noise / now) ** 2)
    if then == 0:
        state.arrays[IMAGE] = pulled
        return figures
    rest = (x - pulled) * np.float32(math.sqrt(1 - pace.fresh) * then / now)
    fresh = noise_of(problem, number + 1) * np.float32(math.sqrt(pace.fresh) * then)
    state.arrays[IMAGE] = np.ascontiguousarray(pulled + rest + fresh)
    return figures


def images_of(problem: Volume, state: State, undo: Undo = UPPER.undo) -> list[Array]:
    """The image in each scan's own unit."""
    return [np.ascontiguousarray(undo(state.arrays[IMAGE], scan.stats)) for scan in problem.measured]
