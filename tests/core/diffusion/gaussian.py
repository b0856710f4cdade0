"""A normal prior, whose best denoiser, marginals and probability flow are known; a probe that reads affine maps off samplers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.diffusion.schedules import Level, Schedule


def matrix_of(eigenvalues: Sequence[float]) -> Tensor:
    """A full covariance with these eigenvalues."""
    n = len(eigenvalues)
    turn = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))).Q
    return turn @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ turn.T


@dataclass(frozen=True)
class Gaussian:
    """x0 ~ N(mean, cov), as rows (n, d)."""

    mean: Tensor
    cov: Tensor

    def marginal(self, level: Level) -> tuple[Tensor, Tensor]:
        """Mean and covariance of alpha x0 + sigma n."""
        alpha, sigma = level
        return alpha * self.mean, alpha**2 * self.cov + sigma**2 * torch.eye(len(self.mean), dtype=torch.float64)

    def gain(self, level: Level) -> Tensor:
        """Derivative of E[x0 | x] by x."""
        return level[0] * torch.linalg.solve(self.marginal(level)[1], self.cov)

    def denoiser(self, schedule: Schedule) -> Callable[[Tensor, float], Tensor]:
        """E[x0 | x_t]."""

        def denoise(x: Tensor, t: float) -> Tensor:
            level = schedule.alpha_sigma(t)
            gain = self.gain(level).to(x.dtype)
            return self.mean.to(x.dtype) + (x - level[0] * self.mean.to(x.dtype)) @ gain.T

        return denoise

    def flow(self, start: Level, end: Level) -> tuple[Tensor, Tensor]:
        """The probability flow from one level to another as an affine map: offset and matrix."""
        (mean_t, cov_t), (mean_s, cov_s) = self.marginal(start), self.marginal(end)
        turn = torch.linalg.eigh(self.cov).eigenvectors
        ratio = ((turn.T @ cov_s @ turn).diag() / (turn.T @ cov_t @ turn).diag()).sqrt()
        matrix = turn @ torch.diag(ratio) @ turn.T
        return mean_s - matrix @ mean_t, matrix


PRIOR = Gaussian(torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64), matrix_of([0.05, 0.6, 2.5]))
POINT = Gaussian(PRIOR.mean, torch.zeros(3, 3, dtype=torch.float64))


class Probe:
    """A batch of which row 0 has neither start nor noise and each further row one unit of one of them: samplers of linear
    denoisers are affine in all of these, so a single run tells the whole map.
    """

    def __init__(self, uses: int, size: int = 3) -> None:
        self.size, self.rows = size, 1 + size * (uses + 1)
        self.asked: list[int] = []

    def unit(self, number: int) -> Tensor:
        """Ones of the use ``number``; 0 is the start."""
        batch = torch.zeros(self.rows, self.size, dtype=torch.float64)
        first = 1 + number * self.size
        batch[first : first + self.size] = torch.eye(self.size, dtype=torch.float64)
        return batch

    @property
    def start(self) -> Tensor:
        """For the sampler."""
        return self.unit(0)

    def noise(self, number: int) -> Tensor:
        """For the sampler."""
        self.asked.append(number)
        return self.unit(number)

    def maps(self, output: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Offset, and the matrix of the start and of each noise."""
        blocks = (output[1:] - output[0]).reshape(-1, self.size, self.size)
        return output[0], [block.T for block in blocks]

    def moments(self, output: Tensor, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the samples for a start of this mean and covariance and standard normal noise."""
        offset, (first, *others) = self.maps(output)
        return offset + first @ mean, first @ cov @ first.T + sum(one @ one.T for one in others)


def moments(sampler, model, schedule, times, uses: int, mean: Tensor, cov: Tensor, **options) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a sampler's output for a start of this mean and covariance; ``uses`` of noise at most."""
    probe = Probe(uses)
    return probe.moments(sampler(model.denoiser(schedule), probe.start, schedule, times, probe.noise, **options), mean, cov)
