"""Predictions of image, noise, velocity and score say the same, and agree with a normal prior's density."""

from __future__ import annotations

import pytest
import torch

from core.diffusion.predictions import (
    FROM,
    denoiser,
    eps_from_x0,
    q_sample,
    score_from_x0,
    v_from_x0,
    x0_from_eps,
    x0_from_score,
    x0_from_v,
)
from core.diffusion.schedules import Cosine, Discrete, Geometric
from tests.core.diffusion.gaussian import PRIOR

TABLE = Discrete.scaled_linear(1000, 0.0015, 0.0205)
LEVELS = [Cosine().alpha_sigma(0.3), Cosine().alpha_sigma(0.97), TABLE.alpha_sigma(1), TABLE.alpha_sigma(991), (1.0, 7.5)]
DRAW = torch.Generator().manual_seed(3)
X0, EPS = (torch.randn(5, 3, dtype=torch.float64, generator=DRAW) for _ in range(2))


@pytest.mark.parametrize("level", LEVELS)
def test_the_parts_of_a_noisy_image_are_found_again(level) -> None:
    alpha, sigma = level
    x = alpha * X0 + sigma * EPS
    torch.testing.assert_close(eps_from_x0(x, X0, level), EPS)
    torch.testing.assert_close(x0_from_eps(x, EPS, level), X0)
    torch.testing.assert_close(x0_from_v(x, alpha * EPS - sigma * X0, level), X0)
    torch.testing.assert_close(v_from_x0(x, X0, level), alpha * EPS - sigma * X0)
    torch.testing.assert_close(x0_from_score(x, -EPS / sigma, level), X0)
    torch.testing.assert_close(score_from_x0(x, X0, level), -EPS / sigma)


@pytest.mark.parametrize("schedule_t", [(Cosine(), 0.4), (TABLE, 300), (Geometric(0.01, 50.0), 0.6)])
def test_the_score_is_the_gradient_of_the_log_density(schedule_t) -> None:
    schedule, t = schedule_t
    level = schedule.alpha_sigma(t)
    x = X0.clone().requires_grad_()
    torch.distributions.MultivariateNormal(*PRIOR.marginal(level)).log_prob(x).sum().backward()
    torch.testing.assert_close(score_from_x0(X0, PRIOR.denoiser(schedule)(X0, t), level), x.grad)


@pytest.mark.parametrize("predicts", FROM)
def test_any_network_becomes_a_denoiser(predicts: str) -> None:
    schedule, t = Cosine(), 0.4
    expected = PRIOR.denoiser(schedule)
    into = {"x0": lambda _, x0, __: x0, "eps": eps_from_x0, "v": v_from_x0, "score": score_from_x0}[predicts]

    def network(x, t):
        return into(x, expected(x, t), schedule.alpha_sigma(t))

    torch.testing.assert_close(denoiser(network, schedule, predicts)(X0, t), expected(X0, t))


@pytest.mark.parametrize("schedule_t", [(Cosine(), 0.1), (Cosine(), 0.9), (TABLE, 500), (Geometric(0.01, 50.0), 0.6)])
def test_forth_and_back_the_denoised_has_the_prior_less_what_noise_hides(schedule_t) -> None:
    """Of x0 = mean + root z and noise n: E[x0 | x] has the mean of the prior, its error no correlation with x."""
    schedule, t = schedule_t
    root, eye, zero = torch.linalg.cholesky(PRIOR.cov), torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    z, n = torch.cat([eye, zero, zero[:1]]), torch.cat([zero, eye, zero[:1]])  # a row for each part of z, of n, and none
    x0 = PRIOR.mean + z @ root.T
    x = q_sample(x0, t, n, schedule)
    seen, error = x[:6] - x[6], (PRIOR.denoiser(schedule)(x, t) - x0)
    torch.testing.assert_close(seen.T @ seen, PRIOR.marginal(schedule.alpha_sigma(t))[1])
    torch.testing.assert_close(error[6], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(error[:6].T @ seen, zero)


def test_each_image_of_a_batch_has_its_time() -> None:
    (images, noise), times = (torch.randn(3, 1, 4, 5, 6, generator=DRAW) for _ in range(2)), [0.1, 0.5, 1.0]
    made = q_sample(images, times, noise, Cosine())
    assert made.dtype == torch.float32
    for n, t in enumerate(times):
        torch.testing.assert_close(made[n], q_sample(images[n], t, noise[n], Cosine()))
