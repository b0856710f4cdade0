"""How much of a posterior's spread a sampler keeps: exactly, for a normal posterior whose denoiser is known.

With few steps samplers tell too narrow a spread, and a map of uncertainty made of their samples looks surer than the model is.
x = sum of c_n noise_n throughout, as sampler and denoiser are affine; so the sample's variance is the sum of its c_n squared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.diffusion.samplers import START, Sampler
from core.diffusion.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

POSTERIORS = (1.0, 0.25, 0.1, 0.05, 0.03)  # standard deviations, in units of the images' own
FAITHFUL = 0.85, 1.15  # what a sampler must keep of each for its samples to be shown as a map of uncertainty


def spread_kept(sampler: Sampler, schedule: Schedule, times: Sequence[float], sd: float) -> float:
    """Standard deviation of samples over that of the posterior.

    Args:
        sampler: of ``core.diffusion.samplers``.
        schedule: alpha and sigma of a time.
        times: falling, as the sampler takes them.
        sd: of the normal posterior, above 0.
    """
    import torch

    uses = 2 * len(times) + 1  # no sampler here uses more noises

    def noise(number: int) -> Tensor:
        return torch.eye(uses, dtype=torch.float64)[number]

    def denoise(x: Tensor, t: float) -> Tensor:
        alpha, sigma = schedule.alpha_sigma(t)
        return x * (alpha * sd**2 / (alpha**2 * sd**2 + sigma**2))

    alpha, sigma = schedule.alpha_sigma(times[0])
    start = noise(START) * float((alpha**2 * sd**2 + sigma**2) ** 0.5)
    return float(sampler(denoise, start, schedule, times, noise).norm()) / sd


def kept(sampler: Sampler, schedule: Schedule, times: Sequence[float]) -> tuple[float, float]:
    """Least and most that is kept of the spread of ``POSTERIORS``; faithful where both are within ``FAITHFUL``."""
    each = [spread_kept(sampler, schedule, times, sd) for sd in POSTERIORS]
    return min(each), max(each)
