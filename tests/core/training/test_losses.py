"""Losses by the values that they must have."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from core.training.losses import relativistic_discriminator_loss, relativistic_generator_loss


def test_a_critic_that_cannot_tell_loses_two_log_two() -> None:
    same = torch.full((4, 1, 2, 2, 2), 1.7)
    assert float(relativistic_discriminator_loss(same, same)) == pytest.approx(2 * math.log(2))
    assert float(relativistic_generator_loss(same, same)) == pytest.approx(2 * math.log(2))


def test_losses_are_the_paper_s_equations() -> None:
    draw = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 5, 1, 2, generator=draw, dtype=torch.float64)
    truer, falser = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    discriminator = -truer.log().mean() - (1 - falser).log().mean()
    generator = -(1 - truer).log().mean() - falser.log().mean()
    assert float(relativistic_discriminator_loss(real, fake)) == pytest.approx(float(discriminator), rel=1e-6)
    assert float(relativistic_generator_loss(real, fake)) == pytest.approx(float(generator), rel=1e-6)


@pytest.mark.parametrize("gap", [-3.0, 0.5, 4.0])
def test_logits_a_gap_apart(gap: float) -> None:
    """Only differences count: real = fake + gap gives 2 log(1 + e^-gap), whatever is added to both."""
    fake = torch.full((3,), 11.0)
    wanted = 2 * float(functional.softplus(torch.tensor(-gap)))
    assert float(relativistic_discriminator_loss(fake + gap, fake)) == pytest.approx(wanted, rel=1e-5)
    assert float(relativistic_generator_loss(fake + gap, fake)) == pytest.approx(wanted + 2 * gap, rel=1e-5)


def test_gradients_pull_each_module_its_way_and_stay_finite_far_out() -> None:
    real, fake = torch.tensor([500.0], requires_grad=True), torch.tensor([-500.0], requires_grad=True)
    loss = relativistic_generator_loss(real, fake)
    loss.backward()
    assert loss.isfinite()
    assert fake.grad < 0 < real.grad  # descending raises the restored patch's logit, lowers the true one's
    discriminator = [torch.tensor([0.0], requires_grad=True) for _ in range(2)]
    relativistic_discriminator_loss(*discriminator).backward()
    assert discriminator[0].grad < 0 < discriminator[1].grad


def test_logits_in_half_precision_are_summed_in_float32() -> None:
    logits = torch.full((4096,), 60.0, dtype=torch.float16)
    loss = relativistic_discriminator_loss(logits, logits)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(2 * math.log(2))
