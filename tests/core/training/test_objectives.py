"""What weights are chosen by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from core.diffusion.predictions import eps_from_x0, v_from_x0
from core.diffusion.schedules import Cosine
from core.methods.registry import recipe
from core.settings.train import Training
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.adversarial import Adversarial
from core.training.objectives.denoising import Denoising
from core.training.objectives.regression import Regression
from core.training.recipe import Context

SCHEDULE = Cosine()
MEAN, SPREAD = 0.5, 0.2  # of voxels drawn from a Gaussian each


class Knows(nn.Module):
    """The exact posterior mean of such voxels under noise."""

    def forward(self, x: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        alpha, sigma = (one[:, None, None, None, None] for one in (alpha, sigma))
        gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
        return MEAN + gain * (x - alpha * MEAN)


class Blurs(nn.Module):
    """What has learned the mean alone."""

    def forward(self, x: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return torch.full_like(x, MEAN)


def told(predicts: str) -> Callable[[nn.Module, torch.Tensor, Batch, Sequence[float]], torch.Tensor]:
    """What a network that knows the truth says when it is asked for truth, noise or velocity."""

    def predict(network: nn.Module, noisy: torch.Tensor, _: Batch, times: Sequence[float]) -> torch.Tensor:
        log_snr = torch.tensor([SCHEDULE.log_snr(t) for t in times])
        x0 = network(noisy, log_snr)
        level = (torch.sigmoid(one * log_snr).sqrt()[:, None, None, None, None] for one in (1, -1))
        return {"x0": lambda *_: x0, "eps": eps_from_x0, "v": v_from_x0}[predicts](noisy, x0, tuple(level))

    return predict


def denoising(network: nn.Module, predicts: str = "x0") -> Denoising:
    return Denoising(network, told(predicts), SCHEDULE, predicts)


def test_a_network_that_draws_from_the_posterior_is_chosen_before_one_that_blurs():
    truth = MEAN + SPREAD * torch.randn((4, 1, 16, 16, 16), generator=torch.Generator().manual_seed(100))
    batch = Batch(torch.full_like(truth, MEAN), truth)
    figures = {}
    for network in (Knows(), Blurs()):
        objective = denoising(network)
        objective.steps = 100
        restored = objective.restore(network, batch)
        score = objective.score(network, batch, restored)
        figures[type(network)] = float(psnr(restored, truth).mean()), float(score.mean())
    (sampled, known), (blurred, unknown) = figures[Knows], figures[Blurs]
    assert 2.3 < blurred - sampled < 3.1  # dB: a sample has twice the error of the mean, less what few steps leave out
    assert known > unknown + 0.5


@pytest.mark.parametrize("predicts", ["x0", "eps", "v"])
def test_the_score_is_the_same_each_time_and_is_the_closed_form(predicts: str):
    truth = MEAN + SPREAD * torch.randn((2, 1, 24, 24, 24), generator=torch.Generator().manual_seed(101))
    objective, batch = denoising(Knows(), predicts), Batch(truth, truth)
    score = objective.score(objective.network, batch, truth)
    assert torch.equal(score, objective.score(objective.network, batch, truth))
    ratios = torch.tensor([SCHEDULE.log_snr(t) for t in objective.held_times]).exp()
    error = 1 / (1 / SPREAD**2 + ratios)
    torch.testing.assert_close(score.mean(), (-10 * error.log10()).mean(), atol=0.1, rtol=0)


@pytest.mark.parametrize("predicts", ["x0", "eps", "v"])
def test_who_knows_the_posterior_has_its_variance_as_loss(predicts: str):
    """Of x0 the variance v; of the noise alpha²/sigma² v, of the velocity v / sigma², for x = alpha x0 + sigma eps is known."""
    objective = denoising(Knows(), predicts)
    objective.times = lambda count, _: [0.5] * count
    truth = MEAN + SPREAD * torch.randn((2, 1, 24, 24, 24), generator=torch.Generator().manual_seed(102))
    loss = objective.loss("network", Batch(truth, truth), torch.Generator().manual_seed(103), 0)
    alpha, sigma = SCHEDULE.alpha_sigma(0.5)
    variance = 1 / (1 / SPREAD**2 + alpha**2 / sigma**2)
    gain = {"x0": 1.0, "eps": (alpha / sigma) ** 2, "v": 1 / sigma**2}[predicts]
    assert float(loss) == pytest.approx(gain * variance, rel=0.03)


def test_noise_is_another_at_every_draw():
    objective, truth = denoising(Blurs()), torch.zeros((2, 1, 8, 8, 8))
    seen: list[torch.Tensor] = []
    objective.predict = lambda _, noisy, *__: seen.append(noisy) or noisy
    for seed in (1, 1, 2):
        objective.loss("network", Batch(truth, truth), torch.Generator().manual_seed(seed), 0)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_the_adversarial_part_weighs_a_two_hundredth_of_the_absolute_error():
    torch.manual_seed(0)
    network, discriminator = nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 3)
    truth, inputs = torch.rand(4, 1, 8, 8, 8), torch.rand(4, 1, 8, 8, 8)
    made = Adversarial(network, discriminator, warmup=5)
    restored, draw = inputs + network(inputs), torch.Generator()
    content = nn.functional.l1_loss(restored, truth)
    real, fake = discriminator(truth), discriminator(restored)
    apart = nn.functional.softplus(real - fake.mean()).mean() + nn.functional.softplus(real.mean() - fake).mean()
    torch.testing.assert_close(made.loss("network", Batch(inputs, truth), draw, 4), content)
    torch.testing.assert_close(made.loss("network", Batch(inputs, truth), draw, 5), content + 5e-3 * apart)


def test_a_regression_is_chosen_by_the_psnr_of_what_it_restores():
    truth, restored = torch.zeros((2, 1, 4, 4, 4)), torch.full((2, 1, 4, 4, 4), 0.1)
    batch = Batch(truth, truth)
    torch.testing.assert_close(Regression(nn.Identity()).score(nn.Identity(), batch, restored), torch.full((2,), 20.0))


def test_the_adversarial_part_has_esrgan_s_weight_beside_the_absolute_error():
    """A discriminator that cannot tell gives 2 log 2, whatever it is shown."""
    truth = torch.rand((2, 1, 8, 8, 8), generator=torch.Generator().manual_seed(104))
    batch = Batch(truth * 0.5, truth)
    objective = Adversarial(Nothing(), Blind(), warmup=1)
    content = float((truth * 0.5).abs().mean())
    draw = torch.Generator()
    assert float(objective.loss("network", batch, draw, 0)) == pytest.approx(content)
    assert float(objective.loss("network", batch, draw, 1)) == pytest.approx(content + 0.005 * 2 * math.log(2), rel=1e-5)
    assert objective.learning(0) == ("network",)
    assert objective.learning(1) == ("network", "discriminator")


@pytest.mark.parametrize(("name", "weight"), [("esrgan-3d", 5e-3), ("esrgan-3d-ratio", 0.5)])
def test_the_published_ratio_is_a_recipe_of_its_own(name, weight):
    """Wang et al. 2018: 5e-3 of the adversarial part beside 1e-2 of the absolute error."""
    chosen = recipe(name)
    (stage,) = chosen.stages
    made = stage.begin(Context(chosen.preset("tiny"), Training(steps=10)))
    assert (made.weight, made.warmup) == (weight, 5)


class Nothing(nn.Module):
    """Adds nothing."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(image)


class Blind(nn.Module):
    """One logit for all."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(image), 1)
