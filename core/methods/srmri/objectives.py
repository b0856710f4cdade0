"""Denoising score matching (Vincent 2011; Song et al. 2021), on noise levels that are drawn for each example."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from core.diffusion.schedules import Geometric
from core.methods.srmri.examples import PLANE
from core.methods.srmri.score_network import NCSNpp, denoised
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.base import Objective

SHOWN = 0.1  # sigma of the validation's figures
MIDDLE, SPREAD = -1.2, 1.2  # of ln sigma, for data of standard deviation 1/2 (Karras et al. 2022)
EVEN = 0.25  # share of the levels that are drawn evenly over the whole range, where sampling begins
EARLIEST = 1e-5  # of Song et al.'s continuous time


class ScoreMatching(Objective):
    """Squared error of the expected slice over sigma^2 (that of the score under lambda = sigma^2), or weighted as EDM does.

    Means over pixels and examples: the sums of Song et al. are always cut by a norm of 1.

    Args:
        network: a score model.
        schedule: least and largest sigma.
    """

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    kept: ClassVar[str] = "the best by the validation's error of the slice that is expected under noise"
    held_sigmas: ClassVar[tuple[float, ...]] = (0.05, 0.1, 0.2, 0.5, 1.0)
    network: NCSNpp

    def __init__(self, network: nn.Module, schedule: Geometric) -> None:
        super().__init__(network)
        self.schedule = schedule

    def sigmas(self, count: int, draw: torch.Generator) -> Tensor:
        """Standard deviations to learn at, (count,)."""
        low, high = math.log(self.schedule.first), math.log(self.schedule.last)
        even = low + (EARLIEST + (1 - EARLIEST) * torch.rand(count, generator=draw)) * (high - low)
        if not self.network.preconditioned:
            return even.exp()
        normal = MIDDLE + math.log(2 * self.network.sigma_data) + SPREAD * torch.randn(count, generator=draw)
        return torch.where(torch.rand(count, generator=draw) < EVEN, even, normal.clamp(low, high)).exp()

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """See the class."""
        sigma = self.sigmas(len(batch), draw).to(batch.truth)
        noise = torch.randn(batch.truth.shape, generator=draw).to(batch.truth)
        error = self._expected(self.network, batch, sigma, noise) - _middle(self.network, batch.truth)
        weight = sigma**-2
        if self.network.preconditioned:
            weight = weight + self.network.sigma_data**-2
        return (error.square().mean((1, 2, 3)) * weight).mean()

    def _expected(self, network: NCSNpp, batch: Batch, sigma: Tensor, noise: Tensor) -> Tensor:
        noisy = batch.truth + sigma.reshape(-1, 1, 1, 1) * noise
        return denoised(network, noisy, sigma, batch.conditions.get(PLANE)).float()

    def _held(self, network: Any, batch: Batch, sigma: float, number: int) -> Tensor:
        """The expected slices of a batch under noise that is the same each time."""
        noise = torch.randn(batch.truth.shape, generator=torch.Generator().manual_seed(number)).to(batch.truth)
        return self._expected(network, batch, batch.truth.new_full((len(batch),), sigma), noise)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The slices that are expected under noise of ``SHOWN``."""
        return self._held(network, batch, SHOWN, 0)

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR in dB of the slices that are expected under noise of ``SHOWN``."""
        return {"psnr": psnr(restored, _middle(self.network, held.truth))}

    def score(self, network: nn.Module, batch: Batch, restored: Tensor) -> Tensor:  # noqa: ARG002
        """PSNR of the expected slices, mean over levels."""
        truth = _middle(self.network, batch.truth)
        each = [psnr(self._held(network, batch, sigma, n), truth) for n, sigma in enumerate(self.held_sigmas)]
        return torch.stack(each).mean(0)


def _middle(network: NCSNpp, slices: Tensor) -> Tensor:
    return slices[:, network.neighbours : network.neighbours + 1]
