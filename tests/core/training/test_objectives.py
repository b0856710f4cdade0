"""What weights are chosen by."""

from __future__ import annotations

import torch
from torch import nn

from core.methods import registry
from core.training.losses import psnr
from core.training.objectives import SCHEDULE, Adversarial, Diffusion, Objective, Regression

MEAN, SPREAD = 0.5, 0.2  # of voxels drawn from a Gaussian each


class Knows(nn.Module):
    """The exact posterior mean of such voxels under noise."""

    def forward(self, x: torch.Tensor, scan: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        alpha, sigma = (one[:, None, None, None, None] for one in (alpha, sigma))
        gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
        return MEAN + gain * (x - alpha * MEAN)


class Blurs(nn.Module):
    """What has learned the mean alone."""

    def forward(self, x: torch.Tensor, scan: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return torch.full_like(x, MEAN)


def test_a_network_that_draws_from_the_posterior_is_chosen_before_one_that_blurs():
    truth = MEAN + SPREAD * torch.randn((4, 1, 16, 16, 16), generator=torch.Generator().manual_seed(100))
    inputs = torch.full_like(truth, MEAN)
    figures = {}
    for network in (Knows(), Blurs()):
        objective = Diffusion(network)
        objective.steps = 100
        restored = objective.restore(network, inputs)
        score = objective.score(network, inputs, truth, restored)
        figures[type(network)] = float(psnr(restored, truth).mean()), float(score.mean())
    (sampled, known), (blurred, unknown) = figures[Knows], figures[Blurs]
    assert 2.3 < blurred - sampled < 3.1  # dB: a sample has twice the error of the mean, less what few steps leave out
    assert known > unknown + 0.5


def test_the_score_is_the_same_each_time_and_is_the_closed_form():
    truth = MEAN + SPREAD * torch.randn((2, 1, 24, 24, 24), generator=torch.Generator().manual_seed(101))
    objective = Diffusion(Knows())
    score = objective.score(objective.network, truth, truth, truth)
    assert torch.equal(score, objective.score(objective.network, truth, truth, truth))
    ratios = torch.tensor([SCHEDULE.log_snr(t) for t in objective.held_times]).exp()
    error = 1 / (1 / SPREAD**2 + ratios)
    torch.testing.assert_close(score.mean(), (-10 * error.log10()).mean(), atol=0.1, rtol=0)


def test_every_method_that_can_be_trained_has_its_objective():
    for name, entry in registry.recipes().items():
        recipe = registry.recipe(name)
        assert (recipe.name, recipe.method, tuple(recipe.presets)) == (entry.name, entry.method, entry.presets)
        made = recipe.objective(recipe.preset("tiny"), 2)
        assert isinstance(made, Objective)
        assert made.kept == recipe.kept
        assert isinstance(made, Diffusion) == name.startswith("diffusion-iqt")


def test_the_adversarial_part_weighs_a_two_hundredth_of_the_absolute_error():
    torch.manual_seed(0)
    network, discriminator = nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 3)
    truth, inputs = torch.rand(4, 1, 8, 8, 8), torch.rand(4, 1, 8, 8, 8)
    made = Adversarial(network, discriminator, warmup=5)
    restored, draw = inputs + network(inputs), torch.Generator()
    content = nn.functional.l1_loss(restored, truth)
    real, fake = discriminator(truth), discriminator(restored)
    apart = nn.functional.softplus(real - fake.mean()).mean() + nn.functional.softplus(real.mean() - fake).mean()
    torch.testing.assert_close(made.loss("network", inputs, truth, draw, 4), content)
    torch.testing.assert_close(made.loss("network", inputs, truth, draw, 5), content + 5e-3 * apart)


def test_a_regression_is_chosen_by_the_psnr_of_what_it_restores():
    truth, restored = torch.zeros((2, 1, 4, 4, 4)), torch.full((2, 1, 4, 4, 4), 0.1)
    torch.testing.assert_close(Regression(nn.Identity()).score(nn.Identity(), truth, truth, restored), torch.full((2,), 20.0))
