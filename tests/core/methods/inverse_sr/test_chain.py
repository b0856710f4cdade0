"""The chain: its levels, its closed form for normal codes, its gradient, its inverse."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from core.diffusion.schedules import Discrete
from core.errors import UsageError
from core.methods.inverse_sr.search.chain import chain, times_of, unchain

SCHEDULE = Discrete.scaled_linear(1000, 0.0015, 0.0205)
NONE = torch.zeros(1, 4, dtype=torch.float64)


def normal_codes(z, t, conditions):
    """The best prediction where codes are standard normal."""
    return z * SCHEDULE.alpha_sigma(t)[1]


def curved(z, t, conditions):
    """A network that bends: every number depends on its neighbours, the timestep and the conditions."""
    return torch.tanh(z + 0.3 * z.roll(1, -1) + conditions.sum() * 0.2) * SCHEDULE.alpha_sigma(t)[1]


def draw(*shape: int, seed: int = 0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_levels_are_the_46_of_the_authors():
    times = times_of()
    assert (len(times), times[0], times[-3:]) == (47, 991, [23, 1, 0])
    assert all(t - s == 22 for t, s in pairwise(times[:-1]))
    assert times_of(3) == [45, 23, 1, 0]


def test_normal_codes_shrink_by_the_known_gain():
    z = draw(1, 3, 4, 5, 4)
    code = chain(normal_codes, z, NONE, SCHEDULE, times_of())
    levels = [SCHEDULE.alpha_sigma(t) for t in times_of()]
    gain = math.prod(a * b + c * d for (a, c), (b, d) in pairwise(levels))
    torch.testing.assert_close(code, gain * z, rtol=1e-12, atol=1e-12)
    assert gain == pytest.approx(0.9611, abs=5e-5)


def test_without_noise_predicted_the_signal_grows_as_checked():
    z = draw(1, 3, 2, 2, 2)
    code = chain(lambda z, *_: 0 * z, z, NONE, SCHEDULE, times_of())
    assert float((code / z).mean()) == pytest.approx(93.47, abs=0.01)


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_those_of_finite_differences(recompute):
    z, conditions = draw(1, 1, 2, 2, 2), draw(1, 4, seed=1)
    times = times_of()[::9]

    def run(z, conditions):
        return chain(curved, z, conditions, SCHEDULE, times, recompute=recompute).square().sum()

    assert torch.autograd.gradcheck(run, (z.requires_grad_(), conditions.requires_grad_()), atol=1e-6)


def test_steps_made_anew_give_the_same_bits():
    grads = []
    for recompute in (False, True):
        z, conditions = draw(1, 2, 3, 3, 3).requires_grad_(), draw(1, 4, seed=1).requires_grad_()
        chain(curved, z, conditions, SCHEDULE, times_of(), recompute=recompute).square().sum().backward()
        grads.append((z.grad, conditions.grad))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_backwards_leads_to_where_the_chain_starts():
    """Of normal codes the way back has a gain of its own, near one over that of the chain."""
    code = draw(1, 3, 2, 2, 2)
    again = chain(normal_codes, unchain(normal_codes, code, NONE, SCHEDULE, times_of()), NONE, SCHEDULE, times_of())
    assert float((again / code).mean()) == pytest.approx(0.9611**2, rel=1e-3)


@pytest.mark.parametrize("last", [0, 47])
def test_a_chain_has_1_to_46_steps(last):
    with pytest.raises(UsageError, match=rf"chain-length: expected 1 to 46 steps of the chain, but got {last}\. Correct it"):
        times_of(last)
