"""Few noise levels, at each of which the decoded estimate is pulled onto the scan in image space.

    z_t --eps--> z_0 = (z_t - sigma eps) / alpha --D--> v --conjugate gradients--> x
    minimise |A x - y|^2 + trust (x - v)' S^-1 (x - v)        S: smooth corrections, as of the repair of every method
    z_0 + E(x) - E(v), new noise --> z at the next level      the encoder's own error cancels
    after the last level, on the target grid itself: the same from v

10 to 20 levels of one noise network, one decoder and two encoders take the place of 600 gradients through all of them. The steps
in image space are those of DDS (Chung et al. 2023, eq. 12), that they come before any in the code is ReSample (Song et al. 2023).

What keeps the levels in the prior's domain: codes stay within three standard deviations of its own samples; noise is drawn anew
at each level (eta = 1 of DDIM), for the predicted noise holds what earlier codes lacked; corrections are smooth, for the encoder
has never seen slices that stand alone; and levels begin where alpha is large enough for an estimate. Only voxels that were
measured count; the last image of few steps lies between v and the optimum, as with an early stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from core.diffusion.predictions import x0_from_eps
from core.geometry.grid import Array
from core.methods.base import MethodSettings
from core.methods.inverse_sr.method import Inverse, Inversion, Strategy, take_in
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.search.chain import times_of
from core.methods.inverse_sr.search.data_term import Line
from core.methods.inverse_sr.settings import PriorSettings
from core.methods.iterative import State
from core.operators.linear import Kept, LinearOperator, Matrix, apply_axis
from core.operators.repair import WIDTH, smooth_covariance
from core.operators.solve import conjugate_gradients

FIRST = 30  # of the 46 steps are left at the first level: there alpha is 0.17
HELD = 3.0  # standard deviations of the prior's samples, within which codes stay
DRAWN = 2000  # number of the first level's noise, beyond those of the starts


class CgSettings(PriorSettings):
    """Settings of the steps in image space."""

    levels: int = Field(10, ge=1, le=FIRST, title="Levels", description="of noise, from the first to the last")
    inner: int = Field(8, ge=1, title="Inner steps", description="of conjugate gradients at a level, and at the end")
    trust: float = Field(0.05, gt=0, title="Trust", description="in the prior's image against the scan; more is smoother")


class InverseCg(Inversion):
    """See the module. A step is a level; the state is the code at it."""

    name: ClassVar[str] = "inverse-sr-cg"
    revision: ClassVar[int] = 3  # what a mask covers has no say
    Settings: ClassVar[type[MethodSettings]] = CgSettings
    strategy: ClassVar[Strategy | None] = "ldm"
    counted: ClassVar[str] = "Levels"
    settings: CgSettings

    @property
    def each(self) -> int:
        """Levels."""
        return self.settings.levels

    def start(self, problem: Inverse) -> State:
        """The mean code with noise, or another method's result with noise."""
        state = State({}, {"start": 0, "made": 0})
        base = self._encoded(problem, self._result_of(problem)) if self.settings.start else problem.prior.mean_code
        state.arrays["base"] = np.ascontiguousarray(base, np.float32)
        self._begin(problem, state)
        return state

    def step(self, problem: Inverse, state: State) -> dict[str, float]:
        """A level; after the last, the image on the target grid is taken in."""
        made = int(state.values["made"])
        code, image, apart = self._level(problem, state.arrays["z"], self._levels()[made])
        state.values["made"] = made + 1
        if made + 1 == self.settings.levels:
            self._end(problem, state, image)
        else:
            state.arrays["z"] = self._noised(problem, state, code)
        return {"difference": apart}

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _work(self, prior: Prior) -> float:
        """Of the noise network, the decoder and two encoders, each about as dear as the decoder."""
        cost = prior.cost(0)
        return cost.noise_flops + 3 * cost.decoder_flops

    def _levels(self) -> list[float]:
        """Timesteps evenly among the last of the 46."""
        times = times_of(FIRST)
        return [times[round(n * FIRST / self.settings.levels)] for n in range(self.settings.levels)]

    def _begin(self, problem: Inverse, state: State) -> None:
        """The first level of a start."""
        state.values["made"] = 0
        state.arrays["z"] = self._noised(problem, state, state.arrays["base"])

    def _noised(self, problem: Inverse, state: State, code: Array) -> Array:
        """A code with the noise of the next level, of a number of its own."""
        made = int(state.values["made"])
        alpha, sigma = problem.prior.schedule.alpha_sigma(self._levels()[made])
        noise = self._noise(problem, DRAWN + int(state.values["start"]) * FIRST + made)
        return np.ascontiguousarray(np.float32(alpha) * code + np.float32(sigma) * noise)

    def _level(self, problem: Inverse, z: Array, t: float) -> tuple[Array, Array, float]:
        """The corrected code, the image pulled onto the scan, and how far the image was from it before."""
        prior = problem.prior
        mean, spread = (torch.from_numpy(array).to(prior.device) for array in prior.code_statistics)
        lowest, highest = mean - HELD * spread, mean + HELD * spread
        with torch.no_grad(), self._arithmetic(problem):
            noisy, conditions = (
                torch.from_numpy(np.ascontiguousarray(array)).to(prior.device) for array in (z, problem.conditions)
            )
            eps = prior.epsilon(noisy, int(t), conditions).to(noisy)
            code = x0_from_eps(noisy, eps, prior.schedule.alpha_sigma(t)).clamp(lowest, highest)
            before = prior.decode(code).to(noisy)
            image = before[0, 0].cpu().numpy()
            apart = float(problem.data(before[0, 0]).pixels)
            pulled = self._pulled(problem, image)
            code = code + prior.encode(torch.from_numpy(pulled)[None, None].to(before)) - prior.encode(before)
        return code.clamp(lowest, highest).cpu().numpy(), pulled, apart

    def _pulled(self, problem: Inverse, image: Array) -> Array:
        """An image of the prior, pulled onto the scans."""
        lines = problem.data.lines(image)
        scans = zip(problem.data.observations, lines, strict=True)
        equations = [Equation(seen.operator, _undone(seen.values, line), seen.kept) for seen, line in scans]
        return np.ascontiguousarray(pull(equations, image, self.settings.trust, self.settings.inner), np.float32)

    def _end(self, problem: Inverse, state: State, image: Array) -> None:
        """Bring the image onto the target grid, pull it onto the scan there, take it in, and begin the next start."""
        brought = self.brought(problem, image)
        take_in(state, [self._sharpened(problem, n, volume) for n, volume in enumerate(brought)])
        state.finished = int(state.values["start"]) >= self.settings.starts
        if not state.finished:
            self._begin(problem, state)

    def _sharpened(self, problem: Inverse, number: int, image: Array) -> Array:
        """The last pull: of one scan, in its own units, on the target grid, where a voxel of the prior may be coarser."""
        scan = problem.measured[number]
        measured = np.ones(scan.grid.shape, np.bool_) if scan.mask is None else ~scan.mask
        equation = Equation(scan.operator(problem.target), scan.image, measured)
        return np.ascontiguousarray(pull([equation], image, self.settings.trust, self.settings.inner), np.float32)


