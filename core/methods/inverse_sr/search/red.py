"""A search in the decoder from another method's result, with a diffusion prior of one step (RED-diff, Mardani et al. 2023).

    loss of the scan + weight |z - zhat|^2,    zhat = (z_t - sigma eps(z_t, t)) / alpha without gradient,  z_t = alpha z + sigma n

The noise network is asked once a step and never differentiated: a fifth of the work of a step through 46. Their weights of the
difference of noises, 1 / SNR to the half, make of it the difference of codes here. Timesteps fall over the search.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from core.diffusion.predictions import x0_from_eps
from core.methods.base import MethodSettings
from core.methods.inverse_sr.method import Inverse, Search, Strategy
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.search.chain import times_of
from core.methods.inverse_sr.search.descent import Loss, Variables
from core.methods.inverse_sr.settings import InversionSettings

MIDDLE = 23  # of the 46 timesteps, at the last of which the search begins: the start is not noise
DRAWN = 1000  # number of the first noise, beyond those of the starts


class RedSettings(InversionSettings):
    """Settings of a search with a one-step prior."""

    steps: int = Field(40, ge=1, title="Steps", description="of the search at most")
    rate: float = Field(0.05, gt=0, title="Rate", description="of Adam at the first step; it falls to a tenth")
    start: str = Field("unires", title="Start", description="a method whose result is refined, or METHOD=MODEL")
    prior_share: float = Field(
        0.1, ge=0, title="Prior's share", description="length of the prior's gradient at the first step, relative to the scan's"
    )


class InverseRed(Search):
    """See the module."""

    name: ClassVar[str] = "inverse-sr-red"
    Settings: ClassVar[type[MethodSettings]] = RedSettings
    strategy: ClassVar[Strategy | None] = "decoder"
    end: ClassVar[float] = 0.1
    settings: RedSettings

    def _work(self, prior: Prior) -> float:
        return super()._work(prior) + prior.cost(0).noise_flops

    def _beside(self, problem: Inverse, loss: Loss) -> Loss:
        if not self.settings.prior_share:
            return loss
        pull = lambda variables, made: self._pull(problem, variables, made)  # noqa: E731 - bound to the problem
        return replace(loss, beside=pull, beside_share=self.settings.prior_share)

    def _pull(self, problem: Inverse, variables: Variables, made: int) -> Tensor:
        """Mean of |z - zhat|^2 over the code."""
        times, prior, z = times_of(MIDDLE)[:-1], problem.prior, variables["z"]
        t = times[min(made * len(times) // self.settings.steps, len(times) - 1)]
        level = prior.schedule.alpha_sigma(t)
        with torch.no_grad():
            noise = torch.from_numpy(self._noise(problem, DRAWN + made)).to(z)
            noisy = z * level[0] + noise * level[1]
            conditions = torch.from_numpy(np.ascontiguousarray(problem.conditions)).to(z)
            with self._arithmetic(problem):
                eps = prior.epsilon(noisy, int(t), conditions)
            better = x0_from_eps(noisy, eps.to(z), level)
        return (z - better).square().mean()
