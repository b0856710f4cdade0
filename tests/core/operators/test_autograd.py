"""Operators inside a network's computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import GridError
from core.geometry.grid import Grid
from core.operators.autograd import as_torch
from core.operators.forward_model import SliceProfile

SHARP = Grid((5, 6, 8), np.eye(4))
OPERATOR = SliceProfile(factor=4).operator(SliceProfile(factor=4).degraded_grid(SHARP, 2), SHARP)


@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_image_of_a_batch_is_seen_by_itself(lead, dtype):
    images = torch.rand(*lead, *SHARP.shape, dtype=dtype)
    seen = as_torch(OPERATOR)(images)
    assert (seen.shape, seen.dtype) == ((*lead, *OPERATOR.shape_out), dtype)
    flat = zip(images.reshape(-1, *SHARP.shape), seen.reshape(-1, *OPERATOR.shape_out), strict=True)
    assert all(np.array_equal(OPERATOR.forward(one.numpy()), other.numpy()) for one, other in flat)


def test_a_search_finds_an_image_that_explains_the_slices():
    """Gradient descent on |A x - y|^2; A A' is a fourth of the identity, so one step of 2 solves it."""
    truth = torch.rand(SHARP.shape, dtype=torch.float64)
    apply = as_torch(OPERATOR)
    x = torch.zeros(SHARP.shape, dtype=torch.float64, requires_grad=True)
    (apply(x) - apply(truth)).square().sum().backward()
    assert apply(x - 2 * x.grad).detach().numpy() == pytest.approx(apply(truth).numpy(), abs=1e-12)


def test_a_network_before_it_learns_through_it():
    layer = torch.nn.Conv3d(1, 1, 3, padding=1)
    as_torch(OPERATOR)(layer(torch.rand(2, 1, *SHARP.shape))).square().sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in layer.parameters())


def test_what_needs_no_gradient_gets_none():
    assert not as_torch(OPERATOR)(torch.rand(SHARP.shape)).requires_grad


def test_images_on_another_grid_are_refused():
    with pytest.raises(GridError, match=r"tensor-shape: expected a tensor \(…, 5, 6, 8\), but got \(1, 5, 6, 7\)\. Crop or pad"):
        as_torch(OPERATOR)(torch.rand(1, 5, 6, 7))
