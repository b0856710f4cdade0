"""Adam on arrays is Adam."""

from __future__ import annotations

import numpy as np
import torch

from core.methods.adam import move


def test_it_is_the_optimiser_of_torch() -> None:
    draw = np.random.default_rng(0)
    numbers, goal = draw.normal(size=50), draw.normal(size=50)
    theirs = torch.nn.Parameter(torch.from_numpy(numbers.copy()))
    optimiser = torch.optim.Adam([theirs], lr=0.03)
    moments = np.zeros(50), np.zeros(50)
    for made in range(60):
        optimiser.zero_grad()
        (theirs - torch.from_numpy(goal)).square().sum().backward()
        optimiser.step()
        move(numbers, moments, 2 * (numbers - goal), made, 0.03)
    np.testing.assert_allclose(numbers, theirs.detach().numpy(), rtol=1e-9)


def test_its_first_step_is_as_long_as_the_rate() -> None:
    numbers = np.zeros(3, np.float32)
    move(numbers, (np.zeros(3, np.float32), np.zeros(3, np.float32)), np.array([5.0, -0.01, 0.0], np.float32), 0, 0.1)
    np.testing.assert_allclose(numbers, [-0.1, 0.1, 0], rtol=1e-4)
