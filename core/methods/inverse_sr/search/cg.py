"""Few noise levels, at each of which the decoded estimate is pulled onto the scan in image space.

    z_t --eps--> z_0 = (z_t - sigma eps) / alpha --D--> v --conjugate gradients--> x        |A x - y|^2 + trust |x - v|^2
    z_0 + E(x) - E(v), noised again by eps --> z at the next level                          the encoder's own error cancels
    after the last level, on the target grid itself: |A x - y|^2 + trust |x - v|^2

10 to 20 levels of one noise network, one decoder and two encoders take the place of 600 gradients through all of them. The steps
in image space are those of DDS (Chung et al. 2023, eq. 12), that they come before any in the code is ReSample (Song et al. 2023).
Only voxels that were measured count; the last image of few steps lies between v and the optimum, as with an early stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from core.diffusion.predictions import x0_from_eps
from core.geometry.grid import Array
from core.methods.base import MethodSettings
from core.methods.inverse_sr.method import Inverse, Inversion, InversionSettings, Strategy, take_in
from core.methods.inverse_sr.search.chain import STEPS, times_of
from core.methods.inverse_sr.search.data_term import Line
from core.methods.iterative import State
from core.operators.linear import Kept, LinearOperator
from core.operators.solve import conjugate_gradients


class CgSettings(InversionSettings):
    """Settings of the steps in image space."""

    levels: int = Field(15, ge=1, le=STEPS, title="Levels", description="of noise, from the first to the last")
    inner: int = Field(8, ge=1, title="Inner steps", description="of conjugate gradients at a level, and at the end")
    trust: float = Field(0.05, gt=0, title="Trust", description="in the prior's image against the scan; more is smoother")


class InverseCg(Inversion):
    """See the module. A step is a level; the state is the code at it."""

    name: ClassVar[str] = "inverse-sr-cg"
    Settings: ClassVar[type[MethodSettings]] = CgSettings
    strategy: ClassVar[Strategy | None] = "ldm"
    settings: CgSettings

    def total(self) -> int:
        """Levels of all starts."""
        return self.settings.levels * self.settings.starts

    def start(self, problem: Inverse) -> State:
        """Noise, or another method's result with noise."""
        state = State({}, {"start": 0, "made": 0})
        if self.settings.start:
            state.arrays["base"] = self._encoded(problem, self._result_of(problem))
        state.arrays["z"] = self._codes(problem, state)["z"]
        return state

    def step(self, problem: Inverse, state: State) -> dict[str, float]:
        """A level; after the last, the image on the target grid is taken in."""
        times, made = self._levels(), int(state.values["made"])
        code, eps, image, apart = self._level(problem, state.arrays["z"], times[made])
        alpha, sigma = problem.prior.schedule.alpha_sigma(times[made + 1])
        state.arrays["z"] = np.ascontiguousarray(np.float32(alpha) * code + np.float32(sigma) * eps)
        state.values["made"] = made + 1
        if made + 1 == self.settings.levels:
            self._end(problem, state, image)
        return {"difference": apart}

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _levels(self) -> list[float]:
        """Timesteps evenly among the 46 and the one after them."""
        times = times_of()
        return [times[round(n * STEPS / self.settings.levels)] for n in range(self.settings.levels + 1)]

    def _times(self) -> list[float]:
        return times_of()

    def _level(self, problem: Inverse, z: Array, t: float) -> tuple[Array, Array, Array, float]:
        """The corrected code, the noise, the image pulled onto the scan, and how far the image was from it before."""
        prior = problem.prior
        with torch.no_grad(), self._arithmetic(problem):
            noisy, conditions = (
                torch.from_numpy(np.ascontiguousarray(array)).to(prior.device) for array in (z, problem.conditions)
            )
            eps = prior.epsilon(noisy, int(t), conditions).to(noisy)
            code = x0_from_eps(noisy, eps, prior.schedule.alpha_sigma(t))
            before = prior.decode(code).to(noisy)
            image = before[0, 0].cpu().numpy()
            apart = float(problem.data(before[0, 0]).pixels)
            pulled = self._pulled(problem, image)
            code = code + prior.encode(torch.from_numpy(pulled)[None, None].to(before)) - prior.encode(before)
        return code.cpu().numpy(), eps.cpu().numpy(), pulled, apart

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
            state.values["made"] = 0
            state.arrays["z"] = self._codes(problem, state)["z"]

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
    """Minimise sum |K (A x - y)|^2 + trust |x - v|^2: the image after ``steps`` conjugate-gradient steps from v = ``image``.

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
