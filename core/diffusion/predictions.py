"""One prediction for another: at a known level of noise, image, noise, velocity and score all say the same.

All are pointwise, out of place and differentiable; ``level`` is (alpha, sigma) of x = alpha x0 + sigma eps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from core.diffusion.schedules import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor

Denoise = Callable[["Tensor", float], "Tensor"]  # x and its time to the expected x0
Prediction = Literal["x0", "eps", "v", "score"]


def q_sample(x0: Tensor, t: float | Sequence[float], noise: Tensor, schedule: Schedule) -> Tensor:
    """A noisy image, alpha x0 + sigma noise (the forward process; line 3 of algorithm 1 of Kim et al. 2023).

    Args:
        x0: images; where ``t`` is a sequence, axis 0 counts them.
        t: one time for all, or one for each image.
        noise: standard normal, in the shape of ``x0``.
        schedule: that knows alpha and sigma.
    """
    if isinstance(t, int | float):
        alpha, sigma = schedule.alpha_sigma(t)
        return x0 * alpha + noise * sigma
    levels = x0.new_tensor([schedule.alpha_sigma(each) for each in t]).reshape(len(t), 2, *[1] * (x0.ndim - 1))
    return x0 * levels[:, 0] + noise * levels[:, 1]


def eps_from_x0(x: Tensor, x0: Tensor, level: Level) -> Tensor:
    """The noise in ``x``; sigma must be above 0."""
    alpha, sigma = level
    return (x - x0 * alpha) / sigma


def x0_from_eps(x: Tensor, eps: Tensor, level: Level) -> Tensor:
    """The image in ``x``; where alpha is nearly 0 an error of ``eps`` grows by sigma / alpha."""
    alpha, sigma = level
    return (x - eps * sigma) / alpha


def v_from_x0(x: Tensor, x0: Tensor, level: Level) -> Tensor:
    """The velocity alpha eps - sigma x0 (Salimans & Ho 2022)."""
    alpha, sigma = level
    return eps_from_x0(x, x0, level) * alpha - x0 * sigma


def x0_from_v(x: Tensor, v: Tensor, level: Level) -> Tensor:
    """The image: alpha x - sigma v, over alpha^2 + sigma^2, which is 1 where variance is preserved."""
    alpha, sigma = level
    power = alpha**2 + sigma**2
    return x * (alpha / power) - v * (sigma / power)


def score_from_x0(x: Tensor, x0: Tensor, level: Level) -> Tensor:
    """The gradient of log p(x): -eps / sigma (Tweedie's formula)."""
    alpha, sigma = level
    return (x0 * alpha - x) / sigma**2


def x0_from_score(x: Tensor, score: Tensor, level: Level) -> Tensor:
    """The image: (x + sigma^2 score) / alpha, the x0hat of DPS and SRMRI."""
    alpha, sigma = level
    return (x + score * sigma**2) / alpha


FROM: dict[Prediction, Callable[[Tensor, Tensor, Level], Tensor]] = {
    "x0": lambda _, x0, __: x0,
    "eps": x0_from_eps,
    "v": x0_from_v,
    "score": x0_from_score,
}


def denoiser(network: Denoise, schedule: Schedule, predicts: Prediction) -> Denoise:
    """What samplers take, made of a network ``network(x, t)`` that predicts something else."""
    turn = FROM[predicts]
    return lambda x, t: turn(x, network(x, t), schedule.alpha_sigma(t))