def _undone(values: Array, line: Line) -> Array:
    """A scan's values in the units of the prior's image."""
    return np.asarray((values - np.float32(line[1])) / np.float32(line[0]))


# -- least squares ---------------------------------------------------------------------------------------------------------------


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
    """Minimise sum |K (A x - y)|^2 + trust (x - v)' S^-1 (x - v): the image after ``steps`` steps from v = ``image``.

    S is the repair's, a Gaussian kernel along each axis, 1 at its middle. With x = v + G u and G G = S the system of u is well
    behaved, and that is the one whose conjugate-gradient steps are counted.

    Args:
        equations: of the scans.
        image: v, float32 or float64.
        trust: in v, above 0; a voxel that alone was measured moves 1 / (1 + trust) of the way.
        steps: at most.
    """
    dtype = image.dtype.type
    right = _smoothed(_sum([equation.lacking(image) for equation in equations]))

    def system(moved: Array) -> Array:
        smooth = _smoothed(moved)
        return _smoothed(_sum([equation.normal(smooth) for equation in equations])) + dtype(trust) * moved

    return np.asarray(image + _smoothed(conjugate_gradients(system, right, steps)))


def _smoothed(image: Array) -> Array:
    """G image, with G G = S."""
    for axis, n in enumerate(image.shape):
        image = apply_axis(_root(n, WIDTH), image, axis)
    return image


@lru_cache(maxsize=16)
def _root(n: int, width: float) -> Matrix:
    """The symmetric root of S along an axis of ``n`` voxels."""
    values, vectors = np.linalg.eigh(smooth_covariance(n, width))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T, np.float64)


def _sum(parts: Sequence[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
